"""Plain functions that score features: no trainer, no files."""
