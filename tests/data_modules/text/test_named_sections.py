"""Sections of reports by the table of headings of a language, and words of any script."""

import json
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.index.words import count_words
from data_modules.padchest import TABLE, PadChestDataModule
from data_modules.pairs import PairsDataModule
from data_modules.text.languages import LANGUAGES, headings
from data_modules.text.named_sections import extract_named, named_sections

SPANISH = """RX DE TÓRAX: PA y lateral.
Hallazgos: Derrame pleural izquierdo. Corazón: normal.

IMPRESION DIAGNÓSTICA : derrame.
Recomendaciones: control."""


def test_value_spanish() -> None:
    names = [name for name, _ in named_sections(SPANISH, "es")]
    assert names == ["examination", "findings", "impression", "recommendations"]
    assert extract_named(SPANISH, "findings", "es") == "Derrame pleural izquierdo. Corazón: normal."
    assert extract_named(SPANISH, "findings+impression", "es") == (
        "Derrame pleural izquierdo. Corazón: normal. derrame."
    )
    assert extract_named(SPANISH, "whole", "es") == " ".join(SPANISH.split())
    decomposed = unicodedata.normalize("NFD", SPANISH)
    assert decomposed != SPANISH
    assert extract_named(decomposed, "impression", "es") == extract_named(SPANISH, "impression", "es") == "derrame."
    assert extract_named("Sin hallazgos patológicos significativos.", "findings", "es") is None


def test_value_a_heading_begins_a_line_or_a_sentence_and_is_not_part_of_a_word() -> None:
    text = "Comparison: none. Findings: clear. No impression: of mass. FINDINGS AND IMPRESSION: well"
    assert [name for name, _ in named_sections(text, "en")] == ["comparison", "findings", "impression"]
    assert extract_named(text, "findings", "en") == "clear. No impression: of mass."
    assert extract_named("Pre-findings: none", "findings", "en") is None


def test_value_of_several_sections_of_a_name_the_last_with_a_text() -> None:
    assert extract_named("Impression: a\nImpression: b\nImpression:\n", "impression", "en") == "b"
    assert named_sections("Well.\nFindings: clear", "en") == [("preamble", "Well.\n"), ("findings", " clear")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_value_every_table(language: str) -> None:
    """Each heading leads to its section, also in capitals; the sections are those that English has."""
    assert {"en", "es"} <= {*LANGUAGES} and {*headings(language).values()} <= {*headings("en").values()}
    for heading, section in headings(language).items():
        assert heading == heading.lower() == " ".join(heading.split())
        assert named_sections(f"{heading.upper()}: x", language) == [(section, " x")]


def test_error_a_language_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.language 'fr' has no table of report headings; there is: en, es"):
        PairsDataModule(str(tmp_path), language="fr")


def picture(path: Path) -> None:
    Image.new("L", (16, 16), 90).save(path)


def test_value_pairs_of_whole_reports(tmp_path: Path) -> None:
    texts = [SPANISH, "Hallazgos: \n", "Sin alteraciones en el estudio actual.", ""]
    for number, _ in enumerate(texts):
        picture(tmp_path / f"{number}.png")
    rows = [{"image": f"{number}.png", "text": text} for number, text in enumerate(texts)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = PairsDataModule(str(tmp_path), sections="findings+impression", language="es")
    assert data.read_index()["text"].tolist() == ["Derrame pleural izquierdo. Corazón: normal. derrame."]
    assert data.dropped == {"report without findings or impression": 2, "no text": 1}
    assert len(PairsDataModule(str(tmp_path)).read_index()) == 2  # of "Hallazgos:" one word
    found = check("pairs", tmp_path, PairsDataModule(str(tmp_path), sections="findings+impression", language="es"))
    listed = {finding.kind: len(finding.items) for finding in found.findings if finding.items}
    assert listed["report without findings or impression"] == 2 and listed["row without a text"] == 1


def test_value_padchest(tmp_path: Path) -> None:
    rows = [
        {"ImageID": f"{number}.png", "StudyID": f"s{number}", "PatientID": f"p{number}", "Projection": "PA",
         "Labels": "['normal']", "MethodLabel": "Physician", "Report": report}
        for number, report in enumerate([SPANISH, "Tórax sin hallazgos de interés."])
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / f"{TABLE}.csv", index=False)
    data = PadChestDataModule(str(tmp_path), sections="findings")
    assert data.read_index()["text"].tolist() == ["Derrame pleural izquierdo. Corazón: normal."]
    assert data.dropped == {"report without findings": 1}
    assert len(PadChestDataModule(str(tmp_path)).read_index()) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Derrame pleural, pequeño; sin condensación.", 5),
        ("双肺纹理清晰", 6),
        ("両肺に異常なし。", 7),
        ("흉수가 관찰됨", 2),
        ("Выпот слева 2 см", 4),
        ("___ , -", 0),
    ],
)
def test_value_words_of_any_script(text: str, words: int) -> None:
    assert count_words(text) == words
