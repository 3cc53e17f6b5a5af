"""The answer head of visual question answering."""

from torch import nn


class AnswerHead(nn.Sequential):
    """Linear(d → hidden), LayerNorm, GELU, Linear(hidden → answers) [M3AE, ViLT]; (B, d) to (B, answers) logits."""

    def __init__(self, width: int, hidden: int, answers: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, answers))
