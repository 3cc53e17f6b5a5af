"""The sweeps of the paper's questions as they are shipped, but for their length: every kind of run, and the report."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from data_modules.phantom import write_phantom

ROOT = Path(__file__).parents[3]
SHORT = {"trainer.max_steps": 2, "trainer.val_check_interval": 2, "data.batch_size": 4}
SMALL = {"data.labels": ["Atelectasis", "Cardiomegaly", "Edema"], "data.val_share": 0.2}
PROBE = {"model.fractions": [1.0], "model.seeds": [0], **SMALL}


def shortened(name: str) -> str:
    """A shipped sweep with one seed and two steps a run. Of a stage that starts from the weights of another one, the
    first method and those with settings of their own: the rest run the same commands.
    """
    sweep = yaml.safe_load((ROOT / "experiments" / "sweeps" / f"{name}.yaml").read_text())
    sweep["seeds"] = [0]
    for stage in sweep["stages"].values():
        stage |= {"seeds": [0]} if "seeds" in stage else {}
        experiment = stage.get("experiment", "")
        probe, labels = "linear_probe" in experiment, "zero_shot" in experiment
        fits = not experiment or ("run" not in stage and not labels and "grounding" not in experiment)
        more = PROBE if probe else SMALL if labels else SHORT if fits else {}
        stage["set"] = {**stage.get("set", {}), **more, "data.num_workers": 0}
        if "after" in stage and "methods" not in stage:
            methods = stage.get("only") or list(sweep["stages"][stage["after"]]["methods"])
            kept = [method for method in methods if method not in stage.get("without", [])]
            stage["only"] = [m for m in kept if m in (kept[0], *stage.get("set_for", {}), "random_init")]
    return yaml.safe_dump({key: value for key, value in sweep.items() if key != "runs"}, sort_keys=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom in the layouts of these sweeps."""
    folder = tmp_path_factory.mktemp("data")
    layouts = "chexpert,pairs,vqa_rad,siim_pneumothorax,ms_cxr"
    write_phantom(folder / "phantom", patients=60, seed=3, size=128, layouts=layouts)
    return folder


@pytest.mark.full
@pytest.mark.parametrize("name", ["ablation", "settle"])
def test_smoke_shipped_sweep(name: str, tmp_path: Path, data: Path) -> None:
    (tmp_path / "data").symlink_to(data)
    sweeps = tmp_path / "experiments" / "sweeps"
    sweeps.mkdir(parents=True)
    for folder in ("ablations", "demo", "parts", "retrieval"):
        (sweeps.parent / folder).symlink_to(ROOT / "experiments" / folder)
    (sweeps / "short.yaml").write_text(shortened(name))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for words in (["sweep", "experiments/sweeps/short.yaml", "--workers", "2"], ["report", "runs/sweeps/short"]):
        command = [sys.executable, "-m", "mpma_lightning", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    report = (tmp_path / "runs" / "sweeps" / "short" / "report.md").read_text()
    assert "missing" not in report and "damaged" not in report
