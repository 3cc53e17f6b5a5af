"""What a check found: findings by severity, as text for a person and as JSON for a machine."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError

Severity = Literal["error", "warning", "info"]
_SHOWN = 5
OFFICIAL = {
    "chexpert": 223_648,
    "chestx_det": 3_578,
    "chexpert_500": 500,
    "chexpert_plus": 223_462,
    "covidx": 30_530,
    "cxr_lt": 377_110,
    "ms_cxr": 1_162,
    "ms_cxr_t": 1_045,
    "nih_chestxray14": 112_120,
    "nih_google": 4_376,
    "openi": 7_470,
    "padchest": 160_861,
    "rexgradient": 273_004,
    "roco": 81_807,
    "rsna_pneumonia": 26_684,
    "siim_pneumothorax": 12_047,
    "slake": 7_033,
    "vindr_cxr": 18_000,
}
"""Samples of the whole set, whatever is left out: the default version, radiology (ROCO) and English (SLAKE)."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault: an ``error`` would stop a run or corrupt a result; ``items`` names every case."""

    severity: Severity
    kind: str
    message: str
    items: list[str]


@dataclass
class CheckResult:
    """Findings about one data set; ``counts`` are what is there, ``against`` is the pre-training store beside it."""

    dataset: str
    root: str
    against: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, severity: Severity, kind: str, message: str, items: Iterable[str] = ()) -> None:
        """``kind`` is a stable key such as ``unreadable image``; ``message`` says how many and what to do."""
        self.findings.append(Finding(severity, kind, message, list(items)))

    def found(self, severity: Severity, kind: str, items: Iterable[str], advice: str) -> None:
        """Add one finding that counts and lists ``items``; none if there are no items."""
        if listed := list(items):
            self.add(severity, kind, f"{len(listed):,} x {kind}: {advice}", listed)

    def left_out(self, reason: str, count: int) -> None:
        """Add that a run does not see ``count`` samples, unless it is 0."""
        if count:
            self.add("info", "left out", f"{count:,} samples left out: {reason}")

    @contextmanager
    def catching(self, kind: str) -> Iterator[None]:
        """A UserError inside ends the block and becomes a finding of severity ``error``."""
        try:
            yield
        except UserError as error:
            self.add("error", kind, str(error))

    @property
    def failed(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)

    def as_text(self) -> str:
        """Counts, then findings, errors first, each with its first few cases."""
        lines = [f"{self.dataset} in {self.root}"]
        lines += [f"  {name}: {count:,}" for name, count in self.counts.items()]
        for severity in ("error", "warning", "info"):
            for finding in (f for f in self.findings if f.severity == severity):
                lines.append(f"{severity:<8} {finding.message}")
                lines += [f"           {item}" for item in finding.items[:_SHOWN]]
                if len(finding.items) > _SHOWN:
                    lines.append(f"           and {len(finding.items) - _SHOWN:,} more (--json FILE lists all)")
        number = {s: sum(f.severity == s for f in self.findings) for s in ("error", "warning")}
        lines.append(f"{number['error']} kinds of errors, {number['warning']} of warnings")
        return "\n".join(lines)

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "failed": self.failed}, indent=1, ensure_ascii=False)


def examine_rows(data: DataModule, result: CheckResult) -> pd.DataFrame:
    """The rows of the data module, with findings about what it drops. UserError where it cannot read."""
    return told_rows(data, data.read_index().reset_index(drop=True), result)


def told_rows(data: DataModule, frame: pd.DataFrame, result: CheckResult) -> pd.DataFrame:
    """``frame``, the rows that ``data`` read, with findings about what was dropped and about their number."""
    for reason, count in sorted(data.dropped.items()):
        result.left_out(reason, count)
    listed, official = len(frame) + sum(data.dropped.values()), OFFICIAL.get(result.dataset)
    if official not in (None, listed):
        result.add("info", "counts", f"{listed:,} samples listed, officially {official:,}")
    return frame
