"""Questions about a film, answered by what was planted: presence, side, size, count, device, view, modality."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from data_modules.index.hashing import stable_hash
from data_modules.phantom.truth import PhantomFilm

ASKED = {
    "Cardiomegaly": "cardiomegaly",
    "Pleural Effusion": "a pleural effusion",
    "Pneumothorax": "a pneumothorax",
    "Consolidation": "a consolidation",
    "Edema": "pulmonary edema",
    "Atelectasis": "atelectasis",
    "Lung Lesion": "a nodule or mass",
    "Fracture": "a rib fracture",
    "Support Devices": "a support device",
}
FORMS = {
    "Presence": ("Is there {}?", "Does this film show {}?", "Can {} be seen here?"),
    "Position": ("On which side is {}?", "Where is {}, left or right?"),
    "Zone": ("In which zone of the lung is {}?", "Which lung zone shows {}?"),
    "Size": ("How large is {}?", "What is the size of {}?"),
    "Severity": ("How severe is {}?", "What is the degree of {}?"),
    "Count": ("How many ribs are broken?", "What is the number of fractured ribs?"),
    "Device": ("Which support device is seen?", "What kind of device is in place?"),
    "Plane": ("Which view is this?", "In what projection was this film taken?"),
    "Modality": ("What modality is this?", "Which imaging technique was used?"),
}
"""Wordings by content type (SLAKE's names where it has one)."""
CONTENT = {"Presence": "Abnormality", "Zone": "Position", "Severity": "Size", "Count": "Quantity", "Device": "Organ"}


@dataclass(frozen=True)
class Question:
    """``kind`` is a key of ``FORMS``; ``wordings`` are equal in meaning; a count is an integer, as in VQA-RAD."""

    kind: str
    wordings: tuple[str, ...]
    answer: str | int
    closed: bool

    @property
    def content(self) -> str:
        """SLAKE's content type."""
        return CONTENT.get(self.kind, self.kind)


def questions(film: PhantomFilm, count: int = 5) -> list[Question]:
    """``count`` questions, or as many as the film allows, fewer of a normal one; yes and no are about as frequent."""
    rng = np.random.default_rng(stable_hash("questions", film.id) % (1 << 63))
    found = list(_details(film))
    chosen = [found[i] for i in rng.permutation(len(found))[: count - 2]]
    wanted = count - 1 if film.findings else 2  # a normal film says no to everything
    while len(chosen) < wanted:
        chosen.append(_presence(film, rng, {q.wordings for q in chosen}))
    general = [_ask("Modality", "x-ray"), _ask("Plane", "lateral" if film.view == "LATERAL" else film.view)]
    return [*chosen, general[int(rng.random() < 0.7)]]


def _ask(kind: str, answer: str | int, subject: str = "", closed: bool = False) -> Question:
    return Question(kind, tuple(form.format(subject) for form in FORMS[kind]), answer, closed)


def _details(film: PhantomFilm) -> list[Question]:
    """What only the image tells about each finding."""
    made: list[Question] = []
    lateral = film.view == "LATERAL"
    for finding in film.findings:
        name = finding["name"]
        if name not in ASKED:
            continue
        the = ASKED[name].replace("a ", "the ", 1) if ASKED[name].startswith("a ") else ASKED[name]
        if name == "Support Devices":
            made.append(_ask("Device", finding["kind"]))
        elif name == "Fracture":
            made.append(_ask("Count", int(finding["count"])))
        elif finding["size"] and name != "Lung Lesion":
            made.append(_ask("Severity" if name in ("Cardiomegaly", "Edema") else "Size", finding["size"], the))
        if name in ("Consolidation", "Lung Lesion") and finding["zone"]:
            made.append(_ask("Zone", finding["zone"], the))
        if not lateral and finding["side"] in ("left", "right"):
            made.append(_ask("Position", finding["side"], the, closed=True))
    return made


def _presence(film: PhantomFilm, rng: np.random.Generator, taken: set[Any]) -> Question:
    seen = {finding["name"] for finding in film.findings}
    groups = [[n for n in ASKED if (n in seen) == wanted] for wanted in (True, False)]
    for names in groups if rng.random() < 0.7 else reversed(groups):
        open_ = [q for n in names if (q := _ask("Presence", _yes(n in seen), ASKED[n], True)).wordings not in taken]
        if open_:
            return open_[int(rng.integers(len(open_)))]
    raise ValueError(f"film {film.id} has fewer findings to ask about than questions")


def _yes(there: bool) -> str:
    return "Yes" if there else "No"
