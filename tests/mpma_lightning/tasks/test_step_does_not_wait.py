"""A step of pre-training never waits for the device: it asks for no value and for no number of them, and copies none.

The forward pass runs on a device that is only imagined (torch's fake tensors), where any such question is an error; the
whole step on the CPU, without the operations that ask; and, where there is a GPU, under torch's own watch.
"""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from memory_data import MemoryData
from model_fixtures import DECODER, EACH, SMALL
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from data_modules.contract import DataSpec
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.objectives import Objectives
from mpma_lightning.objectives.image_reconstruction import ImageReconstructionOptions
from mpma_lightning.objectives.image_text_matching import ImageTextMatchingOptions
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions
from mpma_lightning.objectives.report_reconstruction import ReportReconstructionOptions
from mpma_lightning.tasks.pretraining import Masking, PretrainingTask

ASKING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal")
CASES: dict[str, tuple[dict[str, Any], Masking]] = {
    "separate, as shipped": ({}, Masking("separate", 0.5, 0.8)),
    "joint": ({}, Masking()),
    "unmasked_align, as BERT masks": ({}, Masking("unmasked_align", report_style="bert")),
    "cross decoder, matching, pairs": (
        {
            "image_reconstruction": ImageReconstructionOptions(**DECODER, kind="cross"),
            "image_text_matching": EACH["image_text_matching"],
            "local_alignment": LocalAlignmentOptions(negatives="pair"),
        },
        Masking(),
    ),
    "separate, attention by itself, all pieces, half of the pairs": (
        {
            "report_reconstruction": ReportReconstructionOptions(loss_on="all"),
            "local_alignment": LocalAlignmentOptions(attention_temperature=0.25),
            "image_text_matching": ImageTextMatchingOptions(weight=1, negatives="half"),
        },
        Masking("separate"),
    ),
}
FIRST, *MORE = CASES


class Waits(AssertionError):
    """A step asked the device, or copied."""


class Watch(TorchDispatchMode):
    """Refuses operations that ask for a value or for a number of true values, and copies between devices."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation.overloadpacket.__name__
        indices = [one for one in args[1] if one is not None] if name in ("index", "index_put", "index_put_") else []
        if name in ASKING or any(one.dtype in (torch.bool, torch.uint8) for one in indices):
            raise Waits(f"{operation} waits for the device")
        found = operation(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_") and isinstance(args[0], Tensor):
            devices = {one.device.type for one in (*args, found) if isinstance(one, Tensor)}
            if len(devices) > 1:
                raise Waits(f"{operation} copies between {devices}")
        return found


def task_of(case: str) -> tuple[PretrainingTask, dict[str, Any]]:
    """A task, and a batch as the data loader gives it to the trainer; the third sample has no further view."""
    changes, masking = CASES[case]
    objectives = Objectives(**{"image_reconstruction": ImageReconstructionOptions(**DECODER), **changes})
    task = PretrainingTask(backbone=SMALL, masking=masking, objectives=objectives)
    texts = ["the heart is large", "the lungs are clear and large", "the heart is clear"]
    tokenizer = Tokenizer.train(texts, 400, 1)
    data = MemoryData(DataSpec("Memory", tokenizer=tokenizer.to_json()))
    task.trainer = SimpleNamespace(datamodule=data, log_every_n_steps=1, global_step=1)  # type: ignore[assignment]
    task.configure_model()
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    columns = zip(*(tokenizer.encode(text, 12) for text in texts), strict=True)
    batch = dict(zip(("input_ids", "attention_mask", "word_ids"), map(torch.tensor, columns), strict=True))
    crops = torch.randint(0, 255, (3, 3, 1, 64, 64), dtype=torch.uint8)
    batch |= {"image": crops[:, 0], "views": crops[:, 1:], "view_kinds": torch.tensor([[1, 0], [2, 1], [0, 0]])}
    return task, batch | {"group": torch.tensor([0, 1, 0]), "seed": torch.arange(3), "id": ["a", "b", "c"]}


def imagined(value: Any) -> Any:
    """A tensor of the same form on a device that is not there; needs ``FakeTensorMode``."""
    if isinstance(value, Tensor):
        return torch.empty_like(value, device="cuda")
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{name: imagined(getattr(value, name)) for name in value.__dataclass_fields__})
    return value


def imagine(module: nn.Module) -> None:
    """Replace the weights of a module."""
    for part in module.modules():
        for name, weight in list(part._parameters.items()):
            part._parameters[name] = None if weight is None else nn.Parameter(imagined(weight), weight.requires_grad)
        for name, buffer in list(part._buffers.items()):
            part._buffers[name] = None if buffer is None else imagined(buffer)


@pytest.mark.parametrize("case", [FIRST, *(pytest.param(case, marks=pytest.mark.full) for case in MORE)])
def test_value_the_forward_pass_asks_no_device(case: str) -> None:
    task, batch = task_of(case)
    batch = task.on_before_batch_transfer(batch, 0)
    with FakeTensorMode(allow_non_fake_inputs=True), sdpa_kernel(SDPBackend.MATH):
        imagine(task)
        batch = {name: imagined(value) for name, value in batch.items()}
        with Watch():
            outcome = task.step(batch, "train")
            total = task._log_step(outcome)
    assert total is None
    assert {value[0].device.type for value in outcome.values() if isinstance(value, tuple)} == {"cuda"}


@pytest.mark.parametrize("case", CASES)
def test_gradient_a_whole_step_asks_for_no_value(case: str) -> None:
    task, batch = task_of(case)
    batch = task.on_before_batch_transfer(batch, 0)
    with Watch():
        task.training_step(batch, 0).backward()
    assert all(weight.grad is not None for weight in task.parameters() if weight.requires_grad)


def test_error_the_watches_see_what_waits() -> None:
    some = torch.tensor([True, False])
    asking: list[Callable[[Tensor], Any]] = [
        lambda x: x[some], lambda x: float(x.sum()), lambda x: bool((x > 0).any()), lambda x: x.unique(),
        lambda x: torch.masked_select(x, some), lambda x: x.index_put((some,), x.new_zeros(()))]  # fmt: skip
    for ask in asking:
        with Watch(), pytest.raises(Waits):
            ask(torch.ones(2))
    with FakeTensorMode(), Watch():
        there = torch.ones(2, device="cuda")
        for copy in (lambda: torch.tensor(1.0, device="cuda"), lambda: there.cpu(), lambda: torch.ones(2).to("cuda")):
            with pytest.raises(Waits):
                copy()
    with FakeTensorMode():
        there = torch.ones(2, device="cuda")
        for ask in (lambda x: x[x > 0], lambda x: float(x.sum())):
            with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
                ask(there)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", CASES)
def test_value_a_step_on_a_gpu_does_not_synchronise(case: str) -> None:
    task, batch = task_of(case)
    task.cuda()
    batch = task.transfer_batch_to_device(task.on_before_batch_transfer(batch, 0), torch.device("cuda"), 0)
    task.training_step(batch, 0).backward()  # what is done once
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        task.training_step(batch, 0).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
