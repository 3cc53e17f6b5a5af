"""Named whole backbones."""

import difflib

from data_modules.errors import UserError
from mpma_lightning.backbones.registry import REGISTRY
from mpma_lightning.backbones.spec import BackboneSpec


@REGISTRY.register("backbone", "mpma_vit_b16")
def mpma_vit_b16() -> BackboneSpec:
    """Paper scale: ViT-B/16 at 224, BERT of 6 layers, 4 fusion layers with 40 memory slots."""
    return BackboneSpec(
        name="mpma_vit_b16",
        image="timm/vit_base_patch16_224",
        image_size=224,
        image_options={},
        image_stem="linear",
        image_pool="mean",
        text="bert",
        text_width=768,
        text_depth=6,
        text_heads=12,
        text_pool="cls",
        fusion="cross",
        fusion_depth=4,
        fusion_heads=12,
        memory="slots",
        memory_slots=40,
        align_width=128,
        align_hidden=2048,
        dropout=0.1,
    )


@REGISTRY.register("backbone", "mpma_vit_s16")
def mpma_vit_s16() -> BackboneSpec:
    """One GPU: ViT-S/16 at 224, BERT of 6 layers of 384, 4 fusion layers."""
    small = BackboneSpec(
        name="mpma_vit_s16",
        image="timm/vit_small_patch16_224",
        text_width=384,
        text_heads=6,
        fusion_heads=6,
        align_hidden=1024,
    )
    return small.over(mpma_vit_b16())


@REGISTRY.register("backbone", "mpma_vit_t16")
def mpma_vit_t16() -> BackboneSpec:
    """CPUs, demo, tests: convolutional stem, ViT of 2 layers of 128, patch 16 at 112; 2 text and 2 fusion layers."""
    tiny = BackboneSpec(
        name="mpma_vit_t16",
        image="timm/vit_tiny_patch16_224",
        image_size=112,
        image_stem="convolution",
        image_options={"embed_dim": 128, "depth": 2, "num_heads": 4},
        text_width=128,
        text_depth=2,
        text_heads=4,
        text_pool="mean",
        fusion_depth=2,
        fusion_heads=4,
        memory_slots=8,
        align_hidden=256,
        align_width=64,
    )
    return tiny.over(mpma_vit_b16())


def resolve(spec: BackboneSpec | str) -> BackboneSpec:
    """Fill a name or a partial spec into a complete one.

    Raises:
        UserError: no preset of that name (with the nearest one).
    """
    if isinstance(spec, str):
        spec = BackboneSpec(name=spec)
    known = [name for name, _ in REGISTRY.entries("backbone")]
    if spec.name in known:
        return spec.over(REGISTRY.build("backbone", spec.name))
    source, slash, rest = spec.name.partition("/")
    if slash and rest and source in ("timm", "hf"):
        part = {"timm": "image", "hf": "text"}[source]
        return BackboneSpec(**{**spec.plain(), part: getattr(spec, part) or spec.name}).over(mpma_vit_b16())
    near = difflib.get_close_matches(spec.name, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise UserError(f"unknown backbone '{spec.name}'{hint} Known: {', '.join(known)}, timm/<model>, hf/<model>")
