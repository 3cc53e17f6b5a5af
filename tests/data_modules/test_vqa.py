"""VQA-RAD and SLAKE: protocols, traps, errors, and the real VQA-RAD."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.slake import SLAKEDataModule
from data_modules.vqa_rad import VQARADDataModule

Row = dict[str, Any]


def question(number: int, image: int, answer: object, kind: str = "CLOSED", **more: object) -> Row:
    return {
        "qid": number,
        "image_name": f"synpic{image}.jpg",
        "image_organ": "CHEST",
        "answer": answer,
        "answer_type": kind,
        "question_type": "PRES",
        "question": f"Is there a lesion of type {number}?",
        "phrase_type": "freeform",
        **more,
    }


TRAIN = [question(n, n % 10, ["Yes", "no\t", 3, " YES "][n % 4], ["CLOSED", "CLOSED "][n % 2]) for n in range(40)]
TRAIN += [question(50, 0, "Yes", phrase_type="frame", question="Has this heart grown?")]
TEST = [question(100, 0, "yes", question="Has the heart grown?"), question(101, 1, "edema", "OPEN")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for n in range(10):
        Image.fromarray(np.full((20, 24), n * 20, np.uint8)).save(tmp_path / "images" / f"synpic{n}.jpg")
    write(tmp_path)
    return tmp_path


def write(root: Path, train: list[Row] | None = None, test: list[Row] | None = None) -> None:
    (root / "trainset.json").write_text(json.dumps(TRAIN if train is None else train))
    (root / "testset.json").write_text(json.dumps(TEST if test is None else test))


def make(root: Path, **options: Any) -> VQARADDataModule:
    data = VQARADDataModule(str(root), **{"image_size": 16, "batch_size": 2, "num_workers": 0, **options})
    data.setup()
    return data


def test_value_vqa_rad(root: Path) -> None:
    """Integers, tabs and edge spaces; frame questions dropped; one of ten images held out; one answer out of reach."""
    data = make(root)
    assert data.index is not None
    assert data.spec.dropped == {"frame question": 1} and data.spec.counts == {"train": 36, "val": 4, "test": 2}
    assert data.spec.answers == ["3", "no", "yes"] and data.spec.majority_answers == {"CLOSED": "yes"}
    assert set(data.index["answer_type"]) == {"CLOSED", "OPEN"}
    train, val = (set(data.index.loc[data.index["split"] == s, "patient"]) for s in ("train", "val"))
    assert not train & val and len(val) == 1
    notes = " ".join(data.spec.notes)
    assert "(1 frame)" in notes and "2 are in both" in notes and "ceiling is 50.0%" in notes
    assert "twins: 1 test questions" in notes and "1 of them through frame" in notes
    batch = next(iter(data.test_dataloader()))
    assert batch["answer"] == ["yes", "edema"] and batch["image"].shape == (2, 1, 16, 16)


def test_value_check_takes_split_file_and_exclusion(root: Path) -> None:
    """Ids and patients (the images) are those of a run."""
    index = make(root).index
    assert index is not None
    index[["id", "split"]].to_csv(root / "split.csv", index=False)
    (root / "exclude.txt").write_text("synpic0.jpg\n")
    data = VQARADDataModule(str(root), split_file=str(root / "split.csv"), exclude=[str(root / "exclude.txt")])
    result = check("vqa_rad", root, data)
    left_out = [finding.message for finding in result.findings if finding.kind == "left out"]
    excluded = int((index["patient"] == "synpic0.jpg").sum())
    assert left_out == [
        "1 samples left out: not in the split file",
        f"{excluded} samples left out: excluded patient",
    ]
    assert "split file" not in {finding.kind for finding in result.findings} and result.counts["images"] == 9


def test_value_other_protocols(root: Path) -> None:
    legacy = make(root, protocol="vqa-rad-legacy")
    assert legacy.spec is not None and legacy.spec.counts == {"train": 41, "val": 2, "test": 2}
    assert "edema" in legacy.spec.answers
    disjoint = make(root, protocol="vqa-rad-disjoint")
    assert disjoint.index is not None and len(disjoint.index) == 42
    assert (disjoint.index.groupby("patient")["split"].nunique() == 1).all()


def test_value_public_file(root: Path) -> None:
    rows = [{**row, "question_frame": "NULL"} for row in TRAIN[:20]]
    rows[0]["question_frame"] = "Is a lesion there?"
    rows += [{**row, "phrase_type": "test_freeform", "question_frame": "Another?"} for row in TEST]
    (root / "VQA_RAD Dataset Public.json").write_text(json.dumps(rows))
    data = make(root, protocol="vqa-rad-legacy")
    assert data.spec.counts == {"train": 21, "val": 2, "test": 2}


def test_value_hub_form(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    hub = tmp_path / "hub"
    (hub / "data").mkdir(parents=True)
    images = [(root / "images" / f"synpic{n}.jpg").read_bytes() for n in range(10)]
    for split, rows in (("train", TRAIN[:40]), ("test", TEST)):
        frame = pd.DataFrame(
            {
                "image": [{"bytes": images[int(r["image_name"][6:-4])], "path": None} for r in rows],
                "question": [r["question"] for r in rows],
                "answer": [str(r["answer"]).lower() for r in rows],
            }
        )
        frame.to_parquet(hub / "data" / f"{split}-00000-of-00001.parquet")
    data = make(hub)
    assert data.index is not None
    assert data.spec.counts == {"train": 36, "val": 4, "test": 2} and data.index["patient"].nunique() == 10
    assert data.index.set_index("id").loc["test-1", "answer_type"] == "OPEN"
    assert next(iter(data.test_dataloader()))["image"].shape == (2, 1, 16, 16)


def test_error_vqa_rad(root: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: folder not found"):
        make(root / "nowhere")
    write(root, test=[*TEST, question(102, 77, "yes")])
    with pytest.raises(UserError, match=r"first missing: .*synpic77\.jpg \(sample 102\)"):
        make(root)
    write(root, test=[*TEST, question(102, 1, " \t"), question(103, 1, "")])
    with pytest.raises(UserError, match=r"testset\.json: found answer '' in question 102, expected an answer"):
        make(root)
    write(root, test=[*TEST, question(102, 1, "yes", "SHUT"), question(103, 1, "yes", "SHUT")])
    with pytest.raises(UserError, match=r"found answer_type 'SHUT' in question 102, expected OPEN or CLOSED"):
        make(root)
    write(root, test=[*TEST, question(102, 1, " \t"), question(103, 1, "yes", "SHUT")])
    dropped = make(root).spec.dropped  # type: ignore[union-attr]
    assert dropped["blank answer"] == dropped["unknown answer type"] == 1
    write(root, test=[{"qid": 1}])
    with pytest.raises(UserError, match=r"testset\.json: row 1 has no image_name"):
        make(root)
    (root / "testset.json").write_text("[")
    with pytest.raises(UserError, match=r"testset\.json: found broken JSON"):
        make(root)


def test_error_vqa_rad_validation_set_that_is_the_test_set(root: Path) -> None:
    renumbered = [{**row, "qid": 900 + row["qid"]} for row in TEST]
    for copy in (TEST, renumbered):
        (root / "valset.json").write_text(json.dumps(copy))
        for protocol in ("vqa-rad", "vqa-rad-disjoint"):
            with pytest.raises(
                UserError, match=r"valset\.json: 2 of 2 questions are those of testset\.json, .* remove"
            ):
                make(root, protocol=protocol)
        assert make(root, protocol="vqa-rad-legacy").spec.counts["val"] == 2  # type: ignore[union-attr]
    (root / "valset.json").write_text(json.dumps([{**TEST[0], "qid": 7000, "question": "Another one?"}]))
    write(root, train=[row for row in TRAIN if row["image_name"] != TEST[0]["image_name"]])
    assert make(root).spec.counts["val"] == 1  # type: ignore[union-attr]


def test_value_vqa_rad_real(sample_data: Path) -> None:
    """3,064 + 451 questions, 1,267 frame, 203 shared images, 72 twins."""
    data = make(sample_data / "vqa_rad")
    assert data.spec.dropped == {"frame question": 1267} and sum(data.spec.counts.values()) == 1797 + 451
    notes = " ".join(data.spec.notes)
    for words in (
        "read 3,064 training questions (1,267 frame) on 314 images",
        "451 test questions on 203",
        "203 are in",
    ):
        assert words in notes
    assert "twins: 72 test questions" in notes


def slake(root: Path, languages: tuple[str, ...] = ("en", "zh"), **options: Any) -> SLAKEDataModule:
    number = 0
    for split, file in enumerate(("train.json", "validation.json", "test.json")):
        rows = []
        for language in languages:
            for image in range(4):
                name = f"xmlab{(4 * split + image + 4 * (language == 'zh')) % 12}/source.jpg"
                path = root / "imgs" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((20, 24), 9, np.uint8)).save(path)
                base = {"img_name": name, "question": "Where?", "answer": "Liver", "answer_type": "OPEN"}
                rows.append({**base, "q_lang": language, "qid": number, "base_type": "vqa", "content_type": "Organ"})
                number += 1
        (root / file).write_text(json.dumps(rows))
    data = SLAKEDataModule(str(root), image_size=16, batch_size=2, num_workers=0, **options)
    data.setup()
    return data


def test_value_slake_filters_the_language_first(tmp_path: Path) -> None:
    """Both languages together would share images between splits."""
    data = slake(tmp_path)
    assert data.spec.counts == {"train": 4, "val": 4, "test": 4}
    assert data.spec.dropped == {"other language": 12} and data.spec.answers == ["liver"]


def test_value_slake_counts_a_blank_answer(tmp_path: Path) -> None:
    """The English part has one; the other questions are read."""
    slake(tmp_path)
    records = json.loads((tmp_path / "train.json").read_text())
    english = next(record for record in records if record["q_lang"] == "en")
    english["answer"] = " "
    (tmp_path / "train.json").write_text(json.dumps(records))
    data = SLAKEDataModule(str(tmp_path), image_size=16)
    data.setup()
    assert data.spec.dropped == {"other language": 12, "blank answer": 1}
    assert data.spec.counts == {"train": 3, "val": 4, "test": 4}
    result = check("slake", tmp_path, SLAKEDataModule(str(tmp_path)))
    left_out = [finding.message for finding in result.findings if finding.kind == "left out"]
    assert "1 samples left out: blank answer" in left_out and "unreadable" not in {f.kind for f in result.findings}


def test_error_slake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no question in language 'fr' \(found en 4, zh 4\)"):
        slake(tmp_path, language="fr")
