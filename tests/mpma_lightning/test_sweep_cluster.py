"""Submitting a sweep: an array of workers on SLURM, whose programs are replaced by scripts."""

import re
import time
from pathlib import Path

import pytest

from data_modules.errors import UserError
from mpma_lightning.lab.sweeps.cluster import submit
from mpma_lightning.lab.sweeps.plan import read_sweep

submitit = pytest.importorskip("submitit")
ROOT = Path(__file__).parents[2]
SWEEP = f"""
slurm: {{timeout_min: 90, slurm_partition: gpu, cpus_per_task: 4}}
stages: {{fit: {{methods: {{mpma: {ROOT}/experiments/ablations/mpma.yaml}}}}}}
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose `sbatch` keeps the submitted file."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sbatch").write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/submitted.sh\necho Submitted batch job 77\n')
    (programs / "srun").write_text("#!/bin/sh\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep(folder: Path, text: str = SWEEP) -> Path:
    (folder / "grid.yaml").write_text(text)
    return folder / "grid.yaml"


def test_value_array_of_workers(slurm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = submit(read_sweep(sweep(slurm)), ["sweep", "grid.yaml"], workers=3)
    assert ids == ["77_0", "77_1", "77_2"] and "3 jobs: 77_0, 77_1, 77_2" in capsys.readouterr().err
    script = (slurm / "submitted.sh").read_text()
    for option in ("array=0-2", "partition=gpu", "time=90", "cpus-per-task=4", "job-name=sweep-grid"):
        assert re.search(rf"^#SBATCH --{option}", script, re.MULTILINE), option


def test_value_job_is_the_ordinary_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = read_sweep(sweep(tmp_path, SWEEP.replace(", slurm_partition: gpu", "")))
    made.runs = tmp_path / "runs"
    (job,) = submit(made, ["backbones", "mpma_vit_t16"], workers=1, cluster="local")
    deadline = time.monotonic() + 300
    while not list(made.runs.rglob("*_result.pkl")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "stem" in submitit.LocalJob(folder=made.runs / "jobs" / "%j", job_id=job).result()


def test_error_parameter_that_submitit_does_not_know(slurm: Path) -> None:
    with pytest.raises(UserError, match=r"grid.yaml: slurm: .*timeout_mins"):
        submit(read_sweep(sweep(slurm, SWEEP.replace("timeout_min", "timeout_mins"))), ["sweep"], workers=1)
