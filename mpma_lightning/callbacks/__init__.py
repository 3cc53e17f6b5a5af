"""Callbacks: online evaluation, predictions, figures, and guards of the training."""
