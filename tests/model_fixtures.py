"""A very small backbone and batch for the tests of objectives."""

from dataclasses import replace
from typing import Any

import torch

from mpma_lightning.backbones import AlignSpec, Backbone, BackboneSpec, FusionSpec, ImageSpec, TextSpec, Vocabulary
from mpma_lightning.evaluation.sentences import Sentences
from mpma_lightning.masking import mask_image, mask_report
from mpma_lightning.objectives import ObjectiveOptions, Objectives, PretrainingState
from mpma_lightning.objectives.image_reconstruction import ImageReconstructionOptions

VOCABULARY, MASK = 60, 4
DECODER = {"depth": 1, "width": 16, "heads": 2}
"""Of images."""
SMALL = BackboneSpec(
    "mpma_vit_t16",
    ImageSpec(size=32, stem="linear", options={"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}),
    TextSpec(width=24, depth=1, heads=2, dropout=0.0),
    FusionSpec(depth=1, heads=2),
    AlignSpec(hidden=16, width=8, local_level=-1),
)

NAMES = {type(options): name for name, options in vars(Objectives()).items()}
"""The name of every objective, by the class of its options."""
EACH: dict[str, ObjectiveOptions] = {
    **{name: replace(options, weight=1.0) for name, options in vars(Objectives()).items()},
    "image_reconstruction": ImageReconstructionOptions(**DECODER),
}
"""Every objective, switched on."""


def only(*chosen: ObjectiveOptions) -> Objectives:
    """These objectives; all others are off."""
    off = {name: replace(options, weight=0.0) for name, options in vars(Objectives()).items()}
    return Objectives(**off | {NAMES[type(options)]: options for options in chosen})


def small_spec(**changes: dict[str, Any]) -> BackboneSpec:
    """``SMALL`` with other fields, by part: ``image={"pool": "cls"}``."""
    return replace(SMALL, **{part: replace(getattr(SMALL, part), **fields) for part, fields in changes.items()})


def small_backbone(*parts: str, **changes: dict[str, Any]) -> Backbone:
    torch.manual_seed(0)
    return Backbone(small_spec(**changes), parts, Vocabulary(VOCABULARY, mask_id=MASK)).double()


def small_sentences(batch: int) -> Sentences:
    """Six sentences; the first is in every other report, the others in one or two, and reports have one to three."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, VOCABULARY, (6, 5), generator=generator)
    words = torch.tensor([-1, 0, 0, 1, -1]).repeat(6, 1)
    ids[:, 0], ids[:, 4] = 2, 3
    slot = torch.tensor(
        [[0, 1, -1], [2, -1, -1], [0, 3, 4], [5, 1, -1], [0, 2, 5], [4, -1, -1], [0, -1, -1], [3, 5, 1]]
    )
    return Sentences(ids, torch.ones_like(ids), words, torch.arange(6) < 2, slot[:batch])


def small_state(backbone: Backbone, batch: int = 4, image_ratio: float = 0.75, scale: int = 2) -> PretrainingState:
    generator = torch.Generator().manual_seed(1)
    length, seed = 12, torch.arange(batch) + 5
    target = torch.randn(batch, 1, 32 * scale, 32 * scale, generator=generator, dtype=torch.float64)
    image = torch.nn.functional.avg_pool2d(target, scale).expand(-1, 3, -1, -1)
    ids = torch.randint(5, VOCABULARY, (batch, length), generator=generator)
    words = torch.tensor([-1, 0, 1, 1, 2, 3, 4, 4, 5, 6, -1, -1]).repeat(batch, 1)
    ids[:, 0], ids[:, 10], ids[:, 11] = 2, 3, 0
    attention = torch.ones_like(ids)
    attention[:, 11] = 0
    return PretrainingState(
        backbone,
        image,
        target,
        mask_image(seed, 16, image_ratio),
        ids,
        attention,
        words,
        mask_report(seed, ids, words, 0.5, MASK),
        torch.tensor([7, 8, 8, 9, 10, 11, 12, 13])[:batch],
        seed,
    )


def build(objectives: Objectives, **changes: Any) -> tuple[Backbone, dict[str, Any]]:
    """The backbone an experiment with these objectives builds, and the objectives on it."""
    active = objectives.active()
    backbone = small_backbone(*{part for option in active.values() for part in option.needs}, **changes)
    modules: dict[str, Any] = {name: option.build(backbone) for name, option in active.items()}
    if "image_reconstruction" in modules:
        modules["image_reconstruction"].set_target(2, 1)
    return backbone, {name: objective.double() for name, objective in modules.items()}
