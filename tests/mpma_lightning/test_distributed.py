"""Two processes give the gradients of one, for every objective; the naive ways do not."""

import multiprocessing
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from model_fixtures import small_backbone, small_state

from mpma_lightning import distributed
from mpma_lightning.distributed import global_mean
from mpma_lightning.objectives.global_alignment import GlobalAlignmentOptions
from mpma_lightning.objectives.image_reconstruction import ImageReconstructionOptions
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions
from mpma_lightning.objectives.report_reconstruction import ReportReconstructionOptions

OBJECTIVES = {
    "image_reconstruction": ImageReconstructionOptions(depth=1, width=16, heads=2),
    "report_reconstruction": ReportReconstructionOptions(),
    "global_alignment": GlobalAlignmentOptions(learn_temperature=True),
    "local_alignment": LocalAlignmentOptions(),
    "image_reconstruction_cross": ImageReconstructionOptions(depth=1, width=16, heads=2, kind="cross"),
    "report_reconstruction_all": ReportReconstructionOptions(loss_on="all"),
    "global_alignment_mask": GlobalAlignmentOptions(multi_positive="mask"),
}
BATCH = 4


def gradients(name: str, first: int, last: int, naive: str = "") -> dict[str, torch.Tensor]:
    """Gradients of rows first to last of the fixed batch, averaged over the process group as DDP does."""
    options = OBJECTIVES[name]
    torch.manual_seed(0)
    backbone = small_backbone(*options.needs)
    objective = options.build(backbone)
    if isinstance(options, ImageReconstructionOptions):
        objective.set_target(2, 1)
    objective = objective.double()
    state = small_state(backbone, BATCH)
    # the first row has more masked words than the rest, so that a mean per rank is not the mean over all
    state.report_mask.masked[0, 1:9] = True
    for field in ("image", "target", "input_ids", "attention_mask", "word_ids", "group", "seed"):
        setattr(state, field, getattr(state, field)[first:last])
    for mask, names in ((state.image_mask, ("visible", "masked")), (state.report_mask, ("input_ids", "masked"))):
        for field in names:
            setattr(mask, field, getattr(mask, field)[first:last])
    state.across_ranks = True
    total, count = objective(state)
    loss = total / count if naive == "rank mean" else global_mean(total, count)
    loss.backward()
    result = {}
    for prefix, module in (("backbone", backbone), ("objective", objective)):
        for key, parameter in module.named_parameters():
            gradient = parameter.grad.clone()
            if distributed.world_size() > 1:
                dist.all_reduce(gradient)
                gradient /= distributed.world_size()
            result[f"{prefix}.{key}"] = gradient
    return result


def gather_without_gradient(rows: torch.Tensor) -> torch.Tensor:
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.detach().contiguous())
    parts[dist.get_rank()] = rows
    return torch.cat(parts)


def worker(rank: int, world: int, port: int, name: str, naive: str, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    if naive == "gather":
        import mpma_lightning.objectives.global_alignment as module

        module.gather_rows = gather_without_gradient
    share = BATCH // world
    found = gradients(name, rank * share, (rank + 1) * share, naive)
    if rank == 0:
        torch.save(found, out)
    dist.destroy_process_group()


def on_ranks(world: int, name: str, folder: Path, naive: str = "") -> dict[str, torch.Tensor]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context, out = multiprocessing.get_context("fork"), folder / "gradients.pt"
    processes = [context.Process(target=worker, args=(r, world, port, name, naive, out)) for r in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert all(process.exitcode == 0 for process in processes)
    return torch.load(out, weights_only=True)


def worst_difference(one: dict[str, torch.Tensor], many: dict[str, torch.Tensor]) -> float:
    scale = max(float(g.abs().max()) for g in one.values())
    assert one.keys() == many.keys() and scale > 0
    return max(float((one[k] - many[k]).norm() / max(float(one[k].norm()), 1e-6 * scale)) for k in one)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_equal_one(name: str, tmp_path: Path) -> None:
    assert worst_difference(gradients(name, 0, BATCH), on_ranks(2, name, tmp_path)) < 1e-5


@pytest.mark.parametrize(("name", "naive"), [("global_alignment", "gather"), ("report_reconstruction", "rank mean")])
def test_naive_ways_fail(name: str, naive: str, tmp_path: Path) -> None:
    assert worst_difference(gradients(name, 0, BATCH), on_ranks(2, name, tmp_path, naive)) > 1e-3
