"""One image, one sentence, and any checkpoint that can compare them."""

import numpy as np

from data_modules.errors import UserError
from mpma_lightning.figures.phrase import phrase_map
from mpma_lightning.inference import Model, load
from mpma_lightning.inference.occlusion import occlusion_map
from mpma_lightning.lab.figures.opened import weights_said
from mpma_lightning.lab.figures.wanted import Drawn, Wanted


def phrase(wanted: Wanted) -> Drawn:
    """The map of the sentence by local alignment; without it, by covering parts of the image.

    Raises:
        UserError: the checkpoint compares no texts with images, or the image cannot be read.
    """
    assert wanted.image is not None and wanted.text is not None
    model = load(wanted.runs[0], tokenizer=wanted.tokenizer)
    pixels = model.preparation.read(wanted.image)
    return sentence_map(model, pixels, wanted.text, wanted.image.name, wanted.runs[0].resolve().name)


def sentence_map(model: Model, pixels: np.ndarray, text: str, image: str, run: str) -> Drawn:
    """Where ``pixels``, uint8 (H, W) or (H, W, 3), show what ``text`` says; ``image`` and ``run`` are their names.

    Raises:
        UserError: the checkpoint compares no texts with images.
    """
    heat, label, how = _map(model, pixels, text)
    told = [f"{how} Weights: {weights_said(model.path)} of {run}.",
            f"Image: {image}. No protocol: one image and one sentence."]  # fmt: skip
    return Drawn(phrase_map(pixels, heat, text, label), told, patients=True)


def _map(model: Model, pixels: np.ndarray, text: str) -> tuple[np.ndarray, str, str]:
    """(H, W) map, what its colours say, and how it was made."""
    if "align_local" in model.parts:
        return model.locate(pixels, text), "cosine of words and patch", "By local alignment."
    if "align_global" in model.parts:
        said = "The checkpoint has no local alignment: each part was covered, and the fall of the cosine measured."
        return occlusion_map(model, pixels, text), "fall of the cosine when covered", said
    raise UserError(
        f"{model.path} holds {', '.join(model.parts)}; a map of a sentence needs local or global alignment of images "
        "and texts"
    )
