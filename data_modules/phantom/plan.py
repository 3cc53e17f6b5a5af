"""Chooses the findings of a study: which ones, on which side, in which zone, how large."""

from dataclasses import asdict, dataclass

import numpy as np

from data_modules.index.labels import CHEXPERT

LABELS = CHEXPERT  # in the order of mimic-cxr-2.0.0-chexpert.csv
PLANTED = (
    "Cardiomegaly",
    "Enlarged Cardiomediastinum",
    "Pleural Effusion",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Atelectasis",
    "Lung Lesion",
    "Fracture",
    "Support Devices",
)
OPACITIES = ("Consolidation", "Edema", "Atelectasis", "Lung Lesion")  # children of Lung Opacity

_NORMAL = 0.30
_CHANCE = {
    "Cardiomegaly": 0.30,
    "Enlarged Cardiomediastinum": 0.19,
    "Pleural Effusion": 0.26,
    "Pneumothorax": 0.20,
    "Consolidation": 0.28,
    "Edema": 0.12,
    "Atelectasis": 0.22,
    "Lung Lesion": 0.22,
    "Fracture": 0.20,
    "Support Devices": 0.28,
}  # among studies that are not normal, before co-occurrence
_KEPT = 0.45  # chance that a finding of the patient's last study is still there
RIBS = ("second", "third", "fourth", "fifth", "sixth", "seventh")  # 2 to 4 count as upper zone, 5 to 7 as mid
_DEVICES = ("pacemaker", "central line", "endotracheal tube", "enteric tube")


@dataclass(frozen=True)
class Finding:
    """One planted finding. side: left, right, bilateral or None; zone: upper, mid, lower or None."""

    name: str
    side: str | None = None
    zone: str | None = None
    size: str | None = None  # a word; of a lung lesion its diameter in cm
    kind: str | None = None  # the device, nodule or mass, pneumonia, the first broken rib
    count: int = 1

    def row(self) -> dict[str, object]:
        """The finding as plain values."""
        return asdict(self)


def sample_findings(rng: np.random.Generator, before: list[Finding]) -> list[Finding]:
    """Findings of a study, in the fixed order of PLANTED; `before` are those of the patient's previous study."""
    if rng.random() < _NORMAL:
        return []
    kept = {finding.name: finding for finding in before if rng.random() < _KEPT}
    found: dict[str, Finding] = {}
    while not found:
        for name in PLANTED:
            if name in kept:
                found[name] = kept[name]
            elif rng.random() < chance(name, found):
                found[name] = describe(name, rng, found)
    return list(found.values())


def presence(findings: list[Finding]) -> dict[str, int]:
    """The 14 exact labels of a study: what was planted, with Lung Opacity as the parent of its kinds."""
    names = {finding.name for finding in findings}
    truth = {label: int(label in names) for label in LABELS}
    truth["Lung Opacity"] = int(bool(names & set(OPACITIES)))
    truth["Pneumonia"] = int(any(finding.kind == "pneumonia" for finding in findings))
    truth["No Finding"] = int(not names - {"Support Devices"})
    return truth


def chance(name: str, found: dict[str, Finding]) -> float:
    """Chance of a finding in a study that is not normal, beside those already ``found``."""
    chance = _CHANCE[name]
    if name == "Edema" and "Cardiomegaly" in found:
        chance += 0.25
    if name == "Pleural Effusion" and "Cardiomegaly" in found:
        chance += 0.12
    if name == "Fracture" and "Pneumothorax" in found:
        chance += 0.15
    if name == "Consolidation" and "Pneumothorax" in found:
        chance -= 0.12
    return chance


def describe(name: str, rng: np.random.Generator, found: dict[str, Finding]) -> Finding:
    """A finding of that name: side, zone, size and kind, as they go with those already ``found``."""
    side = str(rng.choice(["left", "right"]))
    fluid = found.get("Pleural Effusion")
    wet = fluid.side if fluid else None
    dry = {"left": "right", "right": "left"}.get(wet or "", side)
    if name in ("Cardiomegaly", "Edema"):
        return Finding(name, "bilateral" if name == "Edema" else None, None, _pick(rng, "mild", "moderate", "severe"))
    if name == "Enlarged Cardiomediastinum":
        return Finding(name, None, "upper", _pick(rng, "mild", "marked"))
    if name == "Pleural Effusion":
        side = "bilateral" if rng.random() < 0.25 else side
        return Finding(name, side, "lower", _pick(rng, "small", "moderate", "large"))
    if name == "Pneumothorax":
        return Finding(name, dry, "upper", _pick(rng, "small", "moderate", "large"))
    if name == "Consolidation":
        kind = "pneumonia" if rng.random() < 0.5 else None
        zone = _pick(rng, "upper", "mid", *([] if wet == "bilateral" else ["lower"]))
        return Finding(name, dry if zone == "lower" else side, zone, None, kind)
    if name == "Atelectasis":
        side = side if wet is None and rng.random() < 0.65 else dry if wet in ("left", "right") else "bilateral"
        return Finding(name, side, "lower", None)
    if name == "Lung Lesion":
        kind = _pick(rng, "nodule", "nodule", "mass")
        diameter = rng.uniform(2.3, 3.2) if kind == "nodule" else rng.uniform(3.3, 4.7)
        return Finding(name, side, _pick(rng, "upper", "mid"), f"{diameter:.1f}", kind)
    if name == "Fracture":
        first = int(rng.integers(len(RIBS)))
        count = int(rng.choice([1, 2, 3], p=[0.2, 0.4, 0.4]))
        return Finding(name, side, "upper" if first < 3 else "mid", None, RIBS[first], count)
    kind = str(rng.choice(_DEVICES, p=[0.4, 0.25, 0.2, 0.15]))
    usual = {"pacemaker": ["left", "right"], "central line": ["right", "left"]}.get(kind)
    return Finding(name, usual[int(rng.random() < 0.25)] if usual else None, None, None, kind)


def _pick(rng: np.random.Generator, *options: str) -> str:
    return str(rng.choice(options))
