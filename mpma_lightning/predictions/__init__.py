"""What ``predict`` leaves in the run folder: one writer a kind of output; each task says which is its own."""

from mpma_lightning.predictions.writer import PredictionWriter

__all__ = ["PredictionWriter"]
