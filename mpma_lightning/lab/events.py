"""The curves of a run, out of its TensorBoard events and the tables of a CSVLogger."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd

POINTS = 200
Curve = list[tuple[int, float]]


def read_curves(run: Path) -> dict[str, Curve]:
    """Scalars by tag: (step, value), at most about POINTS of each; empty where no logs can be read."""
    curves = {}
    for tag, points in (*_tables(run), *_events(run)):
        every = max(1, -(-len(points) // POINTS))
        curves[tag] = points[::every] + ([points[-1]] if (len(points) - 1) % every else [])
    return curves


def _events(run: Path) -> Iterator[tuple[str, Curve]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not any(run.glob("events.out.tfevents*")):
        return
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 1, "tensors": 1})
    with suppress(Exception):  # the library's readers raise what they like on damaged files
        events.Reload()
        for tag in events.Tags()["scalars"]:
            yield tag, [(event.step, event.value) for event in events.Scalars(tag)]


def _tables(run: Path) -> Iterator[tuple[str, Curve]]:
    """Of ``metrics.csv``, or ``NAME/VERSION/metrics.csv``, the newest where there are several."""
    files = sorted((*run.glob("metrics.csv"), *run.glob("*/*/metrics.csv")), key=lambda path: path.stat().st_mtime)
    for path in files[-1:]:
        with suppress(OSError, ValueError):  # cut short by a kill, or no such table
            table = pd.read_csv(path, on_bad_lines="skip").apply(pd.to_numeric, errors="coerce")
            for tag in table.columns.difference(["step", "epoch"]) if "step" in table else ():
                known = table[["step", tag]].dropna().sort_values("step", kind="stable")
                if len(known):
                    steps, values = known["step"].astype(int).tolist(), known[tag].astype(float).tolist()
                    yield str(tag), list(zip(steps, values, strict=True))
