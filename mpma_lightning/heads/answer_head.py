"""The head that classifies answers."""

from torch import nn


def answer_head(width: int, hidden: int, answers: int) -> nn.Sequential:
    """(B, width) to (B, answers) logits [M3AE, ViLT]."""
    return nn.Sequential(nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, answers))
