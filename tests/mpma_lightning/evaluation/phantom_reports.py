"""Reports of the phantom without its films."""

import numpy as np

from data_modules.phantom.plan import sample_findings
from data_modules.phantom.reporting import Report, write_report


def phantom_reports(count: int, seed: int) -> list[Report]:
    rng = np.random.default_rng(seed)
    return [write_report(sample_findings(rng, []), ["PA"], bool(rng.integers(2)), rng) for _ in range(count)]


def body(report: Report) -> str:
    return " ".join(report.sections[name] for name in ("findings", "impression") if name in report.sections)
