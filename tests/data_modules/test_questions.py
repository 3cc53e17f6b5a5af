"""Questions of any table, and its thin readers: PathVQA, PMC-VQA, VQA-Med-2019, MIMIC-CXR-VQA."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.mimic_cxr_vqa import MIMICCXRVQADataModule
from data_modules.path_vqa import PathVQADataModule
from data_modules.pmc_vqa import PMCVQADataModule
from data_modules.questions import QuestionsDataModule
from data_modules.vqa_med_2019 import FILES, VQAMed2019DataModule, with_optional_parts

Row = dict[str, Any]
SMALL = {"image_size": 16, "num_workers": 0, "batch_size": 2}


def picture(number: int) -> bytes:
    file = io.BytesIO()
    shade = np.random.default_rng(number).integers(0, 255, (20, 16), dtype=np.uint8)
    Image.fromarray(shade).save(file, format="PNG")
    return file.getvalue()


def pictures(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))


ROWS: list[Row] = [
    {"image": f"{n}.png", "question": f"How large is lesion {n}?", "answer": ["small", "Large."][n % 2],
     "split": ["train", "validation", "test"][n % 3], "choices": ["small", "large"]} for n in range(9)
]  # fmt: skip
ROWS += [
    {"image": "0.png", "question": "Is it there?", "answer": "YES ", "split": "train"},
    {"image": "3.png", "question": "What is there?", "answer": ["Edema", "edema", "mass"], "split": "train"},
    {"image": "2.png", "question": "What is there?", "answer": [], "split": "test"},
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pictures(tmp_path / "images", [f"{n}.png" for n in range(9)])
    return tmp_path


def as_json(root: Path, rows: list[Row]) -> None:
    (root / "questions.json").write_text(json.dumps(rows))


def as_lines(root: Path, rows: list[Row]) -> None:
    (root / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))


def as_parquet(root: Path, rows: list[Row]) -> None:
    as_list = [{**row, "answer": row["answer"] if isinstance(row["answer"], list) else [row["answer"]]} for row in rows]
    pd.DataFrame(as_list).to_parquet(root / "questions.parquet")


def as_one_a_split(root: Path, rows: list[Row]) -> None:
    for name, split in (("train", "train"), ("valid", "validation"), ("test", "test")):
        own = [{key: value for key, value in row.items() if key != "split"} for row in rows if row["split"] == split]
        (root / f"{name}.json").write_text(json.dumps(own))


def read(root: Path, kind: type[QuestionsDataModule] = QuestionsDataModule, **options: Any) -> QuestionsDataModule:
    data = kind(str(root), **SMALL, **options)
    data.setup()
    return data


@pytest.mark.parametrize("write", [as_json, as_lines, as_parquet, as_one_a_split])
def test_value_every_format_gives_the_same_questions(root: Path, write: Any) -> None:
    write(root, ROWS)
    data = read(root)
    assert data.index is not None and data.spec.counts == {"train": 5, "val": 3, "test": 4}
    assert data.spec.answers == ["edema", "large", "mass", "small", "yes"]
    assert data.spec.protocol == "vqa-questions" and data.spec.several_answers == "all"
    assert data.passed_on == {"choices": "str"} and data.spec.passed_on == {"choices": "str"}
    rows = data.index.set_index("text")
    assert rows.loc["How large is lesion 1?", ["answer", "choices", "answer_type"]].tolist() == [
        "large", "small | large", "CLOSED"]  # fmt: skip
    assert rows.loc["Is it there?", "answer_type"] == "CLOSED" and rows.loc["Is it there?", "choices"] == ""
    assert sorted(rows.loc["What is there?", "answer"]) == ["", "edema | mass"]
    batch = next(iter(data.test_dataloader()))
    assert set(batch["choices"]) <= {"", "small | large"} and batch["image"].shape == (2, 1, 16, 16)


def test_value_csv_with_other_names_and_no_validation_split(root: Path) -> None:
    lines = ["film;frage;antwort;A;B;teil"]
    for n in range(9):
        lines.append(f"{n}.png;Wie groß {n}?;{'AB'[n % 2]};A: klein;B. groß;{'test' if n > 6 else 'train'}")
    (root / "fragen.csv").write_text("\n".join(lines))
    names = {"image_column": "film", "question_column": "frage", "answer_column": "antwort", "split_column": "teil"}
    data = read(root, table="fragen.csv", choices_column=["A", "B"], **names)
    assert data.index is not None and data.spec.counts == {"train": 6, "val": 1, "test": 2}
    assert set(data.index["answer"]) == {"klein", "groß"} and set(data.index["choices"]) == {"klein | groß"}
    lines.append("0.png;Wie groß?;C;;klein;train;klein")
    (root / "fragen.csv").write_text("\n".join([lines[0] + ";C", *[f"{line};" for line in lines[1:-1]], lines[-1]]))
    again = read(root, table="fragen.csv", choices_column=["A", "B", "C"], **names).index
    assert again is not None and (again["text"] == "Wie groß?").sum() == 1, "letters count blank and equal choices too"
    assert any("1 of 7 training images held out" in note for note in data.spec.notes)
    assert data.spec.several_answers == ""


def test_value_no_split_is_drawn_by_image_whatever_the_seed(root: Path) -> None:
    rows = [{"image": f"{n % 9}.png", "question": "Which side?", "answer": "left"} for n in range(90)]
    as_json(root, rows)
    first, second = (read(root, seed=seed).index for seed in (0, 1))
    assert first is not None and second is not None
    assert first[["id", "split"]].equals(second[["id", "split"]])
    assert first.groupby("image")["split"].nunique().max() == 1 and first["id"].is_unique


def test_value_one_language_and_patients(root: Path) -> None:
    rows = [{**row, "q_lang": "en" if n % 2 else "zh", "patient_id": n % 3} for n, row in enumerate(ROWS)]
    as_json(root, rows)
    data = read(root, language="en")
    assert data.index is not None and data.spec.dropped == {"other language": 6}
    assert set(data.index["patient"]) == {"0", "1", "2"}
    with pytest.raises(UserError, match=r"found no question in language 'fr' \(found en 6, zh 6\)"):
        read(root, language="fr")
    as_json(root, [{**row, "patient_id": 1} for row in ROWS])
    with pytest.raises(UserError, match="found patient 1 in "):
        read(root)


BLANK = {"image": "1.png", "question": "What?", "answer": "  ", "split": "train"}
TRAPS: dict[str, tuple[Row, str]] = {
    "blank answer": (BLANK, "found nothing as answer in row 13, expected one in column answer"),
    "blank question": (BLANK | {"question": "", "answer": "x"}, "found nothing as question in row 13"),
    "no image": (BLANK | {"image": None, "answer": "x"}, "found nothing as image in row 13"),
    "answer that is no choice": (
        BLANK | {"answer": "huge", "choices": ["small", "large"]},
        "found 'huge' as answer in row 13, expected one of the choices",
    ),
    "unknown answer type": (
        BLANK | {"answer": "x", "answer_type": "ABIERTA"},
        "found 'ABIERTA' as answer_type in row 13, expected OPEN or CLOSED",
    ),
}


@pytest.mark.parametrize("kind", TRAPS)
def test_value_check_names_each_trap(root: Path, kind: str) -> None:
    """One such row is left out and told; two of them stop the reading with the first one."""
    row, message = TRAPS[kind]
    as_json(root, [*ROWS, row])
    found = check("questions", root, QuestionsDataModule(str(root), **SMALL), decode_all=True)
    assert not found.failed and f"1 samples left out: {kind}" in found.as_text()
    as_json(root, [*ROWS, row, row])
    found = check("questions", root, QuestionsDataModule(str(root), **SMALL))
    assert found.failed and message in found.as_text(), found.as_text()


def test_error_no_table_and_no_column(root: Path) -> None:
    with pytest.raises(UserError, match=r"found no table of questions, expected questions\.jsonl, or train\.jsonl"):
        read(root)
    as_json(root, [{"image": "0.png", "question": "x?"}])
    with pytest.raises(UserError, match=r"expected one of answer, answers; name it with data\.answer_column"):
        read(root)
    (root / "questions.json").rename(root / "train.json")
    (root / "train.csv").write_text("image,question,answer\n")
    with pytest.raises(UserError, match=r"found train\.json(l)? and train\.csv, expected one table of train"):
        read(root)


def test_value_path_vqa_counts_images_in_two_splits_and_reads_no_pickle(tmp_path: Path) -> None:
    (tmp_path / "qas" / "train").mkdir(parents=True)
    (tmp_path / "qas" / "train" / "train_qa.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(UserError, match="found pickles, which run code"):
        read(tmp_path, PathVQADataModule)
    (tmp_path / "data").mkdir()
    for split, numbers in (("train", (0, 0, 1, 2)), ("validation", (3,)), ("test", (0, 4))):
        rows = [
            {"image": {"bytes": picture(n), "path": None}, "question": f"is this {n}?", "answer": "Yes"}
            for n in numbers
        ]
        pd.DataFrame(rows).to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    data = read(tmp_path, PathVQADataModule)
    assert data.index is not None and data.spec.counts == {"train": 4, "val": 1, "test": 2}
    assert data.index["patient"].nunique() == 5 and "1 of 5 images are in two splits, officially" in data.spec.notes
    assert data.samples("test")[1]["image"].shape == (1, 16, 16)


def test_value_pmc_vqa(tmp_path: Path) -> None:
    pictures(tmp_path / "figures", [f"PMC{n}.jpg" for n in range(12)])
    for name, numbers in (("train_2", range(10)), ("test_2", (10, 11))):
        lines = ["Figure_path,Caption,Question,Choice A,Choice B,Choice C,Choice D,Answer"]
        for n in numbers:
            answer = "B" if n % 2 else "A:Liver "
            lines.append(f'PMC{n}.jpg,"A, figure",What organ {n}?, A:Liver , B: Lung, C:Heart,D: Bone,{answer}')
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    data = read(tmp_path, PMCVQADataModule)
    assert data.index is not None and data.spec.counts == {"train": 9, "val": 1, "test": 2}
    assert data.spec.answers == ["liver", "lung"] and set(data.index["choices"]) == {"liver | lung | heart | bone"}
    (tmp_path / "test_2.csv").unlink()
    with pytest.raises(UserError, match=r"found no train_2\.csv and test_2\.csv \(nor train\.csv and test\.csv\)"):
        read(tmp_path, PMCVQADataModule)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("ct w/contrast (iv)", "ct w/contrast | ct w/contrast (iv) | ct w/contrast iv"),
        ("noncontrast | mri", "mri | noncontrast"),
        ("(with) septic emboli", "(with) septic emboli | septic emboli | with septic emboli"),
    ],
)
def test_value_optional_parts(answers: str, expected: str) -> None:
    assert with_optional_parts(answers) == expected


def test_value_vqa_med_2019_and_its_published_test_lines(tmp_path: Path) -> None:
    """Lines as published: 500 in the test file, 125 of each category, 12 of them with alternatives."""
    pictures(tmp_path / "Train_images", ["synpic1.jpg", "synpic2.jpg"])
    pictures(tmp_path / "Test", ["synpic3.jpg", "synpic4.jpg"])
    (tmp_path / FILES["train"]).write_text(
        "synpic1|which plane?|axial\nsynpic2|is it mri?|no\nsynpic2|plane?|lateral\n"
    )
    (tmp_path / FILES["val"]).write_text("synpic5|is it mri?|no\n")
    pictures(tmp_path / "Val_images", ["synpic5.jpg"])
    (tmp_path / FILES["test"]).write_text(
        "synpic3|plane|which plane?|axial#transverse\nsynpic4|modality|which?|ct (iv)\n"
    )
    data = read(tmp_path, VQAMed2019DataModule)
    assert data.index is not None and data.spec.counts["test"] == 2 and data.spec.several_answers == "any"
    assert data.index[data.index["split"] == "test"]["answer"].tolist() == [
        "axial | transverse",
        "ct | ct (iv) | ct iv",
    ]
    assert data.index[data.index["split"] == "test"]["question_type"].tolist() == ["plane", "modality"]
    assert "1 of 2 test answers are missing" in " ".join(data.spec.notes)
    (tmp_path / FILES["test"]).write_text("synpic3|which plane?|axial\n")
    with pytest.raises(UserError, match=r"found 3 fields in line 1, expected image\|category\|question\|answer"):
        read(tmp_path, VQAMed2019DataModule)
    found = check("vqa_med_2019", tmp_path, VQAMed2019DataModule(str(tmp_path), **SMALL))
    assert found.failed and "found 3 fields in line 1" in found.as_text()


def test_value_mimic_cxr_vqa(tmp_path: Path) -> None:
    for subject, (split, count) in enumerate((("train", 3), ("valid", 1), ("test", 2))):
        rows = []
        for n in range(count):
            path = f"p10/p1000000{subject}/s5000000{n}/{split}{n}.jpg"
            pictures(tmp_path / "files", [path])
            answer = [[], ["left lung", "Right lung"], ["yes"]][n]
            row: Row = {"split": split, "idx": n, "image_path": path, "answer": answer, "semantic_type": "query"}
            about = {"subject_id": f"1000000{subject}", "template_arguments": {"object": {"0": "lung"}}}
            rows.append(row | about | {"image_id": f"{split}{n}", "question": f"where is it {n}?"})
        (tmp_path / f"{split}.json").write_text(json.dumps(rows))
    data = read(tmp_path, MIMICCXRVQADataModule)
    assert data.index is not None and data.spec.counts == {"train": 3, "val": 1, "test": 2}
    assert data.spec.answers == ["left lung", "right lung", "yes"] and data.index["id"].is_unique
    assert data.index.loc[data.index["split"] == "test", "answer"].tolist() == ["", "left lung | right lung"]
    assert set(data.index["question_type"]) == {"query"} and data.index["patient"].nunique() == 3
