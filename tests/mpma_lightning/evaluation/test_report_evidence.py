"""Evidence, baselines, gaps and prose of drafted reports."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_modules.errors import UserError
from data_modules.text.drafts import GAP, read_drafts, segments
from mpma_lightning.evaluation.reports.baselines import NearestReports, most_frequent
from mpma_lightning.evaluation.reports.evidence import best_threshold, boxes_of, judged, sentences_of, standardised
from mpma_lightning.evaluation.reports.infill import FILLED, TOO_LONG, UNCONDITIONED, half_given, infill_scores
from mpma_lightning.evaluation.reports.prose import prose
from mpma_lightning.evaluation.reports.words import r2gen_words
from mpma_lightning.figures.reports import report_cards


def test_value_threshold_separates_best() -> None:
    assert best_threshold(np.array([0.5, 0.6, 0.1]), np.array([0.0, 0.2, 0.3])) == 0.5
    assert best_threshold(np.array([]), np.array([1.0])) is None


def test_value_only_sentences_about_findings_are_judged() -> None:
    texts, places = sentences_of(["Small left effusion. No pneumothorax. The patient is rotated.", "Edema."])
    assert places == [0, 0, 0, 1]
    maps = torch.zeros(4, 3, 3)
    found = judged(texts, maps, torch.tensor([0.1, 0.9, 0.9, 0.5]), 0.4)
    assert [sentence.supported for sentence in found] == [False, None, None, True]
    assert found[1].findings == {"Pneumothorax": 0} and not found[2].findings
    assert [sentence.supported for sentence in judged(texts, maps, None, 0.4)] == [None] * 4
    assert [sentence.supported for sentence in judged(texts, None, torch.full((4,), 0.1), None)] == [None] * 4


def test_value_boxes_enclose_what_stands_out() -> None:
    heat = np.zeros((6, 8))
    heat[1:3, 4:7], heat[4, 0] = 1.0, 0.9
    assert boxes_of(heat) == [(4, 1, 7, 3), (0, 4, 1, 5)]
    assert boxes_of(np.zeros((3, 3))) == []
    maps = standardised(np.random.default_rng(0).normal(3, 5, (2, 4, 4)))
    assert maps.mean((1, 2)) == pytest.approx(0) and maps.std((1, 2)) == pytest.approx(1)


def test_value_baselines() -> None:
    reports = ["No effusion.", "Edema.", "no  effusion", "Mass."]
    assert most_frequent(reports) == "No effusion."
    known = {"Edema.": [1.0, 0.0], "Mass.": [0.0, 1.0], "No effusion.": [0.6, 0.6], "no  effusion": [0.5, 0.5]}
    nearest = NearestReports(reports, lambda texts: torch.tensor([known[text] for text in texts]))
    assert nearest.of(np.array([[1.0, 0.1], [0.1, 1.0], [1.0, 1.0]])) == ["Edema.", "Mass.", "No effusion."]


def test_value_half_of_the_sentences() -> None:
    text = "One is here. Two is here. Three is here. Four is here."
    for seed in range(20):
        parts = half_given(text, 0.5, seed)
        assert parts == half_given(text, 0.5, seed) and None in parts
        assert not any(a is None and b is None for a, b in pairwise(parts))
        assert all(part in text for part in parts if part is not None)
    assert half_given("Alone.", 0.9, 1) == [None]
    rows = {
        "given": ["Small effusion.", ""],
        "reference": ["Small effusion. Edema. Fracture.", "Edema."],
        "filled": ["Edema. Effusion.", "Fracture."],
        "draft": ["Effusion.", "Edema."],
        "fits": [True, False],
    }
    found = infill_scores({name: np.array(texts, object) for name, texts in rows.items()})
    assert found == pytest.approx({FILLED: 2 / 3, UNCONDITIONED: 0.0, TOO_LONG: 1}), (
        "findings that are given do not count"
    )


PROSE = {
    "the heart is mildly enlarged . no effusion .": "The heart is mildly enlarged. No effusion.",
    "left - sided pacemaker , 2 . 6 cm": "Left-sided pacemaker, 2.6 cm",
    "dr . ___ ( see ct )": "Dr. ___ (see ct)",
    "": "",
}


@pytest.mark.parametrize("text", PROSE)
def test_value_prose(text: str) -> None:
    assert prose(text) == PROSE[text]


def test_value_prose_within_a_sentence() -> None:
    assert prose("small effusion . edema", begins=False) == "small effusion. Edema"


def test_value_words_of_r2gen() -> None:
    assert r2gen_words("1. The heart is Normal, (size). 2. No X-ray change; stable.") == (
        ["the", "heart", "is", "normal", "size", ".", "no", "x-ray", "change", "stable", "."]
    )


def test_value_drafts_of_both_kinds_of_table(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(
        '{"id": "a", "draft": "The heart [...] ."}\n\n{"id": "b", "draft": "No  change"}\n'
    )
    (tmp_path / "d.csv").write_text("id,draft\na,The heart [...] .\nb,No change\n")
    for name in ("d.jsonl", "d.csv"):
        assert read_drafts(tmp_path / name) == {"a": "The heart [...] .", "b": "No change"}
    assert segments("The heart [...] .") == ["The heart", None, "."]
    assert segments("No change") == ["No change", None] and segments(f"{GAP} x {GAP}") == [None, "x", None]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"id": "a", "draft": ""}', "row 1 has an empty draft"),
        ('{"id": "a", "draft": " [...] . "}', "row 1 has an empty draft"),
        ('{"draft": "x"}', "found columns draft, expected id and draft"),
        ('{"id": "a", "draft": "x"}\n{"id": "a", "draft": "y"}', "row 2 has id 'a' a second time"),
        ('{"id": null, "draft": "x"}', "row 1 has no id"),
        ("{", "broken JSON"),
    ],
)
def test_error_drafts(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "d.jsonl").write_text(content + "\n")
    with pytest.raises(UserError, match=said):
        read_drafts(tmp_path / "d.jsonl")
    with pytest.raises(UserError, match="does not exist"):
        read_drafts(tmp_path / "none.csv")


@given(st.text(max_size=60))
def test_value_whatever_is_written_stays(text: str) -> None:
    parts = segments(text)
    assert None in parts
    kept = "".join(part for part in parts if part is not None)
    assert [*kept.replace(" ", "")] == [*"".join(piece.strip() for piece in text.split(GAP)).replace(" ", "")]


def test_smoke_cards() -> None:
    texts = ["Small left effusion.", "No pneumothorax.", "The patient is rotated."]
    told = judged(texts, torch.rand(3, 4, 4), torch.tensor([0.1, 0.2, 0.3]), 0.2)
    figure = report_cards(torch.rand(2, 1, 32, 32), ["Edema.", "Small effusion."], [told, []])
    written = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert {"Edema.", "✗", "Small", "left", "effusion.", "?", "rotated."} <= {*written}
    assert written.count("✗") == 1 and written.count("✓") == 1, "the draft says no pneumothorax, as the reference does"
