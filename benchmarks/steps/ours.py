"""The rows of this project, one a process: ``ours.py ROW --batch … ``, spoken to as ``worker.py`` says."""

from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonargparse
import tokenizers
import torch
import worker
import yaml

from data_modules.base import DataModule
from data_modules.contract import DataSpec
from mpma_lightning.tasks.pretraining import PretrainingTask

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
DECODER = {"depth": 4, "width": 768, "heads": 6}  # of MRM
OFF = {"weight": 0.0}
TEXT_384 = {"width": 384, "heads": 6}
MRM = {
    "backbone": {"name": "mpma_vit_b16", "text": TEXT_384, "fusion": {"kind": "pooled"}},
    "objectives": {"image_reconstruction": DECODER, "global_alignment": OFF, "local_alignment": OFF},
}
FULL = {"backbone": {"name": "mpma_vit_b16"}, "objectives": {"image_reconstruction": DECODER}}
TEXTS = {"demo": (2_000, 64), "m3ae": (50_265, 64), "mgca": (28_996, 112)}
"""Word-pieces of the vocabulary, and most tokens of a report; of all other rows 30,000 and 100."""
NARROW = {"backbone": {"name": "mpma_vit_b16", "text": TEXT_384, "fusion": {"heads": 6}}}


def changed(row: dict[str, Any], **objectives: Any) -> dict[str, Any]:
    """``row`` with other options of objectives."""
    own = row["objectives"]
    return row | {"objectives": own | {name: own.get(name, {}) | value for name, value in objectives.items()}}


def shipped(name: str) -> dict[str, Any]:
    """The model of a shipped experiment."""
    return yaml.safe_load((EXPERIMENTS / name).read_text())["model"]["init_args"]


def as_m3ae(row: dict[str, Any]) -> dict[str, Any]:
    """``row`` with the eleven blocks that M3AE's code keeps of CLIP's twelve."""
    own = row["backbone"]
    return row | {"backbone": own | {"image": own["image"] | {"options": {"depth": 11}}}}


def rows() -> dict[str, dict[str, Any]]:
    """The arguments of the task, by name of the row."""
    third = {"kind": "cross", "share": 1 / 3}
    return {
        "mrm-all": changed(MRM, report_reconstruction={"loss_on": "all"}),
        "mrm": MRM,
        "mrm-cross": changed(MRM, image_reconstruction={"kind": "cross", "share": 0.5}),
        "mpma": FULL,
        "mpma-cross": changed(FULL, image_reconstruction=third),
        "mpma-384": FULL | NARROW,
        "mpma-384-cross": changed(FULL | NARROW, image_reconstruction=third),
        "recipe": shipped("pretraining/mpma_vit_b16_mimic_cxr.yaml"),
        "demo": shipped("demo/pretraining.yaml"),
        "m3ae": as_m3ae(shipped("ablations/m3ae_like.yaml")),
        "mgca": shipped("ablations/mgca_like.yaml"),
    }


class Nothing(DataModule):
    """Data that are only described."""

    def __init__(self, pieces: int, **common: Any) -> None:
        super().__init__(**common)
        names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(pieces - 5))]
        vocabulary = {name: place for place, name in enumerate(names)}
        model = tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]")  # type: ignore[call-arg]
        self._spec = DataSpec("benchmark", tokenizer=tokenizers.Tokenizer(model).to_str())


def task_of(model: dict[str, Any], pieces: int, batch: int) -> PretrainingTask:
    """A new task with these arguments, without a trainer's loop."""
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(PretrainingTask, "model")
    task: PretrainingTask = parser.instantiate(parser.parse_object({"model": model})).model
    trainer = SimpleNamespace(
        datamodule=Nothing(pieces, batch_size=batch), log_every_n_steps=50, global_step=1, world_size=1
    )
    task.trainer = trainer  # type: ignore[assignment]
    task.configure_model()
    task.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    return task.train()


def batches(task: PretrainingTask, pieces: int, batch: int, most: int, pad: bool) -> list[dict[str, Any]]:
    """Four batches as the loader gives them: uint8 crops, reports trimmed to the longest, or all padded to ``most``."""
    found = []
    sizes = torch.tensor(worker.lengths(batch, most))
    width = most if pad else -(-int(sizes.max()) // 8) * 8
    place = torch.arange(width).expand(batch, width)
    words = ((place > 0) & (place < sizes.unsqueeze(1) - 1)).long()
    for number in range(4):
        ids = torch.randint(5, pieces, (batch, width)).masked_fill(place >= sizes.unsqueeze(1), 0)
        ids[:, 0] = 2
        one: dict[str, Any] = {
            "image": torch.randint(0, 256, (batch, 1, task.crop_size, task.crop_size), dtype=torch.uint8),
            "input_ids": ids.scatter(1, sizes.unsqueeze(1) - 1, 3),
            "attention_mask": (place < sizes.unsqueeze(1)).long(),
            "word_ids": torch.where(words > 0, place - 1, -1),
            "group": torch.arange(batch),
            "seed": torch.arange(batch) + number * batch,
            "id": [str(i) for i in range(batch)],
        }
        found.append(one)
    return found


def main() -> None:
    given = worker.arguments("row")
    worker.imported(given)
    pieces, most = TEXTS.get(given.row, (30_000, 100))
    task = task_of(rows()[given.row], pieces, given.batch).to(given.device)
    turns = cycle(batches(task, pieces, given.batch, most, pad=given.row == "mrm-all"))

    def loss() -> torch.Tensor:
        batch = task.on_before_batch_transfer(next(turns), 0)
        return task.training_step(task.transfer_batch_to_device(batch, torch.device(given.device), 0), 0)

    groups, _ = task.optim.build(task, given.batch, 1000)
    worker.serve(task, worker.optimised(groups.param_groups), loss, given)


if __name__ == "__main__":
    main()
