"""One file, many runs: sweeps of ordinary commands, joined by any number of workers."""
