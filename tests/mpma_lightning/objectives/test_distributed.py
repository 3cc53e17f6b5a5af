"""Several processes give the gradients of one, for every objective and switch; the naive ways do not."""

import itertools
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from model_fixtures import DECODER, EACH, build, only, small_state
from process_group import Gradients, averaged, on_ranks, worst_difference
from test_combinations import PAIRINGS, VARIANTS

from mpma_lightning import distributed
from mpma_lightning.distributed import global_mean
from mpma_lightning.objectives import Objectives
from mpma_lightning.objectives.global_alignment import GlobalAlignmentOptions
from mpma_lightning.objectives.image_reconstruction import ImageReconstructionOptions
from mpma_lightning.objectives.image_text_matching import ImageTextMatchingOptions
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions
from mpma_lightning.objectives.report_reconstruction import ReportReconstructionOptions
from mpma_lightning.objectives.state import PretrainingState

BATCH, LARGEST = 8, 1e-8
IMAGE = partial(ImageReconstructionOptions, **DECODER)
CONTRAST = GlobalAlignmentOptions(multi_positive="mask", learn_temperature=True)
PAIR = LocalAlignmentOptions(negatives="pair", learn_temperature=True)
ANY_SPLIT = {
    "image": only(IMAGE()),
    "image cross": only(IMAGE(kind="cross")),
    "image assisted": only(IMAGE(assisted=True)),
    "report": only(ReportReconstructionOptions()),
    "report all": only(ReportReconstructionOptions(loss_on="all")),
    "report alone": only(ReportReconstructionOptions(assisted=False)),
    "global": only(GlobalAlignmentOptions()),
    "global mask": only(CONTRAST),
    "local pair": only(PAIR),
    "together": only(IMAGE(), ReportReconstructionOptions(), CONTRAST, PAIR),
}
OWN_BATCH = {
    "local batch": only(LocalAlignmentOptions(negatives="batch")),
    "local attention": only(LocalAlignmentOptions(attention_temperature=0.25, temperature=0.05)),
    "matching": only(ImageTextMatchingOptions(weight=1)),
}
"""Their negatives are the batch of a process: many processes equal one that takes their batches in turn."""
Case = tuple[str, str, str]


def cases(sets: dict[str, Objectives]) -> list[Case]:
    """Objectives, backbone and pairing; kinds of fusion only where there is fusion."""
    return [
        (name, variant, pairing)
        for name, variant, pairing in itertools.product(sets, VARIANTS, PAIRINGS)
        if variant in ("text", "cls") or any("fusion" in o.needs for o in sets[name].active().values())
    ]


def quick(case: Case) -> bool:
    """Every objective once, and every backbone with all of them."""
    name, variant, pairing = case
    return pairing == "joint" and (variant == "text" or name == "together")


def marked(sets: dict[str, Objectives]) -> list[object]:
    return [
        pytest.param(case, id=" | ".join(case), marks=[pytest.mark.full] * (not quick(case))) for case in cases(sets)
    ]


def share(state: PretrainingState, first: int, last: int) -> PretrainingState:
    """Rows of a batch."""
    for field in ("image", "target", "input_ids", "attention_mask", "word_ids", "group", "seed"):
        setattr(state, field, getattr(state, field)[first:last])
    for mask, names in ((state.image_mask, ("visible", "masked")), (state.report_mask, ("input_ids", "masked"))):
        for field in names:
            setattr(mask, field, getattr(mask, field)[first:last])
    assert state.report_mask is not None
    state.report_mask.count = int(state.report_mask.masked.sum())
    return state


def gradients(case: Case, in_turn: int = 1, naive: str = "") -> Gradients:
    """Of the fixed batch, which the processes of the group share, and each takes its part ``in_turn``."""
    name, variant, pairing = case
    backbone, built = build((ANY_SPLIT | OWN_BATCH)[name], **VARIANTS[variant])
    world, rank = distributed.world_size(), distributed.rank()
    length = BATCH // world // in_turn
    outcomes: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {key: [] for key in built}
    for turn in range(in_turn):
        state = small_state(backbone, BATCH)
        state.group = torch.tensor([7, 8, 9, 10, 8, 11, 12, 9])  # pairs of one group lie on different ranks
        # the first row has more masked words than the rest, so that a mean per rank is not the mean over all
        state.report_mask.masked[0, 1:9] = True
        state.pairing, state.across_ranks = pairing, True  # type: ignore[assignment]
        first = (rank * in_turn + turn) * length
        share(state, first, first + length)
        for key, objective in built.items():
            outcomes[key].append(objective(state))
    loss = torch.zeros((), dtype=torch.float64)
    for pairs in outcomes.values():
        total, count = (torch.stack([pair[i] for pair in pairs]).sum(0) for i in (0, 1))
        loss = loss + (total / count if naive == "rank mean" else global_mean(total, count))
    loss.backward()
    return averaged(backbone=backbone, **built)


def gather_without_gradient(rows: torch.Tensor) -> torch.Tensor:
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.detach().contiguous())
    parts[dist.get_rank()] = rows
    return torch.cat(parts)


def every_case(quickly: bool) -> dict[str, Gradients]:
    found = {str(case): gradients(case) for case in cases(ANY_SPLIT | OWN_BATCH) if quick(case) == quickly}
    found["rank mean"] = gradients(("report", "text", "joint"), naive="rank mean")
    import mpma_lightning.objectives.global_alignment as module

    module.gather_rows = gather_without_gradient
    found["gather"] = gradients(("global", "text", "joint"))
    return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, bool], dict[str, Gradients]]:
    """By number of processes and quickness: the gradients of every case."""

    @cache
    def found(world: int, quickly: bool) -> dict[str, Gradients]:
        return on_ranks(world, lambda: every_case(quickly), tmp_path_factory.mktemp("ranks") / "gradients.pt")

    return found


@cache
def alone(case: Case, in_turn: int = 1) -> Gradients:
    return gradients(case, in_turn)


def test_every_objective_is_compared() -> None:
    compared = {name for objectives in (ANY_SPLIT | OWN_BATCH).values() for name in objectives.active()}
    missing = EACH.keys() - compared
    assert not missing, f"add {missing} to ANY_SPLIT, or to OWN_BATCH where negatives are the batch of a process"


WORLDS = pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.full)])
Shared = Callable[[int, bool], dict[str, Gradients]]


@WORLDS
@pytest.mark.parametrize("case", marked(ANY_SPLIT))
def test_value_many_processes_equal_one(case: Case, world: int, shared: Shared) -> None:
    assert worst_difference(alone(case), shared(world, quick(case))[str(case)]) <= LARGEST


@WORLDS
@pytest.mark.parametrize("case", marked(OWN_BATCH))
def test_value_many_processes_equal_turns(case: Case, world: int, shared: Shared) -> None:
    assert worst_difference(alone(case, world), shared(world, quick(case))[str(case)]) <= LARGEST
    assert worst_difference(alone(case), shared(world, quick(case))[str(case)]) > 1e-3


@WORLDS
@pytest.mark.parametrize(("naive", "name"), [("gather", "global"), ("rank mean", "report")])
def test_value_naive_ways_fail(naive: str, name: str, world: int, shared: Shared) -> None:
    assert worst_difference(alone((name, "text", "joint")), shared(world, True)[naive]) > 1e-2


def test_shape_gather_keeps_rank_order(tmp_path: Path) -> None:
    found = on_ranks(3, lambda: distributed.gather_rows(torch.full((2, 1), distributed.rank())), tmp_path / "out.pt")
    assert found.flatten().tolist() == [0, 0, 1, 1, 2, 2]
