"""Evaluators and metrics: no trainer, no files."""
