"""Objectives, kinds of backbone and pairings: what each reads, and that a gradient reaches every parameter."""

import itertools

import pytest
import torch
from model_fixtures import DECODER, EACH, NAMES, build, only, small_state

from mpma_lightning.objectives import Objectives
from mpma_lightning.objectives.global_alignment import GlobalAlignmentOptions
from mpma_lightning.objectives.image_reconstruction import ImageReconstructionOptions
from mpma_lightning.objectives.image_text_matching import ImageTextMatchingOptions
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions
from mpma_lightning.objectives.report_reconstruction import ReportReconstructionOptions

SHARED = {"memory": "shared", "shared_slots": 40, "shared_width": 16}


def test_separate_pairing_reads_value() -> None:
    backbone, built = build(Objectives(image_reconstruction=ImageReconstructionOptions(**DECODER)))
    state, joint, bare = (small_state(backbone) for _ in range(3))
    state.pairing = "separate"
    bare.image_mask = None  # joint pairing without an image mask: the masked report with the whole image
    losses = {name: objective(state)[0] for name, objective in built.items()}
    assert torch.allclose(losses["image_reconstruction"], built["image_reconstruction"](joint)[0])
    report = built["report_reconstruction"]
    assert torch.allclose(losses["report_reconstruction"], report(bare)[0])
    assert not torch.allclose(losses["report_reconstruction"], report(joint)[0])
    whole = small_state(backbone)
    whole.pairing = "unmasked_align"
    for name in ("global_alignment", "local_alignment"):
        assert torch.allclose(losses[name], built[name](whole)[0])
    assert report.reads(state, "image") is state.whole_image is not state.image_features


MATCHING = ImageTextMatchingOptions(weight=1)
IMAGE, CROSS = ImageReconstructionOptions(**DECODER), ImageReconstructionOptions(**DECODER, kind="cross")
REPORT, ALONE = ReportReconstructionOptions(loss_on="all"), ReportReconstructionOptions(assisted=False)
GLOBAL = GlobalAlignmentOptions(multi_positive="mask", learn_temperature=True)
LOCAL = LocalAlignmentOptions(negatives="batch", learn_temperature=True)
SETS = {
    **{name: only(options) for name, options in EACH.items()},
    "everything": Objectives(**EACH | {NAMES[type(one)]: one for one in (CROSS, REPORT, GLOBAL, LOCAL, MATCHING)}),
    "defaults": Objectives(image_reconstruction=IMAGE),
    "mrm": only(IMAGE, REPORT),
    "m3ae": only(IMAGE, ReportReconstructionOptions(), MATCHING),
    "alignment": only(GLOBAL, LOCAL),
    "attention": only(LocalAlignmentOptions(attention_temperature=0.3, learn_temperature=True)),
    "global_alignment": only(GLOBAL),
    "report_reconstruction": only(REPORT),
    "image_reconstruction": only(CROSS),
    "mlm": only(ALONE),
    "mae and mlm": only(IMAGE, ALONE),
}
VARIANTS = {
    "text": {},
    "image": {"fusion": {"memory": "image"}},
    "latent": {"fusion": {"memory": "latent"}},
    "off_by_one": {"fusion": {"memory": "off_by_one"}},
    "cls": {"image": {"pool": "cls"}, "text": {"pool": "cls"}},
    "shared": {"fusion": SHARED},
    "none": {"fusion": {"memory": "none"}},
    "pooled": {"fusion": {"kind": "pooled"}},
}
PAIRINGS = ["joint", "separate", "unmasked_align"]


def combinations() -> list[tuple[str, str, str]]:
    """Objectives, backbone and pairing; kinds of fusion only where there is fusion."""
    return [
        (objectives, variant, pairing)
        for objectives, variant, pairing in itertools.product(SETS, VARIANTS, PAIRINGS)
        if variant in ("text", "cls") or any("fusion" in o.needs for o in SETS[objectives].active().values())
    ]


@pytest.mark.parametrize(("objectives", "variant", "pairing"), combinations())
def test_gradient_reaches_every_parameter(objectives: str, variant: str, pairing: str) -> None:
    backbone, built = build(SETS[objectives], **VARIANTS[variant])
    state = small_state(backbone)
    state.pairing = pairing  # type: ignore[assignment]
    losses = {name: objective(state) for name, objective in built.items()}
    sum(total / count for total, count in losses.values()).backward()
    for module in (backbone, *built.values()):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
