"""A run on disk: its folder, its record, its checkpoints and its result."""
