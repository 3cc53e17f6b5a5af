"""The sweep of every importer: it names each family once, and asks of each what its weights can do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from foreign_folders import write_foreign

from data_modules.phantom import write_phantom
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones.checkpoint import read_checkpoint
from mpma_lightning.backbones.importers import FAMILIES
from mpma_lightning.lab.sweeps.plan import read_sweep

ROOT = Path(__file__).parents[3]
SWEEP = ROOT / "experiments" / "sweeps" / "importers.yaml"
CNNS = ["mgca_resnet", "gloria", "convirt", "biovil", "biovil_image", "resnet", "torchxrayvision"]
TEXTS = ["There is a large pleural effusion with edema.", "Cardiomegaly.", "No atelectasis, the lungs are clear."]
LABELS = {"data.labels": ["Atelectasis", "Cardiomegaly", "Edema"], "data.val_share": 0.2}
SHORT = {
    "linear": {**LABELS, "model.fractions": [1.0], "model.seeds": [0], "model.probe": {"max_epochs": 3}},
    "zero_shot": LABELS,
    "segmentation": {"trainer.max_steps": 2, "trainer.val_check_interval": 2, "data.batch_size": 4,
                     "model.head_width": 8},
}  # fmt: skip


def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS * 9, 300, 1)


def asked() -> dict[str, dict[str, str]]:
    """The weights of each method, by stage."""
    found: dict[str, dict[str, str]] = {}
    for trial in read_sweep(SWEEP).trials:
        found.setdefault(trial.stage, {})[trial.method] = str(trial.start)
    return found


def test_value_the_plan_of_the_sweep() -> None:
    planned = asked()
    counts = {"linear": 15, "zero_shot": 7, "segmentation": 14}
    assert {stage: len(methods) for stage, methods in planned.items()} == counts
    assert f"{sum(counts.values())} runs" in SWEEP.read_text().splitlines()[0]
    assert planned["segmentation"] == {name: path for name, path in planned["linear"].items() if name != "biovil"}
    assert len({*planned["linear"].values()}) == 15 and all(
        p.startswith("data/weights/") for p in planned["linear"].values()
    )


@pytest.mark.full
def test_value_it_asks_of_every_importer_what_its_weights_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = asked()
    monkeypatch.chdir(tmp_path)
    write_foreign(Path("data/weights"), tokenizer())
    found = {method: read_checkpoint(path).imported for method, path in planned["linear"].items()}
    held = {method: imported for method, imported in found.items() if imported is not None}
    families = {imported.family for imported in held.values()}
    assert families == {family.name for family in FAMILIES} - {"BERT"}, "of which no image encoder comes"
    compares = {method for method, imported in held.items() if {"text", "align_global"} <= {*imported.parts}}
    assert compares == set(planned["zero_shot"])
    assert all("image" in imported.parts for imported in held.values())


@pytest.mark.full
def test_smoke_every_importer_runs_on_the_phantom(tmp_path: Path) -> None:
    write_phantom(tmp_path / "data/phantom", patients=60, seed=3, size=64, layouts="chexpert,siim_pneumothorax")
    write_foreign(tmp_path / "data/weights", tokenizer())
    (tmp_path / "experiments/sweeps").mkdir(parents=True)
    for folder in ("demo", "parts"):
        (tmp_path / "experiments" / folder).symlink_to(ROOT / "experiments" / folder)
    content = yaml.safe_load(SWEEP.read_text())
    for name, settings in SHORT.items():
        stage = content["stages"][name]
        shown = set(content["stages"]["weights"]["methods"]) & set(stage.get("only", CNNS)) - {stage.get("without")}
        stage["set"] = {**stage.get("set", {}), **settings, "data.num_workers": 0}
        stage["set_for"] = {method: {"data.image_size": 64} for method in CNNS if method in shown}
    (tmp_path / "experiments/sweeps/short.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for words in (["sweep", "experiments/sweeps/short.yaml"], ["report", "runs/sweeps/importers"]):
        command = [sys.executable, "-m", "mpma_lightning", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = (tmp_path / "runs/sweeps/importers/report.md").read_text()
    assert "missing" not in report and "damaged" not in report
    assert len([*tmp_path.rglob("results_test.json")]) == 36
