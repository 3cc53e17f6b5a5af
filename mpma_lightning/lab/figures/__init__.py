"""The command `figure`: one picture of a run, for a paper."""
