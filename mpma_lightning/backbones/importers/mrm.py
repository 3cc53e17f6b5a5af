"""MRM: a masked autoencoder whose image feature is added to the words of a report decoder."""

from mpma_lightning.backbones.importers.bert_names import bert, bert_config, bert_spec
from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported
from mpma_lightning.backbones.importers.vit_names import timm_vit, vit_spec
from mpma_lightning.backbones.spec import BackboneSpec, FusionSpec

NORMALISATION = (0.4978, 0.2449)


def translate(foreign: Foreign) -> Imported:
    """Image encoder, report decoder as text encoder, and ``pooled`` fusion; the image decoder is left out."""
    state = timm_vit(foreign)
    text = bert(foreign, r"bert_encoder\.model\.bert\.")
    config = bert_config(text)
    fusion = foreign.take([(r"bert_mlp\.(weight|bias)", r"fusion.project.\1")])
    spec = BackboneSpec(image=vit_spec(state, "mean"), text=bert_spec(config), fusion=FusionSpec("pooled"))
    return Imported(spec, {**state, **text, **fusion}, NORMALISATION, text_config=config)


FAMILY = Family(
    "MRM", (r"blocks\.0\.attn\.qkv\.weight", r"bert_mlp\.weight", r"bert_encoder\.model\.bert\..*"), translate
)
