"""GLoRIA: a ResNet and a BERT, whose last four layers are summed."""

from mpma_lightning.backbones.importers.bert_names import bert, bert_config, bert_spec
from mpma_lightning.backbones.importers.cnn_names import resnet, resnet_spec
from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported
from mpma_lightning.backbones.importers.heads import linear, named
from mpma_lightning.backbones.spec import AlignSpec, BackboneSpec

NORMALISATION, SIDE, LAYERS = (0.5, 0.5), 299, 4


def translate(foreign: Foreign) -> Imported:
    """Image, text and both kinds of alignment; texts are compared as they are, without a projection."""
    state = resnet(foreign, r"img_encoder\.model\.")
    text = bert(foreign, r"text_encoder\.model\.")
    config = bert_config(text)
    heads = named("align_global.image", linear(foreign.tensors, "img_encoder.global_embedder"))
    heads |= named("align_local.image", linear(foreign.tensors, "img_encoder.local_embedder"))
    width = heads["align_global.image.mlp.0.weight"].shape[0]
    spec = BackboneSpec(
        image=resnet_spec(state, SIDE),
        text=bert_spec(config, "mean", LAYERS),
        align=AlignSpec(width, width, -2, "linear", "none", pooled="before"),
    )
    return Imported(spec, {**state, **text, **heads}, NORMALISATION, text_config=config)


FAMILY = Family("GLoRIA", (r"img_encoder\.global_embedder\.weight", r"text_encoder\.model\.embeddings\..*"), translate)
