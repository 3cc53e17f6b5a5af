"""Change between the studies of a patient: findings that grow, shrink, go and come, and the sentences that say so."""

from dataclasses import replace

import numpy as np

from data_modules.phantom.plan import PLANTED, Finding, chance, describe, sample_findings

WORDS, VOLUMES = ("mild", "moderate", "severe"), ("small", "moderate", "large")
GRADES: dict[str, tuple[str, ...]] = {
    "Cardiomegaly": WORDS,
    "Edema": WORDS,
    "Enlarged Cardiomediastinum": ("mild", "marked"),
    "Pleural Effusion": VOLUMES,
    "Pneumothorax": VOLUMES,
    "Consolidation": VOLUMES,
}
"""Sizes of the findings that may grow or shrink, the smallest first."""
_GONE, _NEW = 0.15, 0.3
BETTER = ["The {n} has decreased since the prior study.", "Interval improvement of the {n}."]
SAME = ["The {n} is unchanged since the prior study.", "Stable {n}."]
WORSE = ["The {n} has increased since the prior study.", "Interval worsening of the {n}."]
GONE = ["The {n} seen on the prior study has resolved.", "Interval resolution of the {n}."]
NEW = ["The {n} is new since the prior study.", "New {n} since the prior study."]
NOUNS = {
    "Cardiomegaly": "cardiomegaly",
    "Edema": "pulmonary edema",
    "Enlarged Cardiomediastinum": "widening of the mediastinum",
    "Pleural Effusion": "{side} pleural effusion",
    "Pneumothorax": "{side} pneumothorax",
    "Consolidation": "{side} {zone} lung consolidation",
}


def grade(name: str, size: str | None) -> int:
    """How much there is of a finding that is there: 1 for the smallest size, or without sizes."""
    sizes = GRADES.get(name, ())
    return 1 + sizes.index(size) if size in sizes else 1


def first_findings(rng: np.random.Generator) -> list[Finding]:
    """Findings of a patient's first study, all that may change with a size."""
    return [_sized(finding, rng) for finding in sample_findings(rng, [])]


def later_findings(rng: np.random.Generator, before: list[Finding]) -> list[Finding]:
    """Findings of a study after one with the findings ``before``: of these some are gone, the others have any size."""
    old = {finding.name: finding for finding in before}
    found: dict[str, Finding] = {}
    for name in PLANTED:
        if name in old:
            if rng.random() >= _GONE:
                found[name] = _sized(replace(old[name], size=None) if name in GRADES else old[name], rng)
        elif rng.random() < _NEW * chance(name, found):
            found[name] = _sized(describe(name, rng, found), rng)
    return list(found.values())


def _sized(finding: Finding, rng: np.random.Generator) -> Finding:
    if finding.name not in GRADES or finding.size is not None:
        return finding
    return replace(finding, size=str(rng.choice(GRADES[finding.name])))


def changes(before: list[Finding], now: list[Finding], rng: np.random.Generator) -> dict[str, str]:
    """A sentence about each finding with sizes that is in either study, by its name."""
    old, new = ({finding.name: finding for finding in findings} for findings in (before, now))
    told = {}
    for name in (name for name in PLANTED if name in GRADES and (name in old or name in new)):
        if name not in new:
            wordings = GONE
        elif name not in old:
            wordings = NEW
        else:
            step = grade(name, new[name].size) - grade(name, old[name].size)
            wordings = WORSE if step > 0 else BETTER if step < 0 else SAME
        shown = new.get(name) or old[name]
        noun = NOUNS[name].format(side=shown.side, zone=shown.zone)
        told[name] = wordings[int(rng.integers(len(wordings)))].format(n=noun)
    return told
