"""The prepared store: images shrunk once, in memory-mapped shards."""
