"""MGCA: a ViT or ResNet and a BERT, with heads of global and local alignment."""

from torch import Tensor

from mpma_lightning.backbones.importers.bert_names import bert, bert_config, bert_spec
from mpma_lightning.backbones.importers.cnn_names import resnet, resnet_spec
from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported
from mpma_lightning.backbones.importers.heads import linear, named, with_batch_norm
from mpma_lightning.backbones.importers.vit_names import timm_vit, vit_spec
from mpma_lightning.backbones.spec import AlignSpec, BackboneSpec

NORMALISATION = (0.5, 0.5)
SIDE = 299
"""To which the ResNets enlarge every image."""


NOTES = (
    "batch norms of the heads are part of their linear layers, as in evaluation",
    "every word has the first position, as in MGCA's code, which gives token types where positions belong",
)


def _head(tensors: dict[str, Tensor], name: str, part: str) -> dict[str, Tensor]:
    first = with_batch_norm(linear(tensors, f"{name}.head.0"), tensors, f"{name}.head.1")
    second = with_batch_norm(linear(tensors, f"{name}.head.3"), tensors, f"{name}.head.4")
    return named(part, first, second)


def translate(foreign: Foreign) -> Imported:
    """Image, text and both kinds of alignment; attention between patches and words, and prototypes, are left out."""
    image, words = "img_encoder_q", "text_encoder_q"
    is_vit = f"{image}.model.pos_embed" in foreign.tensors
    state = (timm_vit if is_vit else resnet)(foreign, rf"{image}\.model\.")
    text = bert(foreign, rf"{words}\.model\.")
    positions = "text.bert.embeddings.position_embeddings.weight"
    text[positions] = text[positions][:1].repeat(len(text[positions]), 1)
    config = bert_config(text)
    heads: dict[str, Tensor] = {}
    for part in ("global", "local"):
        for name, modality in ((image, "image"), (words, "text")):
            heads |= _head(foreign.tensors, f"{name}.{part}_embed", f"align_{part}.{modality}")
    hidden, width = (heads[f"align_global.image.mlp.{place}.weight"].shape[0] for place in (0, 2))
    align = AlignSpec(width, hidden, -1 if is_vit else -2, "relu", "relu", pooled="before")
    spec = vit_spec(state, "cls") if is_vit else resnet_spec(state, SIDE)
    return Imported(
        BackboneSpec(image=spec, text=bert_spec(config), align=align),
        {**state, **text, **heads},
        NORMALISATION,
        text_config=config,
        notes=list(NOTES),
    )


FAMILY = Family(
    "MGCA", (r"img_encoder_q\.global_embed\.head\.0\.weight", r"text_encoder_q\.model\.embeddings\..*"), translate
)
