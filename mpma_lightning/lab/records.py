"""Result records and sweep plans: the one boundary where files of run folders are read, whatever they hold."""

import json
import math
from pathlib import Path
from typing import Any

from data_modules.errors import UserError
from mpma_lightning.evaluation.metric import Metric, declared

PLANS = "*.sweep.json"
"""Name of the plans in a sweep's folder, which say what belongs into its report."""
_LARGEST = 64 * 2**20
_TEXT, _NUMBER, _NONE = str, (int, float), type(None)
_REQUIRED: dict[str, Any] = {"protocol": _TEXT, "task": _TEXT, "dataset": _TEXT, "metrics": dict}
_OPTIONAL: dict[str, Any] = {
    "seed": (int, list, _NONE),
    "phantom": (bool, _NONE),
    "label_fraction": (*_NUMBER, list, _NONE),
    "split_sizes": (dict, _NONE),
    "declared": dict,
    **dict.fromkeys(("seconds", "samples_per_second", "peak_memory_mib"), _NUMBER),
    **dict.fromkeys(
        ("manifest_hash", "config_sha256", "checkpoint_sha256", "weights_sha256", "commit", "version"), (_TEXT, _NONE)
    ),
}
_PLANNED: dict[str, Any] = dict.fromkeys(("id", "stage", "method", "variant", "command"), _TEXT) | {"commands": list}


def record_name(subcommand: str) -> str:
    """The result record that a command writes into its run folder."""
    return "results.json" if subcommand == "fit" else f"results_{subcommand}.json"


def is_inside(path: Path, folder: Path) -> bool:
    """Whether ``path`` is a regular file in ``folder``, and no link leads it elsewhere."""
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return False


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: it cannot be read, is no whole JSON object, or is nested or large beyond reason.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path}: larger than {_LARGEST >> 20} MiB")
        content = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(content, ensure_ascii=False).encode()  # a lone surrogate cannot be written again
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged, not whole JSON ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: damaged, expected a JSON object, found {type(content).__name__}")
    return content


def read_record(path: Path) -> dict[str, Any]:
    """A result record whose entries are of the kinds that reports and sweeps rely on; ``declared`` holds Metrics.

    Raises:
        UserError: file, entry, what was found.
    """
    record = read_json(path)
    _check(record, _REQUIRED, _OPTIONAL, path)
    for name, value in record["metrics"].items():
        if not _is_number(value):
            raise UserError(f"{path}: damaged, metrics.{name} is {_short(value)}, expected a number")
        record["metrics"][name] = float(value)
    for key in ("seconds", "samples_per_second", "peak_memory_mib", "label_fraction"):
        value = record.get(key)
        if isinstance(value, int | float) and not (_is_number(value) and math.isfinite(value)):
            raise UserError(f"{path}: damaged, {key} is {_short(value)}, expected a finite number")
    if "declared" in record:
        record["declared"] = {name: _metric(name, said, path) for name, said in record["declared"].items()}
    return record


def read_plan(path: Path) -> list[dict[str, Any]]:
    """The trials of a sweep's plan.

    Raises:
        UserError: it is damaged, or a trial lies outside the sweep's folder.
    """
    trials = read_json(path).get("trials")
    if not isinstance(trials, list):
        raise UserError(f"{path}: damaged, found no list of trials")
    for trial in trials:
        if not isinstance(trial, dict):
            raise UserError(f"{path}: damaged, a trial is {_short(trial)}")
        _check(trial, _PLANNED | {"seed": int}, {"config_sha256": list}, path)
        if not all(c and isinstance(c, list) and all(isinstance(w, str) for w in c) for c in trial["commands"]):
            raise UserError(f"{path}: damaged, commands of {trial['id']!r} are no lists of words")
        if ".." in Path(trial["id"]).parts or Path(trial["id"]).is_absolute() or "\0" in trial["id"]:
            raise UserError(f"{path}: trial {trial['id']!r} lies outside {path.parent}")
    return trials


def _check(content: dict[str, Any], required: dict[str, Any], optional: dict[str, Any], path: Path) -> None:
    for key, kind in (required | optional).items():
        if key not in content and key in optional:
            continue
        value = content.get(key)
        whole_number = isinstance(value, bool) and kind not in (bool, (bool, _NONE))
        if key not in content or whole_number or not isinstance(value, kind):
            found = "missing" if key not in content else _short(value)
            raise UserError(f"{path}: damaged, not a whole record: {key} is {found}")


def _metric(name: str, said: Any, path: Path) -> Metric:
    try:
        metric = declared(name, said)
    except TypeError:
        raise UserError(f"{path}: damaged, declared.{name} is {_short(said)}") from None
    right = (
        metric.higher_is_better in (True, False, None)
        and metric.unit in ("share", "loss", "error", "ratio", "rank", "count")
        and isinstance(metric.headline, bool)
        and metric.per_sample in ("mean", "auroc", None)
    )
    if not right:
        raise UserError(f"{path}: damaged, declared.{name} is {_short(said)}")
    return metric


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, dict | list) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:40]}…"
