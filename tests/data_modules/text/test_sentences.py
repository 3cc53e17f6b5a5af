"""Sentences, and leaving some out."""

import pytest

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
