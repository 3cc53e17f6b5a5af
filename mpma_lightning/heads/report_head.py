"""Head of masked language modelling, with the word embeddings as output weights [BERT]."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReportHead(nn.Module):
    """Linear(width → width), GELU, LayerNorm, then the tied embedding table and a bias per word-piece."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        """(M, D) hidden states and the (V, D) table to (M, V) logits."""
        return F.linear(self.transform(hidden), table, self.bias)
