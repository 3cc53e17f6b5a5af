"""Reads older forms of specs in checkpoints and configs: ``text_depth`` for ``text.depth``, ``slots`` for ``text``."""

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
"""New dotted name by old name."""


BEFORE: dict[str, dict[str, Any]] = {
    "text": {"layers": 1},
    "align": {"local_level": -1, "image_head": "mlp", "text_head": "mlp", "pooled": "before"},
}
"""What a spec means that was stored before these fields existed; a preset may choose otherwise by now."""
_RENAMED_MEMORY = {"slots": "text"}
"""Today's values of ``fusion.memory`` by old value."""


def nested(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A spec of plain types in the nested form, with today's values.

    Fields that a flat spec lacks are left open. Unknown names are kept, so that validation finds them.
    """
    found = _in_parts(plain)
    fusion = found.get("fusion")
    if isinstance(fusion, Mapping) and isinstance(memory := fusion.get("memory"), str):
        found["fusion"] = {**fusion, "memory": _RENAMED_MEMORY.get(memory, memory)}
    return found


def _in_parts(plain: Mapping[str, Any]) -> dict[str, Any]:
    parts = {f.name for f in fields(BackboneSpec)} - {"name"}
    old = plain.keys() & (NEW_NAMES.keys() - parts) or any(isinstance(plain.get(part), str) for part in parts)
    if not old:
        return dict(plain)
    found = BackboneSpec().plain()
    for part, fields_of_it in BEFORE.items():
        found[part] |= fields_of_it
    for key, value in plain.items():
        part, dot, name = NEW_NAMES.get(key, "").partition(".")
        target, name = (found[part], name) if dot else (found, key)
        target[name] = value
    return found
