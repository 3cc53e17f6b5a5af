"""Guards: steps that are not finite, losses that train nothing, collapse, bad samples, checkpoints cut short."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from data_modules.errors import UserError
from data_modules.loading.dataset import SampleDataset
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.callbacks.collapse import Collapse
from mpma_lightning.callbacks.efficiency import Efficiency, blocks_of, recompute
from mpma_lightning.callbacks.liveness import Liveness, parts_of
from mpma_lightning.callbacks.non_finite import NonFinite
from mpma_lightning.cli.faults import explain_fault
from mpma_lightning.runs.checkpoints import AtomicCheckpointIO
from mpma_lightning.runs.cost_card import CostCard
from mpma_lightning.tasks.base import Task


class Net(LightningModule):
    """Two layers; what happens at which step is up to the test."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"image": nn.Linear(8, 4, bias=False), "text": nn.Linear(8, 4, bias=False)})
        self.rank_losses: dict[str, Tensor] = {}
        self.gradient_norms: dict[str, Tensor] = {}
        self.seen: list[Tensor] = []

    def loss(self, batch: dict[str, Any]) -> Tensor:
        return sum(part(batch["x"]).square().mean() for part in self.backbone.values())  # type: ignore[return-value]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        self.seen.append(self.backbone["image"].weight.detach().clone())
        loss = self.loss(batch)
        self.rank_losses = {"square_loss": loss}
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1)


def run(net: Net, folder: Path, *guards: Any, epochs: int = 1, **settings: Any) -> Trainer:
    """Four steps an epoch."""
    torch.manual_seed(0)
    data = [{"x": torch.randn(8), "id": f"film {i}"} for i in range(8)]
    trainer = Trainer(
        accelerator="cpu", callbacks=list(guards), max_epochs=epochs, default_root_dir=folder, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **settings,
    )  # fmt: skip
    trainer.fit(net, DataLoader(data, batch_size=2))  # type: ignore[arg-type]
    return trainer


# not finite


class Breaks(Net):
    """The loss or its gradient is broken at some steps."""

    def __init__(self, *steps: int, gradient: bool = False) -> None:
        super().__init__()
        self.steps, self.gradient = steps, gradient

    def loss(self, batch: dict[str, Any]) -> Tensor:
        good = super().loss(batch)
        if self.global_step not in self.steps:
            return good
        return good + (good * 0).sqrt() if self.gradient else good * torch.nan  # the slope of sqrt at 0 is infinite


@pytest.mark.parametrize("gradient", [False, True])
def test_value_step_left_out(gradient: bool, tmp_path: Path) -> None:
    net = Breaks(1, gradient=gradient)
    with pytest.warns(UserWarning, match=r"not finite at step 1.*film 2, film 3\. Step skipped, 1 of 2"):
        trainer = run(net, tmp_path, guard := NonFinite(skip=2))
    assert trainer.global_step == 4 and guard.state_dict() == {"skipped": 1}
    assert torch.equal(net.seen[1], net.seen[2]) and not torch.equal(net.seen[2], net.seen[3])
    (row,) = map(json.loads, (tmp_path / "non_finite.jsonl").read_text().splitlines())
    assert row["step"] == 1 and row["what"] == ("gradient" if gradient else "loss")
    assert row["ranks"][0]["ids"] == ["film 2", "film 3"]
    assert row["ranks"][0]["losses"] == ({} if gradient else {"square_loss": "nan"})


@pytest.mark.parametrize(("skip", "at"), [(0, 1), (1, 2)])
def test_error_too_many_steps_not_finite(skip: int, at: int, tmp_path: Path) -> None:
    net = Breaks(1, 2)
    with pytest.raises(UserError, match=rf"the loss is not finite at step {at} \(square_loss nan\); samples of"):
        run(net, tmp_path, NonFinite(skip))
    assert len(net.seen) == at + 1 and all(torch.isfinite(p).all() for p in net.parameters())


def test_value_batches_of_an_accumulated_step_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"samples of the batch: film 4, film 5, film 6, film 7\. Look at"):
        run(Breaks(1, gradient=True), tmp_path, NonFinite(), accumulate_grad_batches=2)


# liveness


