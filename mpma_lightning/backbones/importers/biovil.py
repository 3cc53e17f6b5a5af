"""BioViL and BioViL-T (one image): a ResNet with a projection of each patch, alone or beside its CXR-BERT."""

from torch import Tensor

from mpma_lightning.backbones.importers.bert_names import bert, bert_config, bert_spec
from mpma_lightning.backbones.importers.cnn_names import resnet, resnet_spec
from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported
from mpma_lightning.backbones.importers.heads import Linear, linear, named, with_batch_norm
from mpma_lightning.backbones.spec import AlignSpec, BackboneSpec, ImageSpec

NORMALISATION, SIDE = (0.0, 1.0), 448
SINGLE = "BioViL-T for a single image: what it adds for an earlier one is part of the projection"


def _image(foreign: Foreign) -> tuple[dict[str, Tensor], Linear, Linear, list[str]]:
    """The ResNet, the two layers of the projection, and notes."""
    state = resnet(foreign, r"encoder\.encoder\.")
    tensors, notes = foreign.tensors, []
    first = with_batch_norm(linear(tensors, "projector.model.0"), tensors, "projector.model.1")
    if "encoder.backbone_to_vit.weight" in tensors:
        narrow, missing = linear(tensors, "encoder.backbone_to_vit")[0], tensors.pop("encoder.missing_previous_emb")
        half = len(narrow)
        first = first[0][:, :half] @ narrow, first[1] + first[0][:, half:] @ missing.flatten()
        notes = [SINGLE]
    return state, first, linear(tensors, "projector.model.3"), notes


def _spec(state: dict[str, Tensor]) -> ImageSpec:
    return resnet_spec(state, SIDE)


def translate_image(foreign: Foreign) -> Imported:
    """An image encoder with the image's side of global alignment."""
    state, first, second, notes = _image(foreign)
    heads = named("align_global.image", first, second)
    align = AlignSpec(len(second[0]), len(first[0]), -1, "relu", "gelu_norm", pooled="after")
    return Imported(BackboneSpec(image=_spec(state), align=align), {**state, **heads}, NORMALISATION, notes=notes)


def translate_text(foreign: Foreign) -> Imported:
    """CXR-BERT with its projection, and the image encoder that lies beside it in its folder."""
    text = bert(foreign, r"bert\.")
    config = bert_config(text, foreign.config)
    head, tensors = "cls_projection_head", foreign.tensors
    layers = linear(tensors, f"{head}.dense_to_hidden"), linear(tensors, f"{head}.dense_to_output")
    norm = {key: tensors.pop(f"{head}.LayerNorm.{key}") for key in ("weight", "bias")}
    part = "align_global.text"
    heads = named(part, *layers, place=3) | {f"{part}.mlp.2.{key}": value for key, value in norm.items()}
    width, hidden = len(layers[1][0]), len(layers[0][0])
    align = AlignSpec(width, hidden, -1, "relu", "gelu_norm", pooled="after")
    spec = BackboneSpec(text=bert_spec(config), align=align)
    found = Imported(spec, {**text, **heads}, tokenizer=foreign.tokenizer, text_config=config)
    if foreign.beside:
        image = translate_image(Foreign(foreign.beside))
        found.spec.image, found.normalisation = image.spec.image, image.normalisation
        found.spec.align.hidden, found.spec.align.text_hidden = image.spec.align.hidden, hidden
        found.state |= image.state
        found.notes += image.notes
    return found


IMAGE = Family("BioViL", (r"encoder\.encoder\.conv1\.weight", r"projector\.model\.0\.weight"), translate_image)
TEXT = Family("CXR-BERT", (r"cls_projection_head\.dense_to_hidden\.weight", r"bert\.embeddings\..*"), translate_text)
