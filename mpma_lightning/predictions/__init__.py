"""Writers of predictions, one per kind of output; ``Task.prediction_writer`` chooses one."""

from mpma_lightning.predictions.writer import PredictionWriter

__all__ = ["PredictionWriter"]
