"""Which tensor of a checkpoint belongs to a tensor of the backbone, and in which shape."""

import json
import math

from timm.layers import resample_abs_pos_embed
from torch import Tensor

from mpma_lightning.backbones.checkpoint import Checkpoint


def find(checkpoint: Checkpoint, part: str, name: str) -> Tensor | None:
    """The tensor for ``part.name``: under our own name, or under the bare name timm and transformers use."""
    bare = name.split(".", 1)[1] if "." in name else name
    candidates = [f"{part}.{name}"]
    if checkpoint.spec is None and part in ("image", "text"):
        candidates += [name, bare, f"bert.{bare}", f"encoder.{bare}"]
    return next((checkpoint.state[c] for c in candidates if c in checkpoint.state), None)


def moves_rows(name: str, checkpoint: Checkpoint, tokenizer: str | None) -> bool:
    """Whether ``name`` is a vocabulary table, and the tokeniser in use is another than the checkpoint's."""
    different = tokenizer is not None and checkpoint.tokenizer is not None and tokenizer != checkpoint.tokenizer
    return "word_embeddings" in name and different


def resized(name: str, found: Tensor, target: Tensor, checkpoint: Checkpoint, tokenizer: str | None) -> Tensor | None:
    """``found`` in the shape of ``target`` where that has a meaning, else ``None``.

    Position embeddings are resampled to another grid; vocabulary rows are moved by token, and tokens that the
    checkpoint does not know keep the row of ``target``.
    """
    if name.endswith("pos_embed") and found.ndim == 3 and found.shape[-1] == target.shape[-1]:
        prefix = next(p for p in range(16) if round((target.shape[1] - p) ** 0.5) ** 2 == target.shape[1] - p)
        side = round((target.shape[1] - prefix) ** 0.5)
        if math.isqrt(patches := max(0, found.shape[1] - prefix)) ** 2 != patches:
            return None
        return resample_abs_pos_embed(found, new_size=[side, side], num_prefix_tokens=prefix)
    if "word_embeddings" in name and found.shape[-1] == target.shape[-1] and tokenizer and checkpoint.tokenizer:
        old = json.loads(checkpoint.tokenizer)["model"]["vocab"]
        new = json.loads(tokenizer)["model"]["vocab"]
        rows = target.clone()
        for token, row in new.items():
            if token in old:
                rows[row] = found[old[token]]
        return rows
    return None
