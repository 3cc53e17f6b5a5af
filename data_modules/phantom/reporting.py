"""Writes the radiologist's report of a study and the 14 labels that follow from what it mentions."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from data_modules.phantom import phrases
from data_modules.phantom.plan import LABELS, OPACITIES, Finding

_DOUBT, _SILENT, _FALSE_DOUBT = 0.08, 0.02, 0.03


@dataclass
class Report:
    """The text of a report file, its sections, and the labels of its mentions: 1, 0, -1; not mentioned = absent."""

    text: str
    sections: dict[str, str]
    labels: dict[str, int]


@dataclass
class _Prose:
    """Sentences being collected, with the strongest mention of each label (positive, then doubtful, then negated)."""

    rng: np.random.Generator
    sentences: list[str] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def say(self, sentence: str, **mentions: int) -> None:
        self.sentences.append(sentence)
        for label, value in mentions.items():
            label = label.replace("_", " ")
            old = self.labels.get(label)
            if old is None or (1, -1, 0).index(value) < (1, -1, 0).index(old):
                self.labels[label] = value

    def pick(self, options: list[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)


def write_report(
    findings: list[Finding],
    views: list[str],
    female: bool,
    rng: np.random.Generator,
    changes: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """The report of a study; every report has FINDINGS, an IMPRESSION, or both.

    ``changes`` are sentences by finding that end its FINDINGS, or else its IMPRESSION.
    """
    present = {finding.name for finding in findings}  # never negated, even if left out
    told = [finding for finding in findings if rng.random() >= _SILENT]
    doubt = {finding.name for finding in told if rng.random() < _DOUBT}
    shape = rng.choice(["both", "impression", "findings"], p=[0.62, 0.22, 0.16])
    sections: dict[str, str] = {}
    labels: dict[str, int] = {}
    if shape != "impression":
        prose = _Prose(rng)
        _findings(prose, told, doubt, present, views)
        sections["findings"] = " ".join(prose.sentences)
        labels = prose.labels
    if shape != "findings":
        prose = _Prose(rng, labels=labels)
        _impression(prose, told, doubt, present, alone=shape == "impression")
        sections["impression"] = " ".join(prose.sentences)
    if changes:
        first = next(iter(sections))
        sections[first] = " ".join([sections[first], *changes.values()])
        for name in changes:
            labels.setdefault(name, int(name in present))
    if not any(value for label, value in labels.items() if label not in ("Support Devices", "No Finding")):
        labels["No Finding"] = 1
    return Report(_layout(sections, views, female, rng), sections, {k: labels[k] for k in LABELS if k in labels})


def phrase(finding: Finding) -> str:
    """The plain name of a finding with its size, side and zone, for the truth file."""
    kind = finding.kind if finding.name in ("Support Devices", "Lung Lesion") else finding.name.lower()
    size = f"{finding.size} cm" if finding.name == "Lung Lesion" else finding.size
    place = f"{finding.zone} lung" if finding.zone and finding.name in ("Consolidation", "Lung Lesion") else None
    if finding.name == "Fracture":
        kind = "rib fractures" if finding.count > 1 else f"{finding.kind} rib fracture"
    return " ".join(word for word in (size, finding.side, place, kind) if word)


def _findings(prose: _Prose, told: list[Finding], doubt: set[str], present: set[str], views: list[str]) -> None:
    if prose.chance(0.15):
        prose.say(
            prose.pick(
                ["AP portable chest radiograph was obtained."]
                if "AP" in views
                else ["PA and lateral views of the chest were provided."]
                if "LATERAL" in views
                else ["A single frontal view of the chest was obtained."]
            )
        )
    blocks = [lambda f=finding: _positive(prose, f, f.name in doubt) for finding in told]
    if prose.chance(0.5):  # real reports describe devices first or last, the rest in any order
        blocks = [blocks[i] for i in prose.rng.permutation(len(blocks))]
    for block in blocks:
        block()
    _absent(prose, present, 0.9)
    for _ in range(int(prose.rng.choice([0, 1, 2], p=[0.5, 0.4, 0.1]))):
        distractor = prose.pick(phrases.DISTRACTORS)
        if not ("osseous" in distractor and "Fracture" in present) and distractor not in prose.sentences:
            prose.sentences.insert(int(prose.rng.integers(len(prose.sentences) + 1)), distractor)


def _impression(prose: _Prose, told: list[Finding], doubt: set[str], present: set[str], alone: bool) -> None:
    names = {finding.name for finding in told}
    for finding in told:
        if alone and prose.chance(0.5):
            _positive(prose, finding, finding.name in doubt)
        else:
            _positive(prose, finding, finding.name in doubt, terse=True)
    if not names:
        prose.say(prose.pick(phrases.NORMAL))
        if alone and prose.chance(0.5):
            _absent(prose, present, 0.5)
    elif alone:
        _absent(prose, present, 0.35)
    elif names == {"Support Devices"} or prose.chance(0.1):
        prose.say("No other acute cardiopulmonary process.")


def _positive(prose: _Prose, finding: Finding, doubtful: bool, terse: bool = False) -> None:
    name = finding.name
    if name == "Consolidation" and prose.chance(0.15):
        name = "Lung Opacity"
    key = _key(name, finding, phrases.NOUNS)
    value = -1 if doubtful and name != "Support Devices" else 1
    fields = _fields(prose, finding)
    whole = phrases.SENTENCES.get(_key(name, finding, phrases.SENTENCES), [])
    usable = (
        value == 1 and not terse and whole and not (finding.side == "bilateral" and any("{side}" in s for s in whole))
    )
    if usable and prose.chance(0.35):
        sentence = prose.pick(whole).format(**fields)
    else:
        noun, _, plural = prose.pick(phrases.NOUNS[key]).format(**fields).partition("|")
        frames = phrases.DOUBTFUL if value == -1 else ["{N}."] if terse else phrases.PRESENT
        uncountable = name in ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis") or noun.split()[1:2] in (
            ["widening"],
            ["enlargement"],
        )
        a = noun if plural or uncountable else _article(noun)
        sentence = prose.pick(frames).format(a=a, A=_capital(a), n=noun, N=_capital(noun))
        if plural:
            sentence = sentence.replace("There is ", "There are ").replace(" is ", " are ")
    prose.say(_tidy(sentence), **{name.replace(" ", "_"): value})
    if finding.kind == "pneumonia" and prose.chance(0.6):
        sure = value == 1 and prose.chance(0.5)
        prose.say(prose.pick(phrases.PNEUMONIA[1 if sure else -1]), Pneumonia=1 if sure else -1)


def _absent(prose: _Prose, names: set[str], thorough: float) -> None:
    """Sentences about absent findings: about some of them only, often several in one sentence."""
    said: list[tuple[str, dict[str, int]]] = []
    free = [name for name in phrases.ABSENT if name not in names]
    if not names & set(OPACITIES) and "Pleural Effusion" not in names and prose.chance(0.5 * thorough):
        said.append((prose.pick(phrases.CLEAR), {}))
    joint = {
        "both pleural": ("Pleural_Effusion", "Pneumothorax"),
        "both silhouettes": ("Cardiomegaly", "Enlarged_Cardiomediastinum"),
    }
    used: set[str] = set()
    for key, pair in joint.items():
        plain = {label.replace("_", " ") for label in pair}
        if not plain & names and prose.chance(0.6):
            used |= plain
            if prose.chance(thorough):
                said.append((prose.pick(phrases.ABSENT[key]), dict.fromkeys(pair, 0)))
    often = {
        "Pleural Effusion": 0.9,
        "Pneumothorax": 0.9,
        "Cardiomegaly": 0.8,
        "Enlarged Cardiomediastinum": 0.5,
        "Consolidation": 0.7,
        "Edema": 0.4,
        "Fracture": 0.2,
        "Lung Lesion": 0.15,
        "Pneumonia": 0.15,
    }
    for name, weight in often.items():
        if name not in free or name in used or (name == "Pneumonia" and "Consolidation" in names):
            continue
        if name == "Pleural Effusion" and prose.chance(_FALSE_DOUBT):
            said.append(("A trace pleural effusion cannot be excluded.", {"Pleural_Effusion": -1}))
        elif prose.chance(thorough * weight):
            said.append((prose.pick(phrases.ABSENT[name]), {name.replace(" ", "_"): 0}))
    for i in prose.rng.permutation(len(said)):
        prose.say(said[i][0], **said[i][1])


def _key(name: str, finding: Finding, table: dict[str, list[str]]) -> str:
    many = "bilateral" if finding.side == "bilateral" else "many" if finding.count > 1 else finding.kind
    return f"{name} {many}" if f"{name} {many}" in table else name


def _fields(prose: _Prose, finding: Finding) -> dict[str, str]:
    size = finding.size or ""
    return {
        "side": finding.side or "",
        "zone": finding.zone or "",
        "size": prose.pick(phrases.SIZES.get(size, [size])),
        "rib": finding.kind or "",
        "size_ly": phrases.ADVERBS.get(size, ""),
    }


def _article(noun: str) -> str:
    return ("an " if noun[0].lower() in "aeiou" or noun.startswith("8") else "a ") + noun


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _tidy(sentence: str) -> str:
    return " ".join(sentence.split())


def _layout(sections: dict[str, str], views: list[str], female: bool, rng: np.random.Generator) -> str:
    """The file: every line indented by one space, headers after a newline and exactly one space."""

    def choose(options: list[str]) -> str:
        return options[int(rng.integers(len(options)))]

    person = {"person": "woman" if female else "man", "gender": "F" if female else "M"}
    examination = "PORTABLE AP" if "AP" in views else "PA AND LAT" if "LATERAL" in views else "PA"
    parts = []
    if rng.random() < 0.8:
        parts.append(("EXAMINATION", f"CHEST ({examination})"))
    parts.append(("INDICATION", choose(phrases.INDICATIONS).format(**person)))
    if rng.random() < 0.4:
        parts.append(("TECHNIQUE", "Single frontal view of the chest." if len(views) == 1 else "Chest PA and lateral."))
    if rng.random() < 0.7:
        parts.append(("COMPARISON", choose(phrases.COMPARISONS)))
    parts += [(name.upper(), sections[name]) for name in ("findings", "impression") if name in sections]
    lines = [" " * 33 + "FINAL REPORT"]
    for header, body in parts:
        if header in ("FINDINGS", "IMPRESSION"):
            lines += [f" {header}: ", " "]
            lines += [" " + line for line in textwrap.wrap(body, 78)]
        else:
            lines += [" " + line for line in textwrap.wrap(f"{header}:  {body}", 78)]
        lines.append(" ")
    return "\n".join(lines[:-1]) + "\n"
