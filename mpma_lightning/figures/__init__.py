"""Functions that draw figures, by kind of task."""
