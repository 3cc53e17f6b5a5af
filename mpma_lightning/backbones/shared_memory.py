"""One memory matrix shared by both modalities, which every image and text token reads before fusion."""

import math

import torch
from torch import Tensor, nn

from data_modules.errors import UserError

HEADS, TOP_SLOTS = 8, 32  # [R2GenCMN]


class SharedMemory(nn.Module):
    """In each head, a token reads the 32 slots that match its query best; their weighted sum is added to the token.

    Follows R2GenCMN with two differences: each modality has its own query and output projection, since the widths may
    differ, and the text queries are the text encoder's output, not word embeddings.
    """

    def __init__(self, width: int, image_width: int, slots: int, memory_width: int) -> None:
        super().__init__()
        if slots < TOP_SLOTS or memory_width % HEADS:
            raise UserError(
                f"model.backbone.fusion.shared_slots and shared_width are {slots} and {memory_width}; expected at "
                f"least {TOP_SLOTS} slots and a width divisible by {HEADS}, the number of heads"
            )
        # keys and values are projections of it; optim.py exempts this name from weight decay
        self.memory_values = nn.Parameter(torch.randn(slots, memory_width) / memory_width)
        self.key, self.value = nn.Linear(memory_width, memory_width), nn.Linear(memory_width, memory_width)
        self.image_query, self.text_query = nn.Linear(image_width, memory_width), nn.Linear(width, memory_width)
        self.image_out, self.text_out = nn.Linear(memory_width, image_width), nn.Linear(memory_width, width)

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens (B, N, Dv) and text tokens (B, T, D), each with what it read from the memory added."""
        image = image + self.image_out(self._read(self.image_query(image)))
        return image, text + self.text_out(self._read(self.text_query(text)))

    def _read(self, query: Tensor) -> Tensor:
        query, keys, values = (
            x.unflatten(-1, (HEADS, -1)).transpose(-3, -2)
            for x in (query, self.key(self.memory_values), self.value(self.memory_values))
        )
        scores = query @ keys.transpose(-1, -2) / math.sqrt(query.shape[-1])
        best, slots = scores.topk(TOP_SLOTS, dim=-1)
        weights = torch.zeros_like(scores).scatter(-1, slots, best.softmax(-1).to(scores.dtype))
        return (weights @ values).transpose(-3, -2).flatten(-2)
