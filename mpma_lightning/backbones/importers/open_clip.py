"""open_clip and OpenAI's CLIP: image towers of their own or of timm, text towers of their own or of transformers."""

from typing import Any

from torch import Tensor

from data_modules.errors import UserError
from mpma_lightning.backbones.importers.bert_names import bert, bert_config, bert_spec
from mpma_lightning.backbones.importers.clip_names import (
    NORMALISATION,
    OPEN_VIT,
    open_text,
    text_config,
    text_spec,
    vision,
    vision_spec,
)
from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported, Normalisation
from mpma_lightning.backbones.importers.heads import linear, named
from mpma_lightning.backbones.importers.vit_names import timm_vit, vit_spec
from mpma_lightning.backbones.spec import AlignSpec, BackboneSpec, ImageSpec, TextSpec


def _image(foreign: Foreign, activation: str) -> tuple[ImageSpec, dict[str, Tensor]]:
    tensors, part = foreign.tensors, "align_global.image"
    if "visual.trunk.patch_embed.proj.weight" in tensors:
        state = timm_vit(foreign, r"visual\.trunk\.")
        if "visual.head.proj.weight" not in tensors:
            raise UserError("the image tower ends in no linear projection (visual.head.proj); that is not supported")
        return vit_spec(state, "cls"), state | named(part, linear(tensors, "visual.head.proj"))
    if "visual.class_embedding" not in tensors:
        raise UserError("the image tower is neither a ViT of open_clip nor one of timm; others are not supported")
    state = vision(foreign, OPEN_VIT, r"visual\.")
    tensors["visual.proj.weight"] = tensors.pop("visual.proj").T
    return vision_spec(state, activation), state | named(part, linear(tensors, "visual.proj"))


def _text(
    foreign: Foreign, activation: str, config: dict[str, Any]
) -> tuple[TextSpec, AlignSpec, dict[str, Tensor], dict[str, Any]]:
    """Spec, head, tensors and configuration of the text tower."""
    tensors, part = foreign.tensors, "align_global.text"
    if any(name.startswith("text.transformer.embeddings.") for name in tensors):
        state = bert(foreign, r"text\.transformer\.")
        written, pool = bert_config(state), "mean" if config.get("hf_pooler_type") == "mean_pooler" else "cls"
        if "text.proj.0.weight" in tensors:
            layers = linear(tensors, "text.proj.0"), linear(tensors, "text.proj.2")
            align = AlignSpec(text_head="gelu", text_hidden=len(layers[0][0]))
            return bert_spec(written, pool), align, state | named(part, *layers), written
        return (
            bert_spec(written, pool),
            AlignSpec(text_head="linear"),
            state | named(part, linear(tensors, "text.proj")),
            written,
        )
    prefix = "text." if "text.token_embedding.weight" in tensors else ""
    state = open_text(foreign, prefix.replace(".", r"\."))
    tensors[f"{prefix}text_projection.weight"] = tensors.pop(f"{prefix}text_projection").T
    written = text_config(state, activation, {"num_attention_heads": config["heads"]} if "heads" in config else None)
    head = named(part, linear(tensors, f"{prefix}text_projection"))
    return text_spec(written), AlignSpec(text_head="linear"), state | head, written


def translate(foreign: Foreign) -> Imported:
    """Image, text and global alignment; the temperature is left out."""
    config = foreign.config.get("model_cfg") or {}
    openai = {"input_resolution", "context_length", "vocab_size"} & {*foreign.tensors}
    activation = "quick_gelu" if config.get("quick_gelu", bool(openai)) else "gelu"
    foreign.drop("input_resolution", "context_length", "vocab_size")
    image, state = _image(foreign, activation)
    text, align, more, written = _text(foreign, activation, config.get("text_cfg") or {})
    width = len(state["align_global.image.mlp.0.weight"])
    align.width, align.hidden, align.local_level, align.image_head, align.pooled = width, width, -1, "linear", "before"
    notes = [] if config or openai else ["activation taken to be GELU: no open_clip_config.json beside the file"]
    return Imported(
        BackboneSpec(image=image, text=text, align=align),
        {**state, **more},
        _normalisation(foreign.config.get("preprocess_cfg") or {}),
        foreign.tokenizer,
        written,
        notes,
    )


def _normalisation(written: dict[str, Any]) -> Normalisation:
    mean = [float(value) for value in written.get("mean", NORMALISATION[0])]
    std = [float(value) for value in written.get("std", NORMALISATION[1])]
    return (mean, std) if len({*mean}) + len({*std}) > 2 else (mean[0], std[0])


FAMILY = Family(
    "open_clip",
    (
        r"visual\.(class_embedding|trunk\.patch_embed\.proj\.weight)",
        r"(text\.)?(text_projection|transformer\.embeddings\..*)",
    ),
    translate,
)
