"""The curves of a run, out of its TensorBoard events."""

from pathlib import Path

POINTS = 200
Curve = list[tuple[int, float]]


def read_curves(run: Path) -> dict[str, Curve]:
    """Scalars by tag: (step, value), at most about POINTS of each; empty where no events can be read."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not any(run.glob("events.out.tfevents*")):
        return {}
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 1, "tensors": 1})
    try:
        events.Reload()
    except Exception:  # the library's readers raise what they like on damaged files
        return {}
    curves = {}
    for tag in events.Tags()["scalars"]:
        points = [(event.step, event.value) for event in events.Scalars(tag)]
        every = max(1, -(-len(points) // POINTS))
        curves[tag] = points[::every] + ([points[-1]] if (len(points) - 1) % every else [])
    return curves
