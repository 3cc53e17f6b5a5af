"""Presets: complete backbones by name."""

from data_modules.errors import UserError, suggest
from mpma_lightning.backbones.registry import REGISTRY, written
from mpma_lightning.backbones.spec import AlignSpec, BackboneSpec, FusionSpec, ImageSpec, Option, TextSpec


@REGISTRY.register("backbone", "mpma_vit_b16")
def mpma_vit_b16() -> BackboneSpec:
    """Size of the paper: ViT-B/16 at 224, BERT of 6 layers, 4 fusion layers with 40 memory slots."""
    return BackboneSpec(
        "mpma_vit_b16",
        ImageSpec("timm/vit_base_patch16_224", size=224, options={}, stem="linear", pool="mean"),
        TextSpec("bert", width=768, depth=6, heads=12, pool="cls", dropout=0.1, layers=1),
        FusionSpec("cross", depth=4, heads=12, memory="text", slots=40),
        AlignSpec(width=128, hidden=2048, local_level=-1, image_head="mlp", text_head="mlp", pooled="before"),
    )


@REGISTRY.register("backbone", "mpma_vit_s16")
def mpma_vit_s16() -> BackboneSpec:
    """For one GPU: ViT-S/16 at 224, BERT of 6 layers, width 384, 4 fusion layers."""
    small = BackboneSpec(
        "mpma_vit_s16",
        ImageSpec("timm/vit_small_patch16_224"),
        TextSpec(width=384, heads=6),
        FusionSpec(heads=6),
        AlignSpec(hidden=1024),
    )
    return small.over(mpma_vit_b16())


@REGISTRY.register("backbone", "mpma_vit_t16")
def mpma_vit_t16() -> BackboneSpec:
    """For CPUs, demo and tests: at 112, a convolutional stem, whose tokens local alignment reads, and 2 image, 2 text
    and 2 fusion layers, width 128."""
    options: dict[str, Option] = {"embed_dim": 128, "depth": 2, "num_heads": 4}
    tiny = BackboneSpec(
        "mpma_vit_t16",
        ImageSpec("timm/vit_tiny_patch16_224", size=112, stem="convolution", options=options),
        TextSpec(width=128, depth=2, heads=4, pool="mean"),
        FusionSpec(depth=2, heads=4, slots=8),
        AlignSpec(width=64, hidden=256, local_level=0),
    )
    return tiny.over(mpma_vit_b16())


def resolve(spec: BackboneSpec | str) -> BackboneSpec:
    """Complete a name or a partial spec with the choices of its preset.

    Raises:
        UserError: no preset has that name; the message says how to name an encoder or a fusion.
    """
    if isinstance(spec, str):
        spec = BackboneSpec(name=spec)
    known = [name for name, _ in REGISTRY.entries("backbone")]
    if spec.name in known:
        return spec.over(REGISTRY.build("backbone", spec.name))
    source, slash, rest = spec.name.partition("/")
    if slash and rest and source in ("timm", "hf"):
        named = BackboneSpec(spec.name)
        if source == "timm":
            named.image.encoder = spec.name
        else:
            named.text.encoder = spec.name
        return spec.over(named.over(mpma_vit_b16()))
    for kind in ("image", "text", "fusion"):
        if spec.name in REGISTRY.names(kind):
            raise UserError(
                f"model.backbone is {spec.name}, which is one part of a backbone; expected a whole backbone: write "
                f"model.backbone: {{{written(kind, spec.name)}}}"
            )
    raise UserError(f"unknown backbone '{spec.name}'{suggest(spec.name, [*known, 'timm/<model>', 'hf/<model>'])}")
