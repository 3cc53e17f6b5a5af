"""Specs as checkpoints and configs held them before their parts were nested: one level, told apart by first letters."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from mpma_lightning.backbones.spec import BackboneSpec

NEW_NAMES = {
    "image": "image.encoder",
    "image_size": "image.size",
    "image_options": "image.options",
    "image_weights": "image.weights",
    "image_stem": "image.stem",
    "image_pool": "image.pool",
    "text": "text.encoder",
    "text_width": "text.width",
    "text_depth": "text.depth",
    "text_heads": "text.heads",
    "text_pool": "text.pool",
    "fusion": "fusion.kind",
    "fusion_depth": "fusion.depth",
    "fusion_heads": "fusion.heads",
    "memory": "fusion.memory",
    "memory_slots": "fusion.slots",
    "shared_slots": "fusion.shared_slots",
    "shared_width": "fusion.shared_width",
    "align_width": "align.width",
    "align_hidden": "align.hidden",
    "dropout": "text.dropout",
}
"""Old name to new one."""


def nested(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A spec of plain types in today's form; one that has it already stays as it is.

    What an old spec does not name is as if nobody had set it. Unknown names stay, for whoever validates the result.
    """
    parts = {f.name for f in fields(BackboneSpec)} - {"name"}
    old = plain.keys() & (NEW_NAMES.keys() - parts) or any(isinstance(plain.get(part), str) for part in parts)
    if not old:
        return dict(plain)
    found = BackboneSpec().plain()
    for key, value in plain.items():
        part, dot, name = NEW_NAMES.get(key, "").partition(".")
        if dot:
            found[part][name] = value
        else:
            found[key] = value
    return found
