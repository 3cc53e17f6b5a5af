"""Result records and samples of runs that never ran, for the tests of reports."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mpma_lightning.evaluation.metric import Metric
from mpma_lightning.lab.reports.runs import find_runs
from mpma_lightning.lab.reports.tables import Table, make_tables

AUROC = Metric("auroc", unit="share", headline=True, per_sample="auroc")
LOSS = Metric("loss", higher_is_better=False, unit="loss")


def row(seed: int = 0, auroc: float = 0.9, **more: Any) -> dict[str, Any]:
    metrics = {"test/auroc": auroc, "test/auroc_low": auroc - 0.02, "test/auroc_high": auroc + 0.02, "test/loss": 1.0}
    return {
        "protocol": "cls-finetune-mrm",
        "task": "ClassificationTask",
        "dataset": "CheXpertDataModule",
        "phantom": True,
        "manifest_hash": "m",
        "split_sizes": {"test": 500},
        "label_fraction": 1.0,
        "seed": seed,
        "config_sha256": "c",
        "seconds": 90,
        "samples_per_second": 10,
        "peak_memory_mib": 300,
        "metrics": metrics,
        "declared": declare(AUROC, LOSS),
        **more,
    }


def declare(*metrics: Metric) -> dict[str, Any]:
    return {metric.name: metric.declaration() for metric in metrics}


def write_run(folder: Path, content: dict[str, Any], name: str = "results_test.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


def planned(top: Path, method: str, seed: int, **more: Any) -> dict[str, Any]:
    name = f"probe/{method}/seed_{seed}"
    words = ["--trainer.default_root_dir", str(top / name), "--data.seed", str(seed)]
    commands = [["fit", *words], ["test", *words, "--ckpt_path", "last"]]
    command = f"python -m mpma_lightning fit … {name}"
    place = {"id": name, "stage": "probe", "method": method, "variant": "", "seed": seed}
    return {**place, "folder": str(top / name), "after": None, "commands": commands, "command": command, **more}


def samples(strength: float, seed: int, count: int = 300) -> pd.DataFrame:
    """Of one class, more separable with more ``strength``; ids and labels are the same for every seed."""
    label = np.random.default_rng(7).integers(0, 2, count).astype(float)
    noise = np.random.default_rng(seed + 100).normal(size=count)
    columns = {"id": [f"{i:04d}" for i in range(count)], "patient": [f"p{i // 2}" for i in range(count)]}
    table = pd.DataFrame({**columns, "label/Edema": label, "auroc@Edema": strength * label + noise})
    return table.sample(frac=1, random_state=seed)


def only_table(top: Path) -> Table:
    (table,) = make_tables(find_runs([top]))
    return table


def cell(table: Table, method: str, metric: str) -> pd.Series:
    """One cell of a table."""
    return table.cells.loc[(method, metric)]


def seeds_of(table: Table, method: str, metric: str) -> dict[int, float]:
    """Values by seed."""
    rows = table.values[(table.values["method"] == method) & (table.values["metric"] == metric)]
    return dict(zip(rows["seed"], rows["value"], strict=True))
