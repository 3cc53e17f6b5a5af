"""Whether a checkpoint of another code base gives what its own modules give."""

from pathlib import Path
from typing import Any

import torch
from foreign_files import IDS, MASK, Sample
from torch import Tensor

from mpma_lightning.backbones import Backbone, Vocabulary, resolve
from mpma_lightning.backbones.checkpoint import Checkpoint, read_checkpoint
from mpma_lightning.backbones.weights import load_weights

CLOSE: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-5}


def loaded(path: Path, *parts: str) -> tuple[Backbone, Checkpoint]:
    """The backbone that a checkpoint alone determines."""
    checkpoint = read_checkpoint(path)
    assert checkpoint.imported is not None
    config = checkpoint.text_config
    words = config["vocab_size"] if config else 9
    spec = resolve(checkpoint.determined() or "")
    backbone = Backbone(spec, parts or checkpoint.imported.parts, Vocabulary(words), config)
    for match in load_weights(backbone.eval(), checkpoint).values():
        assert not match.missing and not match.mismatched
    return backbone, checkpoint


@torch.no_grad()
def found(backbone: Backbone, sample: Sample) -> dict[str, Tensor]:
    """What ``backbone`` gives for the inputs of ``sample``, under the names of its outputs."""
    outputs: dict[str, Tensor] = {}
    if "image" in backbone.parts:
        image = backbone.local_image(sample.image)
        outputs |= {"pooled": image.pooled, "tokens": image.tokens}
    if "text" in backbone.parts:
        outputs["words"] = backbone.text(IDS, MASK).tokens
    if "fusion" in backbone.parts:
        outputs["fused"] = backbone.fuse(image, None, IDS, MASK)
    if "align_global" in backbone.parts:
        outputs |= {"image": backbone.embed_image(image), "text": backbone.embed_text(backbone.text(IDS, MASK))}
    if "align_local" in backbone.parts:
        outputs |= {"patches": backbone.embed_patches(image), "pieces": backbone.align_local.text(outputs["words"])}
    return outputs


def same(backbone: Backbone, sample: Sample) -> None:
    outputs = found(backbone, sample)
    for name, expected in sample.outputs.items():
        of_texts = name in ("words", "fused", "pieces")  # padding has no meaning
        mine, theirs = (x[MASK.bool()] if of_texts else x for x in (outputs[name], expected))
        assert torch.allclose(mine, theirs, **CLOSE), name
