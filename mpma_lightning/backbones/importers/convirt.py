"""ConVIRT, in the public implementation edreisMD/ConVIRT-pytorch."""

from torch import Tensor

from mpma_lightning.backbones.importers.bert_names import bert, bert_config, bert_spec
from mpma_lightning.backbones.importers.cnn_names import resnet, resnet_spec
from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported, Table
from mpma_lightning.backbones.importers.heads import linear, named
from mpma_lightning.backbones.spec import AlignSpec, BackboneSpec

NORMALISATION = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CHILDREN: Table = [
    (r"res_features\.0\.(.*)", r"conv1.\1"),
    (r"res_features\.1\.(.*)", r"bn1.\1"),
    *((rf"res_features\.{stage + 3}\.(.*)", rf"layer{stage}.\1") for stage in range(1, 5)),
]
"""torchvision's names of the children of a ResNet in a sequence."""


def translate(foreign: Foreign) -> Imported:
    """Image, text and global alignment."""
    foreign.tensors |= foreign.take(CHILDREN)
    state = resnet(foreign)
    text = bert(foreign, r"bert_model\.")
    config = bert_config(text)
    heads: dict[str, Tensor] = {}
    for name, part in (("res", "image"), ("bert", "text")):
        heads |= named(
            f"align_global.{part}", linear(foreign.tensors, f"{name}_l1"), linear(foreign.tensors, f"{name}_l2")
        )
    hidden, text_hidden = (heads[f"align_global.{part}.mlp.0.weight"].shape[0] for part in ("image", "text"))
    width = heads["align_global.image.mlp.2.weight"].shape[0]
    spec = BackboneSpec(
        image=resnet_spec(state),
        text=bert_spec(config, "mean"),
        align=AlignSpec(width, hidden, -1, "relu", "relu", text_hidden, "before"),
    )
    return Imported(spec, {**state, **text, **heads}, NORMALISATION, text_config=config)


FAMILY = Family("ConVIRT", (r"res_features\.0\.weight", r"bert_model\.embeddings\..*", r"res_l2\.weight"), translate)
