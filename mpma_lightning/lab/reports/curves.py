"""The curves of a run, out of its TensorBoard events, as SVG."""

import html
from collections.abc import Mapping
from pathlib import Path

POINTS, WIDTH, HEIGHT = 200, 320, 150
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22")
Curve = list[tuple[int, float]]


def read_curves(run: Path) -> dict[str, Curve]:
    """Scalars by tag: (step, value) at most POINTS of each; empty where there are no events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not any(run.glob("events.out.tfevents*")):
        return {}
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 1, "tensors": 1})
    events.Reload()
    curves = {}
    for tag in events.Tags()["scalars"]:
        points = [(event.step, event.value) for event in events.Scalars(tag)]
        every = max(1, -(-len(points) // POINTS))
        curves[tag] = points[::every] + ([points[-1]] if (len(points) - 1) % every else [])
    return curves


def chart(title: str, lines: Mapping[str, tuple[str, Curve]]) -> str:
    """An SVG with a line (a dot where it has one point) for each entry of ``lines``: name to (colour, points)."""
    points = [point for _, curve in lines.values() for point in curve if point[1] == point[1]]
    if not points:
        return ""
    steps, values = [p[0] for p in points], [p[1] for p in points]
    left, right, low, high = min(steps), max(steps), min(values), max(values)

    def place(step: int, value: float) -> tuple[float, float]:
        x = 8 + (WIDTH - 16) * (step - left) / max(right - left, 1)
        return x, HEIGHT - 18 - (HEIGHT - 40) * (value - low) / ((high - low) or 1)

    drawn = []
    for name, (colour, curve) in lines.items():
        spots = [place(*point) for point in curve if point[1] == point[1]]
        tip = f"<title>{html.escape(name)}</title>"
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        if len(spots) > 1:
            drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5">{tip}</polyline>')
        else:
            drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}">{tip}</circle>' for x, y in spots]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{html.escape(title)}">'
        f'<text x="8" y="13" font-weight="bold">{html.escape(title)}</text>'
        f'<text x="{WIDTH - 8}" y="13" text-anchor="end">{low:.3g} … {high:.3g}</text>'
        f'<text x="8" y="{HEIGHT - 4}">step {left}</text>'
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 4}" text-anchor="end">{right}</text>{"".join(drawn)}</svg>'
    )
