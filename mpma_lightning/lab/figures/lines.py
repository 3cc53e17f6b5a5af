"""Curves of several runs, and label-efficiency curves of a sweep."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from data_modules.errors import UserError, suggest
from mpma_lightning.evaluation.metric import Metric
from mpma_lightning.figures.canvas import SERIES
from mpma_lightning.figures.curves import label_efficiency, training_curves
from mpma_lightning.lab.events import read_curves
from mpma_lightning.lab.figures.wanted import Drawn, Wanted
from mpma_lightning.lab.records import Record, read_record
from mpma_lightning.lab.reports.names import in_words
from mpma_lightning.lab.reports.runs import NAMES, Run, find_runs

FRACTION = "fraction_"


def curves(wanted: Wanted) -> Drawn:
    """A logged value of each run over its steps; by default the validation loss, else the training loss.

    Raises:
        UserError: a run without logs, without this value, or more runs than there are colours.
    """
    _few(wanted.runs, "runs")
    if twice := [folder for folder in wanted.runs if list(wanted.runs).count(folder) > 1]:
        raise UserError(f"{twice[0]} is given twice")
    known = {folder: read_curves(folder) for folder in wanted.runs}
    if empty := [folder for folder, found in known.items() if not found]:
        raise UserError(f"{empty[0]} holds no TensorBoard events and no metrics.csv; give the folder of a run")
    common = set.intersection(*(set(found) for found in known.values()))
    tag = wanted.metric or next((name for name in ("val/loss", "train/loss") if name in common), None)
    if tag is None or tag not in common:
        asked = f"--metric {tag}: not logged" if tag else "no loss is logged"
        raise UserError(f"{asked} by every one of these runs{suggest(tag or '', common)}")
    names = _short_names(wanted.runs)
    stage, _, metric = tag.partition("/")
    stages = {"val": "validation", "train": "training"}
    measured = f"{stages.get(stage, stage)} {in_words(metric)}".strip()
    told = [f"Runs: {'; '.join(f'{names[folder]} ({_said(folder)})' for folder in wanted.runs)}."]
    series = {names[folder]: found[tag] for folder, found in known.items()}
    return Drawn(training_curves(series, measured), told)


def _short_names(folders: Sequence[Path]) -> dict[Path, str]:
    """The last parts of the paths, as many as tell them apart."""
    parts = {folder: folder.resolve().parts for folder in folders}
    longest = max(map(len, parts.values()))
    shorter = ({folder: "/".join(path[-count:]) for folder, path in parts.items()} for count in range(1, longest))
    whole = {folder: str(folder) for folder in folders}
    return next((names for names in shorter if len(set(names.values())) == len(names)), whole)


def _said(folder: Path) -> str:
    """Protocol and steps of a run, as its record has them."""
    record = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    return f"protocol {read_record(record).protocol}" if record else "not finished"


def efficiency(wanted: Wanted) -> Drawn:
    """The headline metric of each method of a sweep by the share of labels it was trained on.

    Raises:
        UserError: no runs with several shares, or of several protocols.
    """
    found = find_runs([wanted.runs[0]])
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in found.runs:
        if _shares(run.record):
            groups.setdefault((run.record.protocol, run.record.dataset), []).append(run)
    several = {key: runs for key, runs in groups.items() if len({s for r in runs for s in _shares(r.record)}) > 1}
    if not several:
        raise UserError(f"{wanted.runs[0]}: found no runs that differ in their share of labels (data.label_fraction)")
    chosen = {key: runs for key, runs in several.items() if wanted.protocol in (None, key[0])}
    if len(chosen) != 1:
        there = "; ".join(f"{protocol} on {dataset}" for protocol, dataset in several)
        asked = f"--protocol {wanted.protocol}" if wanted.protocol else wanted.runs[0]
        raise UserError(f"{asked}: found {len(chosen)} protocols with label shares, expected one of: {there}")
    (protocol, dataset), runs = chosen.popitem()
    metric = _metric(runs, wanted.metric)
    series: dict[str, dict[float, list[float]]] = {}
    for run in runs:
        for share in _shares(run.record):
            value = run.record.metrics.get(_logged(run.record, share, metric.name))
            if value is not None:
                scaled = 100 * value if metric.unit == "share" else value
                series.setdefault(run.method, {}).setdefault(share, []).append(scaled)
    _few(series, "methods")
    measured = f"{in_words(metric.name)}{' (%)' if metric.unit == 'share' else ''}"
    parts = {"test": "test", "val": "validation"}
    part = ", ".join(sorted({parts[run.record.part] for run in runs}))
    seeds = sorted({run.seed for run in runs})
    told = [f"Sweep {wanted.runs[0].resolve().name}: protocol {protocol}, {dataset}, {part}; last or best checkpoint "
            f"as the sweep chose; seeds {', '.join(map(str, seeds))}."]  # fmt: skip
    return Drawn(label_efficiency(series, measured), told)


def _shares(record: Record) -> list[float]:
    """The shares of labels that a record has metrics of."""
    found = record.label_fraction
    return list(found) if isinstance(found, list) else [] if found is None else [found]


def _logged(record: Record, share: float, name: str) -> str:
    """The name of a metric in a record: of a probe, that of its share."""
    under = f"{FRACTION}{share:g}/" if isinstance(record.label_fraction, list) else ""
    return f"{record.part}/{under}{name}"


def _metric(runs: Iterable[Run], asked: str | None) -> Metric:
    """The metric of this name, by default the first headline that every run has; without the share in its name."""
    declared: dict[str, Metric] = {}
    for run in runs:
        for name, metric in run.record.declared.items():
            bare = name.partition("/")[2] if name.startswith(FRACTION) else name
            declared.setdefault(bare, Metric(bare, metric.higher_is_better, unit=metric.unit, headline=metric.headline))
    if asked is None:
        headlines = [metric for metric in declared.values() if metric.headline and metric.higher_is_better is not None]
        if not headlines:
            raise UserError(f"no headline metric is declared; choose with --metric{suggest('', declared)}")
        return headlines[0]
    if asked not in declared:
        raise UserError(f"--metric {asked}: not measured by these runs{suggest(asked, declared)}")
    return declared[asked]


def _few(items: Sequence[object] | dict, what: str) -> None:
    if len(items) > len(SERIES):
        raise UserError(f"found {len(items)} {what}, expected at most {len(SERIES)}: so many colours tell apart")