class Idle(Net):
    """The text encoder gets an exact zero for some steps, and a norm of one of two losses is zero for some steps."""

    def __init__(self, steps: int, losses: bool = False) -> None:
        super().__init__()
        self.steps, self.losses = steps, losses

    def loss(self, batch: dict[str, Any]) -> Tensor:
        idle = self.global_step < self.steps
        if self.losses:
            self.gradient_norms = {"alignment/image": torch.tensor(1.0), "alignment/text": torch.tensor(1.0 - idle)}
            return super().loss(batch)
        return self.backbone["image"](batch["x"]).square().mean() + (1 - idle) * super().loss(batch)


@pytest.mark.parametrize("losses", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_value_a_late_start_is_alive(steps: int, losses: bool, tmp_path: Path) -> None:
    assert run(Idle(steps, losses), tmp_path, Liveness(), epochs=2).global_step == 8


@pytest.mark.parametrize(
    ("losses", "said"),
    [(False, "nothing gives a gradient to backbone.text"), (True, "'alignment' gives no gradient to the text encoder")],
)
def test_error_dead_loss_stops_at_the_end_of_the_first_epoch(losses: bool, said: str, tmp_path: Path) -> None:
    net = Idle(5, losses)
    with pytest.raises(UserError, match=f"^{said}, in the 4 steps up to the end of the first epoch"):
        run(net, tmp_path, Liveness(), epochs=2)
    assert len(net.seen) == 4


def test_value_frozen_parts_are_not_asked_for(tmp_path: Path) -> None:
    net = Idle(9)
    net.backbone["text"].requires_grad_(False)
    assert set(parts_of(net)) == {"backbone.image"}
    assert run(net, tmp_path, Liveness()).global_step == 4


def test_value_what_lived_is_kept_over_a_resume() -> None:
    guard, again = Liveness(), Liveness()
    guard._alive, guard._known = {"backbone.image"}, {"alignment/text"}
    again.load_state_dict(guard.state_dict())
    assert again.state_dict() == {"alive": ["backbone.image"], "known": ["alignment/text"], "done": False}


# collapse


class Spread(Task):
    """Its features are given."""

    def __init__(self, logged: dict[str, float]) -> None:
        super().__init__(backbone="mpma_vit_t16")
        self.in_evaluation_step = True
        self.log_dict = lambda values, **_: logged.update(values)  # type: ignore[method-assign, assignment]


def test_value_spread_by_hand() -> None:
    guard, logged = Collapse(least=0.1), {}
    trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"), sanity_checking=False, global_step=7)
    task = Spread(logged)
    guard._add(task, "image", None, None, SimpleNamespace(pooled=torch.tensor([[2.0, 0.0]])))
    guard._add(task, "image", None, None, SimpleNamespace(pooled=torch.tensor([[0.0, 5.0]])))
    guard._add(task, "text", None, None, SimpleNamespace(pooled=torch.tensor([[3.0, 3.001], [1.0, 1.0]])))
    task.in_evaluation_step = False
    guard._add(task, "image", None, None, SimpleNamespace(pooled=torch.tensor([[-1.0, 0.0]])))
    with pytest.warns(UserWarning, match="the text encoder has collapsed: at step 7 .* of 2 validation samples"):
        guard.on_validation_epoch_end(trainer, task)  # type: ignore[arg-type]
    assert logged["val/image_spread"] == pytest.approx(0.5**0.5)  # the mean of two orthogonal directions: 1/2
    assert 0 < logged["val/text_spread"] < 1e-3
    assert set(task.declared) == {"image_spread", "text_spread"}


# bad samples


def table(tokenizer: Tokenizer, *texts: str | None) -> SampleDataset:
    rows = [{"id": f"r{i}", "patient": "p", "study": f"s{i}", "group": i, "text": t} for i, t in enumerate(texts)]
    return SampleDataset(
        pd.DataFrame(rows), label_names=[], transform=None, channels=1, tokenizer=tokenizer, max_tokens=8, seed=0
    )


def test_value_empty_texts_under_both_policies() -> None:
    samples = table(Tokenizer.train(["clear lungs"], 200, 1), "clear", None, " ", "lungs")
    with pytest.raises(UserError, match="sample r1: empty text"):
        samples[0, 1]
    samples.skip_bad = True
    taken = [samples[0, i] for i in range(4)]
    assert [sample["id"] for sample in taken] == ["r0", "r3", "r3", "r3"]
    assert [len(sample["skipped"]) for sample in taken] == [0, 2, 1, 0] and "sample r2" in taken[1]["skipped"][1]
    nothing = table(Tokenizer.train(["clear lungs"], 200, 1), *[""] * 30)
    nothing.skip_bad = True
    with pytest.raises(UserError, match=r"sample r4: empty text; .* and so are the 19 samples after it"):
        nothing[0, 4]


# checkpoints


def test_value_a_checkpoint_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, plugin = tmp_path / "new" / "a.ckpt", AtomicCheckpointIO()
    plugin.save_checkpoint({"x": torch.ones(3)}, path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        UserError, match=r"a\.ckpt could not be written at step 9 \(No space left on device\); .*a\.ckpt"
    ):
        plugin.save_checkpoint({"x": torch.zeros(3), "global_step": 9}, path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["a.ckpt"]


# faults of the machine


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"), r"at batch size 6 .*--data.batch_size 3"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), "out of memory at batch"),
        (RuntimeError("DataLoader worker (pid 41) is killed by signal: Killed. "), "41 is killed .* sample film 7"),
        (RuntimeError("DataLoader worker (pid(s) 5) exited unexpectedly"), r"worker 5 exited unexpectedly\. Where"),
        (RuntimeError("[gloo/tcp/pair.cc:534] Connection closed by peer [1.2.3.4]:5"), "another process of this run"),
        (OSError(28, "No space left on device", "/runs/events"), "/runs/events: No space left on device; make room"),
    ],
)
def test_error_faults_in_one_line(fault: BaseException, said: str) -> None:
    data = SimpleNamespace(batch_size=6, sample_being_read=lambda pid: "film 7" if pid == 41 else None)
    found = explain_fault(fault, data)
    assert found is not None
    assert pd.Series([str(found)]).str.contains(said).all() and "\n" not in str(found)


