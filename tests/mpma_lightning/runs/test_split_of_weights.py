"""Weights that were trained on another drawn split may have seen what a run tests; the run says so."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data_modules.pairs import PairsDataModule
from mpma_lightning.runs.split_of_weights import SplitOfWeights


def written(folder: Path, split: bool) -> Path:
    folder.mkdir()
    lines = ["image,text,a,b" + ",split" * split]
    for row in range(12):
        Image.fromarray(np.full((8, 8), row * 20, np.uint8)).save(folder / f"{row}.png")
        lines.append(f"{row}.png,This is report number {row}.,{row % 2},{row % 3 % 2}" + ",train" * split)
    (folder / "pairs.csv").write_text("\n".join(lines))
    return folder


def said(data: PairsDataModule, weights: Path, caplog: pytest.LogCaptureFixture) -> str:
    data.check_rows(data.rows())
    caplog.clear()
    trainer: Any = SimpleNamespace(datamodule=data)
    task: Any = SimpleNamespace(source=SimpleNamespace(path=weights))
    SplitOfWeights().on_test_start(trainer, task)
    return caplog.text


@pytest.mark.parametrize("split", [False, True])
def test_value_a_line_where_weights_may_have_seen_the_test(
    split: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, weights = written(tmp_path / "mine", split), tmp_path / "last.ckpt"
    fitted = {"root": str(root), "seed": 0, "split_file": None, "label_columns": []}
    section = {"class_path": "data_modules.pairs.PairsDataModule", "init_args": fitted}
    torch.save({"callbacks": {"RunRecord": {"data": section}}}, weights)
    caplog.set_level("INFO")
    assert not said(PairsDataModule(str(root)), weights, caplog), "the same draw"
    told = said(PairsDataModule(str(root), label_columns=["a"], seed=1), weights, caplog)
    if split:
        assert not told, "the table says the split"
    else:
        assert f"{weights} was trained on another one (data.label_columns and data.seed differ)" in told
    other = PairsDataModule(str(written(tmp_path / "other", split)), label_columns=["a"])
    assert not said(other, weights, caplog), "other data"
