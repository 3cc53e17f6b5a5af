"""Sentences, and leaving some out."""

import pytest

from data_modules.text.comparisons import refers_to_prior, without_comparisons
from data_modules.text.sentences import drop_sentences, sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No effusion. The heart is normal.", ["No effusion.", "The heart is normal."]),
        ("A 1.5 cm nodule. No mass", ["A 1.5 cm nodule.", "No mass"]),
        (
            "Discussed with Dr. Smith at 3 p.m. by phone. Normal.",
            ["Discussed with Dr. Smith at 3 p.m. by phone.", "Normal."],
        ),
        ("Impression: 1. No effusion. 2. Edema.", ["Impression: 1. No effusion.", "2. Edema."]),
        ("___ is noted. ___ was called.", ["___ is noted.", "___ was called."]),
        ("Lungs are clear\n\nNo effusion", ["Lungs are clear", "No effusion"]),
        ("Sin derrame. Índice normal. ¿Masa? Ñandú", ["Sin derrame.", "Índice normal.", "¿Masa?", "Ñandú"]),
        ("心影增大。未见胸腔积液。", ["心影增大。", "未见胸腔积液。"]),
        ("", []),
    ],
)
def test_sentences_value(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_drop_sentences_value() -> None:
    text = " ".join(f"Sentence {chr(65 + i)}." for i in range(20))
    kept = [len(sentences(drop_sentences(text, 0.3, seed))) for seed in range(200)]
    assert 13.5 < sum(kept) / 200 < 14.5
    assert drop_sentences(text, 0.3, 5) == drop_sentences(text, 0.3, 5) != drop_sentences(text, 0.3, 6)
    assert drop_sentences(text, 0.0, 1) == text
    assert all(len(sentences(drop_sentences(text, 0.999, seed))) >= 1 for seed in range(20))


@pytest.mark.parametrize(
    ("sentence", "refers"),
    [
        ("The effusion has decreased in size since the prior study.", True),
        ("Comparison is made to the prior study from ___.", True),
        ("Hilar contours are stable.", True),
        ("No new focal consolidation.", True),
        ("Small left effusion is again seen.", True),
        ("Interval removal of the line.", True),
        ("No significant change.", True),
        ("Opacity is larger than the last film.", True),
        ("There are degenerative changes of the thoracic spine.", False),
        ("The heart is enlarged.", False),
        ("Interstitial markings are increased, consistent with edema.", False),
        ("Patient is status post prior sternotomy.", False),
        ("Intervals between the ribs are regular.", False),
    ],
)
def test_value_sentences_that_refer_to_an_earlier_study(sentence: str, refers: bool) -> None:
    assert refers_to_prior(sentence) is refers
    assert without_comparisons(f"No effusion. {sentence}")[1] == refers


def test_value_text_without_comparisons() -> None:
    text = "Lungs are clear. The effusion is unchanged. No pneumothorax. Line is new since 1.5 days."
    assert without_comparisons(text) == ("Lungs are clear. No pneumothorax.", 2)
    untouched = "Lungs  are clear.\nNo effusion."
    assert without_comparisons(untouched) == (untouched, 0)
