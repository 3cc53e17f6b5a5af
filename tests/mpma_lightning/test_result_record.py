"""What a result record says of a run."""

from types import SimpleNamespace

import pytest

from mpma_lightning.backbones import BackboneSpec, ImageSpec, TextSpec
from mpma_lightning.runs.initialisation import initialisation

PUBLISHED = BackboneSpec(image=ImageSpec(weights="hub"), text=TextSpec("hf/some/bert"))


@pytest.mark.parametrize(
    ("spec", "built", "source", "checkpoint_parts", "words"),
    [
        (BackboneSpec(text=TextSpec("bert")), ("image", "text"), None, None, "random"),
        (PUBLISHED, ("image", "text"), None, None, "published image, published text"),
        (PUBLISHED, ("image",), None, None, "published image"),
        (PUBLISHED, ("image", "text", "fusion"), "a.ckpt", None, "checkpoint"),
        (PUBLISHED, ("image", "text"), "a.ckpt", ["text"], "checkpoint, published image"),
        (PUBLISHED, ("image", "text"), "a.ckpt", [], "published image, published text"),
        (BackboneSpec(text=TextSpec("bert")), ("image", "text"), "a.ckpt", [], "random"),
    ],
)
def test_value_initialisation(spec, built, source, checkpoint_parts, words: str) -> None:
    backbone = SimpleNamespace(parts=built)
    task = SimpleNamespace(spec=spec, backbone=backbone, source=source, checkpoint_parts=checkpoint_parts)
    assert initialisation(task) == words