def test_value_other_errors_stay_as_they_are() -> None:
    assert explain_fault(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None) is None


# cost and efficiency


def test_value_cost_card_by_hand(tmp_path: Path) -> None:
    card = CostCard()
    trainer = run(Net(), tmp_path, card)
    # of each of 2 layers, 2 samples, 8 in, 4 out: a product for the output and one for the gradient of the weight
    assert card._flops == 2 * 2 * (2 * 2 * 8 * 4) and card._batches == 4 and card._samples == 8
    found = card.card(trainer)
    assert found["flops_per_second"] == pytest.approx(card._flops * 4 / card._seconds, rel=0.01)
    assert found["samples_per_second"] == pytest.approx(8 / card._seconds, rel=0.01)
    assert found["mfu"] is None and found["gpu_hours"] is None and found["devices"] == 1


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Dropout(0.5)), nn.BatchNorm1d(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def test_value_checkpointing_changes_no_gradient() -> None:
    gradients, saved = [], []
    for again in (False, True):
        torch.manual_seed(0)
        stack, x = Stack(), torch.randn(6, 4)
        found = blocks_of(stack)
        assert found == [stack.blocks[0]]  # batch normalisation is left alone
        if again:
            recompute(found[0])
        kept: list[Tensor] = []
        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t) or t, lambda t: t):
            loss = stack(x).square().sum()
        loss.backward()
        gradients.append([p.grad.clone() for p in stack.parameters()])  # type: ignore[union-attr]
        saved.append(len(kept))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True)) and saved[1] < saved[0]


def test_value_compiled_parts_keep_their_names() -> None:
    task, backbone = Spread({}), Net().backbone
    task.backbone = backbone  # type: ignore[assignment]
    names = list(task.state_dict())
    before = backbone["image"](torch.ones(1, 8))
    Efficiency(compile=True, compile_backend="eager").on_fit_start(None, task)  # type: ignore[arg-type]
    assert list(task.state_dict()) == names and all(part._compiled_call_impl for part in backbone.children())
    assert torch.equal(backbone["image"](torch.ones(1, 8)), before)
