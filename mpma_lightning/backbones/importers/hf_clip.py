"""CLIP folders of transformers."""

from mpma_lightning.backbones.importers.clip_names import (
    HF_VIT,
    NORMALISATION,
    TEXT,
    text_config,
    text_spec,
    vision,
    vision_spec,
)
from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported
from mpma_lightning.backbones.importers.heads import linear, named
from mpma_lightning.backbones.importers.hf_vit import normalisation_of
from mpma_lightning.backbones.spec import AlignSpec, BackboneSpec


def translate(foreign: Foreign) -> Imported:
    """Image, text and global alignment; the temperature is left out."""
    config = foreign.config
    of_image, of_text = config.get("vision_config") or {}, config.get("text_config") or {}
    state = vision(foreign, HF_VIT, r"vision_model\.")
    text = foreign.take([(r"text_model\.((?:embeddings|encoder|final_layer_norm)\..*)", r"\1")], TEXT)
    heads = named("align_global.image", linear(foreign.tensors, "visual_projection"))
    heads |= named("align_global.text", linear(foreign.tensors, "text_projection"))
    width = len(heads["align_global.image.mlp.0.weight"])
    written = text_config(text, "quick_gelu", of_text)
    spec = BackboneSpec(
        image=vision_spec(state, of_image.get("hidden_act", "quick_gelu"), of_image.get("num_attention_heads")),
        text=text_spec(written),
        align=AlignSpec(width, width, -1, "linear", "linear", pooled="before"),
    )
    normalisation = normalisation_of(config) or NORMALISATION
    return Imported(spec, {**state, **text, **heads}, normalisation, foreign.tokenizer, written)


FAMILY = Family("CLIP of transformers", (r"vision_model\.pre_layrnorm\.weight", r"text_projection\.weight"), translate)
