"""A regression task of one's own through the command line, on a table of images with a number each."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mpma_lightning.cli.main import main

MODEL = "{class_path: own_task.AgeTask, init_args: {backbone: mpma_vit_t16}}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve images; ages of 30, 40 and 50 to train on, 44 and blank to test."""
    draw, rows = np.random.default_rng(0), []
    for n in range(12):
        Image.fromarray(draw.integers(0, 255, (40, 40), np.uint8)).save(tmp_path / f"{n}.png")
        split = "train" if n < 6 else "val" if n < 9 else "test"
        age = {"train": [30, 40, 50][n % 3], "val": 40, "test": 44 if n % 2 else None}[split]
        rows.append({"image": f"{n}.png", "split": split, "age": age, "sick": n % 2})
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def words(root: Path, target: str) -> list[str]:
    data = f"{{class_path: PairsDataModule, init_args: {{root: {root}, {target}}}}}"
    config = root / "age.yaml"
    config.write_text(f"model: {MODEL}\ndata: {data}\n")
    quick = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--data.num_workers", "0"]
    quick += ["--data.batch_size", "2", "--data.image_size", "32", "--model.backbone.image.options", "{depth: 1}"]
    return ["--config", str(config), "--trust", "--trainer.default_root_dir", str(root / "run"), *quick]


def test_value_a_number_is_learned_scored_and_predicted(root: Path) -> None:
    given = words(root, "target_column: age")
    still = ["--model.optim.lr", "1e-12", "--trainer.max_steps", "2", "--trainer.val_check_interval", "1"]
    assert main(["fit", *given, *still]) == 0
    assert main(["test", *given, "--ckpt_path", "best"]) == 0
    record = json.loads((root / "run" / "results_test.json").read_text())
    assert record["declared"]["age_error"]["unit"] == "error" and record["protocol"] == "age"
    assert main(["predict", *given, "--ckpt_path", "best"]) == 0
    found = pq.read_table(next((root / "run").glob("*.parquet"))).to_pydict()
    assert sorted(found["id"]) == ["10.png", "11.png", "9.png"]
    known = [age for name, age in zip(found["id"], found["age"], strict=True) if name != "10.png"]
    assert record["metrics"]["test/age_error"] == pytest.approx(np.mean(np.abs(np.array(known) - 44)), abs=1e-3)
    assert all(abs(age - 40) < 5 for age in found["age"]), "the head starts at the mean of the training samples"


def test_error_data_without_a_target(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *words(root, "label_columns: [sick]"), "--trainer.max_steps", "1"]) == 1
    assert "PairsDataModule has no targets; choose a data set with targets" in capsys.readouterr().err
