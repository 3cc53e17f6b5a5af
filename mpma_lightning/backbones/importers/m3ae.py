"""M3AE: CLIP's ViT, a RoBERTa or BERT, and layers in which they attend to each other."""

import torch
from torch import Tensor

from mpma_lightning.backbones.importers.bert_names import bert, bert_config, bert_spec
from mpma_lightning.backbones.importers.clip_names import NORMALISATION, OPEN_VIT, vision, vision_spec
from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported, Table, depth_of
from mpma_lightning.backbones.spec import BackboneSpec, FusionSpec

END = r"\.(weight|bias)"
_ATTENTIONS = {"attention": "own", "crossattention": "other"}


def _layers(modality: str, ours: str) -> Table:
    before, after = rf"multi_modal_{modality}_layers\.(\d+)\.", rf"{ours}_layers.\1."
    table = [
        (rf"{before}intermediate\.dense{END}", rf"{after}forward1.\2"),
        (rf"{before}output\.dense{END}", rf"{after}forward2.\2"),
        (rf"{before}output\.LayerNorm{END}", rf"{after}norms.2.\2"),
    ]
    for place, (theirs, name) in enumerate(_ATTENTIONS.items()):
        table += [
            (rf"{before}{theirs}\.self\.{part}{END}", rf"{after}{name}.{part}.\2") for part in ("query", "key", "value")
        ]
        table += [
            (rf"{before}{theirs}\.output\.dense{END}", rf"{after}{name}.out_proj.\2"),
            (rf"{before}{theirs}\.output\.LayerNorm{END}", rf"{after}norms.{place}.\2"),
        ]
    return table


NAMES: Table = [
    (rf"multi_modal_language_proj{END}", r"project_text.\1"),
    (rf"multi_modal_vision_proj{END}", r"project_image.\1"),
    (r"modality_type_embeddings\.weight", "kinds"),
    *_layers("language", "text"),
    *_layers("vision", "image"),
]


def _joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value of each attention as one projection, as torch has them."""
    for name in [name for name in state if ".query." in name]:
        stem, kind = name.split("query.")
        parts = [state.pop(f"{stem}{part}.{kind}") for part in ("query", "key", "value")]
        state[f"{stem}in_proj_{kind}"] = torch.cat(parts)
    return state


def translate(foreign: Foreign) -> Imported:
    """Image, text and ``co_attention`` fusion; the image's last layer, poolers and heads are left out."""
    depth = depth_of(foreign.tensors, r"multi_modal_language_layers\.(\d+)\.")
    last = f"multi_modal_vision_layers.{depth - 1}."
    held_back = {name: foreign.tensors.pop(name) for name in list(foreign.tensors) if name.startswith(last)}
    state = vision(foreign, OPEN_VIT, r"vision_encoder\.visual\.")
    text = bert(foreign, r"language_encoder\.")
    fusion = _joined(foreign.take(NAMES, "fusion."))
    foreign.tensors |= held_back
    config = bert_config(text)
    width = fusion["fusion.project_text.weight"].shape[0]
    spec = BackboneSpec(
        image=vision_spec(state, "quick_gelu"),
        text=bert_spec(config),
        fusion=FusionSpec("co_attention", depth, max(1, width // 64)),
    )
    return Imported(spec, {**state, **text, **fusion}, NORMALISATION, text_config=config)


FAMILY = Family(
    "M3AE",
    (
        r"vision_encoder\.visual\.conv1\.weight",
        r"multi_modal_language_layers\.0\..*",
        r"language_encoder\.embeddings\..*",
    ),
    translate,
)
