"""BackboneSpec: the names and options that a backbone is built from, and nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

_DECIDES = {
    "image": ("image.",),
    "text": ("text.",),
    "fusion": ("text.width", "fusion."),
    "align_global": ("text.width", "align."),
    "align_local": ("text.width", "align."),
}
"""What decides the shape of each part. Fusion and alignment also need the image encoder's width, which no field holds:
where weights are loaded, a tensor of another shape is refused."""
_INITIAL, _OF_TRAINING = ("image.weights",), ("text.dropout", "fusion.dropout")


@dataclass
class ImageSpec:
    """The image encoder.

    Attributes:
        encoder: ``timm/<model>``; ``backbones 'timm/*'`` lists them.
        size: side in pixels of the square that the position embedding is made for; others are resampled.
        options: further arguments of the timm model, added to the preset's, such as ``{depth: 6, reg_tokens: 4}``.
        weights: ``hub`` (timm's published weights), or a file of timm's tensors that must fit; random when ``null``.
            Needs a linear stem.
        stem: patch embedding of a ViT: ``linear``, or ``convolution`` (better from few samples).
        pool: the global image feature: ``mean`` of the patch tokens, or ``cls``, the class token.
    """

    encoder: str | None = None
    size: int | None = None
    options: dict[str, int | float | bool] | None = None
    weights: str | None = None
    stem: Literal["linear", "convolution"] | None = None
    pool: Literal["mean", "cls"] | None = None


@dataclass
class TextSpec:
    """The text encoder.

    Attributes:
        encoder: ``bert`` (random weights) or ``hf/<hub name or folder>``.
        width: of the tokens of a ``bert``.
        depth: layers of a ``bert``; a published encoder is cut to its first ``depth`` layers.
        heads: attention heads of a ``bert``.
        pool: the global text feature: ``cls``, the first token, or ``mean`` of all tokens.
        dropout: probability, in the encoder.
    """

    encoder: str | None = None
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    pool: Literal["cls", "mean"] | None = None
    dropout: float | None = None


@dataclass
class FusionSpec:
    """Fusion of image and text.

    Attributes:
        kind: ``cross`` (cross-attention with memory, MA-CMF) or ``pooled`` (the mean patch added to every word [MRM]).
        depth: layers of ``cross``.
        heads: attention heads of ``cross``.
        memory: of ``cross``: ``slots`` in every layer [Meshed-Memory], one ``shared`` matrix that image and text read
            before the layers [R2GenCMN], or ``none``.
        slots: number of slots a layer of ``memory: slots``.
        shared_slots: rows of the matrix of ``memory: shared``; the same in every preset.
        shared_width: columns of that matrix; the same in every preset.
        dropout: probability, in the layers of ``cross``; the text encoder's when ``null``.
    """

    kind: str | None = None
    depth: int | None = None
    heads: int | None = None
    memory: Literal["slots", "shared", "none"] | None = None
    slots: int | None = None
    shared_slots: int = 2048
    shared_width: int = 512
    dropout: float | None = None


@dataclass
class AlignSpec:
    """The projection heads of global and local alignment.

    Attributes:
        width: of the alignment space, e.
        hidden: width of the hidden layer of each head.
    """

    width: int | None = None
    hidden: int | None = None


@dataclass
class BackboneSpec:
    """A backbone by name; every field left ``null`` keeps the preset's choice.

    Attributes:
        name: a preset (``mpma_vit_b16`` …), or ``timm/<model>``, ``hf/<model>`` on top of the default preset.
        image: the image encoder.
        text: the text encoder.
        fusion: fusion of image and text.
        align: the projection heads of alignment.
    """

    name: str = "mpma_vit_b16"
    image: ImageSpec = field(default_factory=ImageSpec)
    text: TextSpec = field(default_factory=TextSpec)
    fusion: FusionSpec = field(default_factory=FusionSpec)
    align: AlignSpec = field(default_factory=AlignSpec)

    def over(self, preset: "BackboneSpec") -> "BackboneSpec":
        """This spec with every ``None`` taken from ``preset``; a preset's options of an image encoder are for that
        encoder alone."""
        image = _over(self.image, preset.image)
        inherited = preset.image.options if image.encoder == preset.image.encoder else None
        image.options = {**(inherited or {}), **(self.image.options or {})}
        return BackboneSpec(
            self.name,
            image,
            _over(self.text, preset.text),
            _over(self.fusion, preset.fusion),
            _over(self.align, preset.align),
        )

    def differences(self, other: "BackboneSpec", parts: Sequence[str] | None = None) -> list[str]:
        """``field: mine, not theirs`` for every field set here and different in ``other``, initial weights aside.

        Args:
            other: to compare with.
            parts: only what decides the shape of these.
        """
        starts = tuple(start for part in parts or () for start in _DECIDES.get(part, (f"{part}.",)))
        theirs = dict(other.items())
        return [
            f"{key}: {value}, not {theirs[key]}"
            for key, value in self.items()
            if key not in _INITIAL
            and (parts is None or (key.startswith(starts) and key not in _OF_TRAINING))
            and value is not None
            and value != theirs[key]
        ]

    def items(self) -> Iterator[tuple[str, Any]]:
        """Every field by its dotted name, such as ``text.depth``."""
        yield "name", self.name
        for part in fields(self)[1:]:
            inner = getattr(self, part.name)
            yield from ((f"{part.name}.{f.name}", getattr(inner, f.name)) for f in fields(inner))

    def plain(self) -> dict[str, Any]:
        """Nested dictionary of plain types, for a checkpoint or a result record."""
        return asdict(self)


Part = TypeVar("Part", ImageSpec, TextSpec, FusionSpec, AlignSpec)


def _over(mine: Part, preset: Part) -> Part:
    return replace(preset, **{f.name: value for f in fields(mine) if (value := getattr(mine, f.name)) is not None})


@dataclass(frozen=True)
class Vocabulary:
    """What a text encoder must know of the tokeniser: size, and the ids of padding and mask."""

    size: int
    pad_id: int = 0
    mask_id: int = 0
