"""BackboneSpec: the names and options a backbone is built from, and nothing else."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

PART_FIELDS = {
    "image": ("image",),
    "text": ("text",),
    "fusion": ("text_width", "fusion", "memory", "shared"),
    "align_global": ("text_width", "align"),
    "align_local": ("text_width", "align"),
}
"""First letters of the fields that decide the shape of each part. Fusion and alignment also need the image encoder's
width, which no field holds: where weights are loaded, a tensor of another shape is refused."""


@dataclass
class BackboneSpec:
    """A backbone by name; every field left ``None`` keeps the preset's choice.

    Attributes:
        name: a preset (``mpma_vit_b16`` …), or ``timm/<model>``, ``hf/<model>`` on top of the default preset.
        image: image encoder (``timm/<model>``).
        image_size: input side in pixels that the position embedding is made for.
        image_options: further arguments of the timm model, added to the preset's.
        image_weights: ``hub``, or a file of timm's tensors that must fit; random when ``None``. Needs a
            linear stem.
        image_stem: patch embedding of a ViT: ``linear``, or ``convolution`` (better from few samples).
        image_pool: ``mean`` of patch tokens (default, as the global image feature) or ``cls``.
        text: text encoder: ``bert`` (random weights) or ``hf/<hub name or folder>``.
        text_width, text_depth, text_heads: size of a ``bert``; ``text_depth`` also cuts a published one.
        text_pool: ``cls`` (default) or ``mean``.
        fusion: ``cross`` (MA-CMF) or ``pooled`` (MRM).
        fusion_depth, fusion_heads: layers and heads of ``cross``.
        memory: ``slots`` [Meshed-Memory], ``shared`` [R2GenCMN] or ``none``.
        memory_slots: number of slots a layer.
        shared_slots, shared_width: rows and columns of the one matrix of ``shared``; the same in every preset.
        align_width: width e of the alignment space.
        align_hidden: hidden width of the projection heads.
        dropout: of text encoder and fusion.
    """

    name: str = "mpma_vit_b16"
    image: str | None = None
    image_size: int | None = None
    image_options: dict[str, int | float | bool] | None = None
    image_weights: str | None = None
    image_stem: str | None = None
    image_pool: str | None = None
    text: str | None = None
    text_width: int | None = None
    text_depth: int | None = None
    text_heads: int | None = None
    text_pool: str | None = None
    fusion: str | None = None
    fusion_depth: int | None = None
    fusion_heads: int | None = None
    memory: str | None = None
    memory_slots: int | None = None
    shared_slots: int = 2048
    shared_width: int = 512
    align_width: int | None = None
    align_hidden: int | None = None
    dropout: float | None = None

    def over(self, preset: "BackboneSpec") -> "BackboneSpec":
        """This spec with every ``None`` taken from ``preset``."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        if preset.image_options and chosen.get("image") in (None, preset.image):
            chosen["image_options"] = {**preset.image_options, **chosen.get("image_options", {})}
        elif "image" in chosen:
            chosen.setdefault("image_options", {})
        return replace(preset, **chosen)

    def differences(self, other: "BackboneSpec", parts: Sequence[str] | None = None) -> list[str]:
        """``field: mine, not theirs`` for every field set here and different in ``other``, initial weights aside.

        Args:
            other: to compare with.
            parts: only what decides the shape of these.
        """
        letters = tuple(start for part in parts or () for start in PART_FIELDS.get(part, (part,)))
        return [
            f"{f.name}: {getattr(self, f.name)}, not {getattr(other, f.name)}"
            for f in fields(self)
            if f.name != "image_weights"
            and (parts is None or f.name.startswith(letters))
            and getattr(self, f.name) is not None
            and getattr(self, f.name) != getattr(other, f.name)
        ]

    def plain(self) -> dict[str, Any]:
        """Plain types, for a checkpoint."""
        return asdict(self)


@dataclass(frozen=True)
class Vocabulary:
    """What a text encoder must know of the tokeniser: size, and the ids of padding and mask."""

    size: int
    pad_id: int = 0
    mask_id: int = 0
    special_ids: tuple[int, ...] = field(default=())
