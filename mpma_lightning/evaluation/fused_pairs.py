"""Match scores of pairs by fusion, from image and text tokens that were encoded once."""

from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from mpma_lightning.backbones import Backbone, Features
from mpma_lightning.distributed import rank
from mpma_lightning.evaluation.epoch import gather_objects

PAIRS_AT_ONCE = 256


@dataclass
class EncodedPairs:
    """Tokens of a split, in half precision on the CPU: 2 N (L + T) d bytes.

    Images stay on the rank that encoded them, texts go to every rank. Rows are numbered in the order of the ranks, as
    in ``Rows.gather``.
    """

    images: list[Features] = field(default_factory=list)
    texts: list[Features] = field(default_factory=list)
    ids: list[Tensor] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)

    def add(self, image: Features, text: Features | None, ids: Tensor, mask: Tensor) -> None:
        """Add a batch; ``text`` is None if fusion does not read text features."""
        self.images.append(image.map(_store))
        self.texts += [] if text is None else [text.map(_store)]
        self.ids.append(ids.cpu())
        self.masks.append(mask.cpu())

    @torch.no_grad()
    def score(self, pairs: np.ndarray, backbone: Backbone, head: nn.Module) -> np.ndarray:
        """(P,) logit of ``head`` at the fused [CLS] of each (P, 2) pair of image and text; a collective."""
        device = next(head.parameters()).device
        counts = gather_objects(sum(len(part.pooled) for part in self.images))
        first = sum(counts[: rank()])
        mine = (pairs[:, 0] >= first) & (pairs[:, 0] < first + counts[rank()])
        texts = _of_all_ranks(self.texts)
        ids, masks = _join(_of_all_ranks(self.ids)), _join(_of_all_ranks(self.masks))
        longest = masks.shape[1]
        text = Features.join([replace(part, tokens=_pad(part.tokens, longest)) for part in texts]) if texts else None
        image = Features.join(self.images) if self.images else None
        todo, scores = torch.from_numpy(pairs[mine]), []
        for batch in track(todo.split(PAIRS_AT_ONCE), "Scoring pairs", disable=rank() != 0 or not len(todo)):
            assert image is not None
            rows, reports = batch[:, 0] - first, batch[:, 1]
            fused = backbone.fuse(
                image.rows(rows).map(lambda x: x.to(device, torch.float32)),
                None if text is None else text.rows(reports).map(lambda x: x.to(device, torch.float32)),
                ids[reports].to(device),
                masks[reports].to(device),
            )
            scores.append(head(fused[:, 0]).squeeze(-1).float().cpu().numpy())
        found = np.zeros(len(pairs), np.float32)
        found[mine] = np.concatenate([np.zeros(0, np.float32), *scores])
        return np.sum(gather_objects(found), axis=0)


T = TypeVar("T")


def _of_all_ranks(mine: list[T]) -> list[T]:
    return [part for parts in gather_objects(mine) for part in parts]


def _pad(values: Tensor, longest: int) -> Tensor:
    """(B, T, ...) padded with zeros to ``longest`` tokens."""
    return F.pad(values, [0, 0] * (values.ndim - 2) + [0, longest - values.shape[1]])


def _join(parts: list[Tensor]) -> Tensor:
    longest = max(part.shape[1] for part in parts)
    return torch.cat([_pad(part, longest) for part in parts])


def _store(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float16)
