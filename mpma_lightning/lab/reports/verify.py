"""Runs one trial of a sweep again, in a folder of its own, and compares the figures."""

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

from data_modules.errors import UserError, suggest
from mpma_lightning.lab.reports.rows import Found, Run
from mpma_lightning.lab.sweeps import worker
from mpma_lightning.lab.sweeps.trial import read_row

TOLERANCE = 1e-3
"""Largest difference of a metric that counts as the same."""
_SAME = ("protocol", "config_sha256", "manifest_hash", "checkpoint_sha256", "seed")


def verify(found: Found, cell: str) -> list[str]:
    """Lines that say what is the same and what is not.

    Args:
        found: the runs below the report's folders.
        cell: ``stage/method[/variant]/seed_N``, or a run folder.

    Raises:
        UserError: no such cell, no commands known, the commands fail, or the figures differ by more than TOLERANCE.
    """
    run = _chosen(found, cell)
    again = run.folder.with_name(f"{run.folder.name}.verify")
    shutil.rmtree(again, ignore_errors=True)
    again.mkdir(parents=True)
    for words in run.commands:
        command = [str(again) if word == _folder(words) else word for word in words]
        with (again / "log.txt").open("ab") as log:
            status = subprocess.run([*worker.PROGRAM, *command], stdout=log, stderr=log).returncode
        if status:
            raise UserError(f"verify {cell}: a command failed with status {status}; see {again / 'log.txt'}")
    name = "results.json" if run.commands[-1][0] == "fit" else f"results_{run.commands[-1][0]}.json"
    other = read_row(again / name)
    if other is None:
        raise UserError(f"verify {cell}: {again / name} was not written; see {again / 'log.txt'}")
    return _compare(run, other, again)


def _chosen(found: Found, cell: str) -> Run:
    names = {str(run.folder): run for run in found.runs}
    hits = [run for name, run in names.items() if name == cell.rstrip("/") or name.endswith(f"/{cell.strip('/')}")]
    if len(hits) != 1:
        raise UserError(f"--verify {cell}: found {len(hits)} such runs{suggest(cell, names)}")
    if not hits[0].commands:
        raise UserError(
            f"--verify {cell}: this run belongs to no sweep, so its command is not known; run it again by hand"
        )
    return hits[0]


def _folder(words: list[str]) -> str:
    return words[words.index("--trainer.default_root_dir") + 1]


def _compare(run: Run, other: dict[str, Any], again: Path) -> list[str]:
    lines = [f"{run.folder} run again in {again}"]
    odd = [key for key in _SAME if run.row.get(key) != other.get(key)]
    lines += [f"not the same {key}: {json.dumps(run.row.get(key))} -> {json.dumps(other.get(key))}" for key in odd]
    if run.row.get("commit") != other.get("commit"):
        lines.append(f"the code has changed: {run.row.get('commit')} -> {other.get('commit')}")
    gaps = {
        name: abs(value - other["metrics"].get(name, math.inf))
        for name, value in run.row["metrics"].items()
        if math.isfinite(value) and not name.startswith("lr-")
    }
    far = sorted((name for name, gap in gaps.items() if gap > TOLERANCE), key=lambda name: -gaps[name])
    lines.append(f"{len(gaps) - len(far)} of {len(gaps)} metrics the same within {TOLERANCE:g}; largest difference "
                 f"{max(gaps.values(), default=0.0):.3g}")  # fmt: skip
    lines += [f"{name}: {run.row['metrics'][name]:.6g} -> {other['metrics'].get(name)}" for name in far[:10]]
    if far or odd:
        raise UserError("; ".join(lines))
    return lines
