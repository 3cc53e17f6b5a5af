"""Runs one trial of a sweep again, in a folder of its own, and compares the metrics."""

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from data_modules.errors import UserError, suggest
from mpma_lightning.lab.program import LOG, start
from mpma_lightning.lab.records import Record, read_record, record_name
from mpma_lightning.lab.reports.runs import Found, Run

TOLERANCE = 1e-3
"""Largest difference of a metric that counts as the same."""
_FOLDER = "--trainer.default_root_dir"
_SAME = ("protocol", "config_sha256", "manifest_hash", "checkpoint_sha256", "seed")


def verify(found: Found, cell: str) -> list[str]:
    """Lines that say what is the same and what is not.

    Args:
        found: the runs below the report's folders.
        cell: ``stage/method[/variant]/seed_N``, or a run folder.

    Raises:
        UserError: no such cell, no commands known, the commands fail, or the metrics differ by more than TOLERANCE.
    """
    run = _chosen(found, cell)
    again = run.folder.with_name(f"{run.folder.name}.verify")
    shutil.rmtree(again, ignore_errors=True)
    again.mkdir(parents=True)
    for words in run.commands:
        command = [str(again) if word == _folder(words) else word for word in words]
        if status := start(command, again / LOG, os.environ, Path()).wait():
            raise UserError(f"verify {cell}: a command failed with status {status}; see {again / LOG}")
    return _compare(run, read_record(again / record_name(run.commands[-1][0])), again)


def _chosen(found: Found, cell: str) -> Run:
    names = {str(run.folder): run for run in found.runs}
    hits = [run for name, run in names.items() if name == cell.rstrip("/") or name.endswith(f"/{cell.strip('/')}")]
    if len(hits) != 1:
        raise UserError(f"--verify {cell}: found {len(hits)} such runs{suggest(cell, names)}")
    if not hits[0].commands:
        raise UserError(
            f"--verify {cell}: this run belongs to no sweep, so its command is not known; run it again by hand"
        )
    if not all(_folder(words) for words in hits[0].commands):
        raise UserError(f"--verify {cell}: a command of the plan names no {_FOLDER}")
    return hits[0]


def _folder(words: list[str]) -> str | None:
    return words[words.index(_FOLDER) + 1] if _FOLDER in words[:-1] else None


def _compare(run: Run, other: Record, again: Path) -> list[str]:
    lines = [f"{run.folder} run again in {again}"]
    old, new = vars(run.record), vars(other)
    odd = [key for key in _SAME if old[key] != new[key]]
    lines += [f"not the same {key}: {json.dumps(old[key])} -> {json.dumps(new[key])}" for key in odd]
    if run.record.commit != other.commit:
        lines.append(f"the code has changed: {run.record.commit} -> {other.commit}")
    values = pd.DataFrame({"old": run.record.metrics, "new": other.metrics})
    values = values[np.isfinite(values["old"]) & ~values.index.str.startswith("lr-")]
    gaps = (values["new"] - values["old"]).abs().fillna(math.inf)
    far = gaps[gaps > TOLERANCE].sort_values(ascending=False, kind="stable")
    lines.append(f"{len(gaps) - len(far)} of {len(gaps)} metrics the same within {TOLERANCE:g}; largest difference "
                 f"{gaps.max() if len(gaps) else 0:.3g}")  # fmt: skip
    lines += [f"{name}: {values.at[name, 'old']:.6g} -> {values.at[name, 'new']:.6g}" for name in far.index[:10]]
    if len(far) or odd:
        raise UserError("; ".join(lines))
    return lines
