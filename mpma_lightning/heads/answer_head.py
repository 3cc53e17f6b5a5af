"""The answer head of visual question answering."""

from torch import nn


class AnswerHead(nn.Sequential):
    """(B, width) to (B, answers) logits: Linear, LayerNorm, GELU, Linear [M3AE, ViLT]."""

    def __init__(self, width: int, hidden: int, answers: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, answers))
