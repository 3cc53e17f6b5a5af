"""What a run says when it ends: its headline metrics, where its results are, and what to do next."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpma_lightning.evaluation.metric import Metric

MOST = 8
"""Metrics that are shown unless all are asked for."""
_ARROW = {True: "↑", False: "↓", None: " "}
COMPANIONS = ("_low", "_high", "_sd")
"""Ends of the names of an interval and of a standard deviation, which are shown beside their metric."""


def headlines(metrics: Mapping[str, float], declared: Mapping[str, Metric], every: bool = False) -> list[str]:
    """A line for each headline metric, at most :data:`MOST`: its value at three digits, its interval, its baseline.

    Of metrics that differ in their last number alone, such as recall at 1, 5 and 10, the last comes first. Where there
    are fewer headlines, other metrics with a baseline follow.

    Args:
        metrics: values by name, without the stage.
        declared: what they mean.
        every: all metrics, in the order of their names.
    """
    if every:
        names = sorted(name for name in metrics if not _is_companion(name, metrics))
    else:
        names = _chosen({name: metric for name, metric in declared.items() if name in metrics})
    width = max(map(len, names), default=0)
    return [_line(name, width, metrics, declared.get(name)).rstrip() for name in names]


def _chosen(found: Mapping[str, Metric]) -> list[str]:
    named = {metric.baseline for metric in found.values() if metric.headline}
    own = [name for name in found if name not in named and name.partition("/")[0] not in named]
    last = {re.sub(r"\d+$", "", name): name for name in own}
    headline = [name for name in own if found[name].headline]
    first = [name for name in headline if name in last.values()]
    rest = [name for name in headline if name not in first]
    more = [name for name in last.values() if name not in headline and found[name].baseline is not None]
    kept = [*first, *rest, *more][:MOST]
    return [name for name in own if name in kept]


def _line(name: str, width: int, metrics: Mapping[str, float], metric: Metric | None) -> str:
    arrow = _ARROW[metric.higher_is_better if metric else None]
    ends = [metrics.get(f"{name}{end}") for end in ("_low", "_high")]
    interval = f"[{digits(ends[0])}, {digits(ends[1])}]" if None not in ends else ""  # type: ignore[arg-type]
    if (spread := metrics.get(f"{name}_sd")) is not None:
        interval = f"± {digits(spread)}"
    return f"  {arrow} {name:<{width}}  {digits(metrics[name]):>7}  {interval:<16}  {_against(name, metrics, metric)}"


def _against(name: str, metrics: Mapping[str, float], metric: Metric | None) -> str:
    """The baseline, with its name; of a part of the metric, or of its setting, where there is one."""
    baseline = metric.baseline if metric else None
    if baseline is None:
        return ""
    if not isinstance(baseline, str):
        return f"baseline {digits(baseline) if baseline else 0}"
    before, after = name.rpartition("/")[0], name.partition("/")[2]
    for known in (f"{baseline}/{after}", f"{before}/{baseline}", baseline):
        if known in metrics:
            return f"{known} {digits(metrics[known])}"
    return ""


def digits(value: float) -> str:
    """``value`` with three digits: 0.500, 5.36, 12,345."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _is_companion(name: str, names: Mapping[str, float]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in names for end in COMPANIONS)


def ending(folder: Path, results: str, next_command: str, draws: bool = True) -> Iterator[str]:
    """The last lines: ``results``, ``pictures`` where there are any, and ``next``.

    Args:
        folder: the run folder.
        results: name of the file or folder with the results.
        next_command: a line for a shell.
        draws: whether the command draws pictures.
    """
    yield f"results:  {folder / results}"
    if draws and (count := len([*(folder / "pictures").glob("*.png")])):
        yield f"pictures: {folder / 'pictures'} ({count})"
    yield f"next:     {next_command}"


def title(command: str, record: Mapping[str, Any]) -> str:
    """``test of CheXpertDataModule, 766 test samples, weights: runs/a/checkpoints/last.ckpt``."""
    split = {"fit": "val", "validate": "val"}.get(command, "test")
    size = None if command == "predict" else record["split_sizes"].get(split)  # it says how many it has written
    what = f"{record['dataset']}, {size:,} {'test' if split == 'test' else 'validation'} samples" if size else ""
    said = f"{command} of {what or record['dataset']}"
    if command == "fit":
        return f"{said}, after {record['steps']:,} steps"
    return f"{said}, weights: {record['weights'] or record['checkpoint']}"
