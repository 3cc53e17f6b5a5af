"""Which tensor of a checkpoint belongs to a tensor of the backbone, and how it is adapted to another shape."""

import json
import math

from timm.layers import resample_abs_pos_embed
from torch import Tensor

from mpma_lightning.backbones.checkpoint import Checkpoint


def find(checkpoint: Checkpoint, part: str, name: str) -> Tensor | None:
    """The tensor for ``part.name``: under that name, or under the one that timm and transformers use."""
    bare = name.partition(".")[2] or name
    candidates = [f"{part}.{name}"]
    if checkpoint.spec is None and part in ("image", "text"):
        candidates += [name, bare, f"bert.{bare}", f"encoder.{bare}"]
    return next((checkpoint.state[c] for c in candidates if c in checkpoint.state), None)


def needs_remapping(name: str, checkpoint: Checkpoint, tokenizer: str | None) -> bool:
    """Whether ``name`` is a vocabulary table and the tokeniser in use differs from the checkpoint's."""
    different = tokenizer is not None and checkpoint.tokenizer is not None and tokenizer != checkpoint.tokenizer
    return "word_embeddings" in name and different


def resized(name: str, found: Tensor, target: Tensor, checkpoint: Checkpoint, tokenizer: str | None) -> Tensor | None:
    """``found`` in the shape of ``target``; ``None`` for a tensor that cannot be resized.

    Position embeddings are resampled to another grid. The kernel of a stem of one channel is shared out over all
    channels. Vocabulary rows are reordered by token; tokens unknown to the checkpoint keep the row of ``target``.
    """
    if found.ndim == target.ndim == 4 and found.shape == (len(target), 1, *target.shape[2:]):
        return found.expand_as(target) / target.shape[1]  # the same output for gray in every channel
    if found.shape[-1:] != target.shape[-1:]:
        return None
    if name.endswith("pos_embed") and found.ndim == 3:
        prefix = next(p for p in range(16) if math.isqrt(target.shape[1] - p) ** 2 == target.shape[1] - p)
        patches = max(0, found.shape[1] - prefix)
        if math.isqrt(patches) ** 2 != patches:
            return None
        side = math.isqrt(target.shape[1] - prefix)
        return resample_abs_pos_embed(found, new_size=[side, side], num_prefix_tokens=prefix)
    if "word_embeddings" in name and tokenizer and checkpoint.tokenizer:
        old, new = (json.loads(text)["model"]["vocab"] for text in (checkpoint.tokenizer, tokenizer))
        rows = target.clone()
        for token, row in new.items():
            if token in old:
                rows[row] = found[old[token]]
        return rows
    return None
