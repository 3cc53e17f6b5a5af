"""BackboneSpec: the names and options from which a backbone is built."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from data_modules.errors import UserError

_DECIDES = {
    "image": ("image.",),
    "text": ("text.",),
    "fusion": ("text.width", "fusion."),
    "align_global": (
        "text.width",
        "align.width",
        "align.hidden",
        "align.text_hidden",
        "align.image_head",
        "align.text_head",
    ),
    "align_local": ("text.width", "align."),
}
"""Fields that determine the tensor shapes of each part. Fusion and alignment also depend on the width of the image
encoder, which no field holds: a tensor of another shape is refused when weights are loaded."""
_INITIAL, _OF_TRAINING = ("image.weights",), ("text.dropout", "fusion.dropout")

HeadKind = Literal["mlp", "relu", "gelu", "gelu_norm", "linear", "none"]
Option = int | float | bool | list[int]
"""Value of an argument of a timm model; a list holds one number a stage."""


@dataclass
class ImageSpec:
    """The image encoder.

    Attributes:
        encoder: ``timm/<model>`` or a registered name; ``backbones`` and ``backbones 'timm/*'`` list them.
        size: side in pixels of the square input; position embeddings are resampled for other sizes.
        options: further arguments of the timm model, added to the preset's, such as ``{depth: 6, reg_tokens: 4}``;
            ``norm_eps`` is that of its layer norms.
        weights: initial weights: ``hub`` (published by timm) or a file with timm's tensors; random when ``null``. They
            need a linear stem.
        stem: patch embedding of a ViT: ``linear``, or ``convolution``, which learns from fewer samples and whose tokens
            see a little more than their patch.
        pool: the global image feature: ``mean`` of the patch tokens; ``cls``, the class token of a ViT;
            ``mean_before_norm``, the mean before a plain ViT's last norm, which is then not trained; or ``map``, timm's
            attention pooling, which ViTs of SigLIP have.
    """

    encoder: str | None = None
    size: int | None = None
    options: dict[str, Option] | None = None
    weights: str | None = None
    stem: Literal["linear", "convolution"] | None = None
    pool: Literal["mean", "cls", "mean_before_norm", "map"] | None = None


@dataclass
class TextSpec:
    """The text encoder.

    Attributes:
        encoder: ``bert`` (random weights) or ``hf/<hub name or folder>``.
        width: width of the tokens of a ``bert``.
        depth: number of layers of a ``bert``; a published encoder keeps its first ``depth`` layers.
        heads: attention heads of a ``bert``.
        pool: the global text feature: ``cls``, the first token; ``mean`` of all tokens; or ``last``, the closing token
            [CLIP].
        dropout: dropout probability in the encoder.
        layers: the tokens are the sum of the outputs of this many last layers [GLoRIA: 4].
    """

    encoder: str | None = None
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    pool: Literal["cls", "mean", "last"] | None = None
    dropout: float | None = None
    layers: int | None = None


@dataclass
class FusionSpec:
    """Fusion of image and text.

    Attributes:
        kind: ``cross`` (cross-attention with memory, MA-CMF), ``pooled`` (the mean of the patches is added to every
            word embedding [MRM]) or ``co_attention`` (text and image attend to each other [M3AE]).
        depth: number of layers of ``cross`` and ``co_attention``.
        heads: attention heads of ``cross`` and ``co_attention``.
        memory: memory of ``cross``: ``text``: the words of every layer attend to the image and to learned slots beside
            it; ``image``: the image regions attend to each other and to learned slots, before the words read them
            [Meshed-Memory]; ``latent``: the words attend to the image and to slots that have read it; ``shared``: one
            matrix that image and text read before the layers [R2GenCMN]; ``off_by_one``: no slots, but attention may
            read nothing, a control; or ``none``.
        slots: number of slots in each layer, for the memories ``text``, ``image`` and ``latent``; 0 leaves ``image``
            without a memory but with its layer, a control.
        shared_slots: number of rows of the matrix, for ``memory: shared``; the same in every preset.
        shared_width: number of columns of that matrix; the same in every preset.
        dropout: dropout probability in these layers; that of the text encoder when ``null``.
    """

    kind: str | None = None
    depth: int | None = None
    heads: int | None = None
    memory: Literal["text", "image", "latent", "shared", "off_by_one", "none"] | None = None
    slots: int | None = None
    shared_slots: int = 2048
    shared_width: int = 512
    dropout: float | None = None


@dataclass
class AlignSpec:
    """The projection heads of global and local alignment.

    Attributes:
        width: width e of the aligned embeddings.
        hidden: width of the hidden layer of each head.
        local_level: which output of the image encoder local alignment and its maps read. A ViT: 0 is the tokens before
            attention, 1 the output of the first block, and so on; a CNN or Swin Transformer: its feature maps from
            fine to coarse, from 0. Negative numbers count from the end: -1 is the last, -2 of a CNN its third stage
            [GLoRIA].
        image_head: layers of the image's heads: ``mlp``: linear, LayerNorm, ReLU, linear; ``relu`` and ``gelu``:
            linear, that activation, linear; ``gelu_norm``: linear, GELU, LayerNorm, linear; ``linear``; or ``none``.
            Published models have all of these.
        text_head: layers of the text's heads.
        text_hidden: width of the hidden layer of the text's heads, where it is not ``hidden``.
        pooled: the global image embedding: ``before``: the head reads the pooled feature; ``after``: the mean of what
            the head makes of each patch [BioViL].
    """

    width: int | None = None
    hidden: int | None = None
    local_level: int | None = None
    image_head: HeadKind | None = None
    text_head: HeadKind | None = None
    text_hidden: int | None = None
    pooled: Literal["before", "after"] | None = None


@dataclass
class BackboneSpec:
    """A backbone by name; a field that is ``null`` keeps the choice of the preset.

    Attributes:
        name: a preset such as ``mpma_vit_b16``, or ``timm/<model>`` or ``hf/<model>``, which replaces an encoder of the
            default preset.
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
        """This spec with every ``None`` replaced from ``preset``, whose image options are for its own encoder only."""
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
        """``field: mine, not theirs`` for every field that is set here and differs in ``other``; not initial weights.

        Args:
            other: the spec to compare with.
            parts: compare only fields that determine the shapes of these parts.
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
        """All fields by dotted name, such as ``text.depth``."""
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
    """What a text encoder needs of the tokeniser: number of tokens, and the ids of [PAD] and [MASK].

    ``mask_id`` is ``None`` where the tokeniser has no [MASK], as that of CLIP.
    """

    size: int
    pad_id: int = 0
    mask_id: int | None = 0

    @property
    def mask(self) -> int:
        """The id of [MASK].

        Raises:
            UserError: the tokeniser has none.
        """
        if self.mask_id is None:
            raise UserError(
                "the tokeniser has no [MASK] (it is that of a CLIP), which this task hides words with or pools at; "
                "choose a text encoder with a masked language model, or another task"
            )
        return self.mask_id
