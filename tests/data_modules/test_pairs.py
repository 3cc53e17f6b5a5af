"""Anyone's pairs in every table format, their errors, and the real sample."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.pairs import PairsDataModule
from data_modules.prepare import Options, prepare
from data_modules.text.tokenizer import TextOptions

ROWS = [
    {"image": f"{n}.png", "text": f"A report of number {n}.", "split": "train" if n < 6 else "validation", "patient": n}
    for n in range(8)
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for n in range(8):
        Image.fromarray(np.full((20, 24), n * 20, np.uint8)).save(tmp_path / "images" / f"{n}.png")
    return tmp_path


def make(root: Path, **options: Any) -> PairsDataModule:
    settings: dict[str, Any] = {"image_size": 16, "batch_size": 2, "num_workers": 0, **options}
    data = PairsDataModule(str(root), **{"text": TextOptions(max_tokens=16, vocab_size=300, min_count=1), **settings})
    data.setup()
    assert data.index is not None
    return data


def counts(data: PairsDataModule) -> list[int]:
    return list(data.spec.counts.values())


def index_of(data: PairsDataModule) -> pd.DataFrame:
    assert data.index is not None
    return data.index


def write_lines(root: Path, rows: list[dict[str, Any]]) -> None:
    (root / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.csv", "pairs.parquet", "metadata.csv"])
def test_smoke(root: Path, name: str) -> None:
    frame = pd.DataFrame(ROWS)
    if name.endswith("jsonl"):
        write_lines(root, ROWS)
    elif name.endswith("csv"):
        frame.to_csv(root / name, index=False)
    else:
        frame.to_parquet(root / name)
    data = make(root)
    assert counts(data) == [6, 2, 0]
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].shape == (2, 1, 16, 16) and batch["text"] == [
        "A report of number 6.",
        "A report of number 7.",
    ]
    assert batch["patient"] == ["6", "7"]


def test_value_other_column_names(root: Path) -> None:
    rows = [{"Path": f"images/{r['image']}", "Caption": r["text"], "licence": "CC0"} for r in ROWS]
    write_lines(root, rows)
    index = index_of(make(root, seed=3))
    assert len(index) == 8 and set(index["license"]) == {"CC0"} and set(index["split"]) <= {"train", "val", "test"}
    write_lines(root, [{"scan": r["image"], "words": r["text"]} for r in ROWS])
    assert len(index_of(make(root, image_column="scan", text_column="words"))) == 8


def test_value_several_texts_of_an_image_are_one_group(root: Path) -> None:
    write_lines(root, [*ROWS, {**ROWS[0], "text": "Another report of it."}])
    index = index_of(make(root)).set_index("id")
    assert index.loc["0.png", "group"] == index.loc["0.png#1", "group"] != index.loc["1.png", "group"]


def test_value_groups(root: Path) -> None:
    write_lines(root, [{**row, "group": n // 2} for n, row in enumerate(ROWS)])
    index = index_of(make(root)).set_index("id")
    assert index.loc["0.png", "group"] == index.loc["1.png", "group"] != index.loc["2.png", "group"]


def test_value_labels(root: Path) -> None:
    write_lines(root, [{**row, "sick": n % 2 if n else None, "kind": "ab"[n % 2]} for n, row in enumerate(ROWS)])
    data = make(root, label_columns=["sick"])
    assert not data.spec.exclusive
    assert data.label_names == ["sick"] and index_of(data)["sick"].isna().sum() == 1
    data = make(root, label_columns=["kind"])
    assert (
        data.spec is not None
        and data.spec.classes == ["a", "b"]
        and data.spec.exclusive
        and (index_of(data)[["a", "b"]].sum(axis=1) == 1).all()
    )
    with pytest.raises(
        UserError, match=r"pairs\.jsonl: found 'a' in row 1, column kind, expected 1, 0 or blank; write names"
    ):
        make(root, label_columns=["sick", "kind"])
    with pytest.raises(UserError, match=r"no column sik \(nearest: sick\)"):
        make(root, label_columns=["sik"])


def test_value_images_alone(root: Path) -> None:
    (root / "pairs.csv").write_text("image,split\n" + "".join(f"{r['image']},{r['split']}\n" for r in ROWS))
    with pytest.raises(UserError, match=r"found columns image, split, .* or set data\.images_only"):
        make(root)
    data = make(root, images_only=True)
    assert "text" not in index_of(data) and counts(data) == [6, 2, 0] and data.spec.tokenizer is None
    assert set(next(iter(data.val_dataloader()))) == {"id", "patient", "group", "seed", "image", "size"}
    draw = np.random.default_rng(0)  # flat images would be one picture in two splits
    for n in range(8):
        Image.fromarray(draw.integers(0, 255, (20, 24), np.uint8)).save(root / "images" / f"{n}.png")
    assert not check("pairs", root, PairsDataModule(str(root), images_only=True)).failed
    with pytest.raises(UserError, match=r"data\.images_only with data\.text_column words"):
        make(root, images_only=True, text_column="words")


@pytest.mark.parametrize("parquet", [False, True])
def test_value_a_list_of_names_a_row_makes_a_class_of_every_name(root: Path, parquet: bool) -> None:
    named: list[object] = [["mass", "edema"], [], None, ["edema"], ["mass"], ["mass"], ["edema"], []]
    rows = [{**row, "kinds": names} for row, names in zip(ROWS, named, strict=True)]
    if parquet:
        pd.DataFrame(rows).to_parquet(root / "pairs.parquet")
        (root / "pairs.jsonl").unlink(missing_ok=True)
    else:
        write_lines(root, rows)
    data = make(root, label_columns=["kinds"])
    assert data.spec.classes == ["edema", "mass"] and not data.spec.exclusive
    labels = index_of(data).set_index("id").loc[[row["image"] for row in ROWS], ["edema", "mass"]]
    expected = [[1, 1], [0, 0], [np.nan] * 2, [1, 0], [0, 1], [0, 1], [1, 0], [0, 0]]
    np.testing.assert_array_equal(labels.to_numpy(), np.array(expected, np.float32))
    with pytest.raises(UserError, match=r"found lists in column kinds, expected 1, 0 or blank.*\[kinds\]"):
        make(root, label_columns=["split", "kinds"])


@pytest.mark.parametrize("name", ["id", "patient", "study", "split", "image", "text", "group", "license", "mask"])
def test_error_a_class_named_like_a_column_of_the_index(root: Path, name: str) -> None:
    """As a label column of its own, as a class given in the settings, as a value of a column of names."""
    kinds = ["normal", name]
    table = [
        {"scan": f"{n}.png", "words": f"Report {n} is here.", "sick": n % 2, "kind": kinds[n % 2]} for n in range(8)
    ]
    for rows, labels in (
        ([{**row, name: row["sick"]} for row in table], [name]),
        (table, {name: "sick"}),
        (table, ["kind"]),
    ):
        write_lines(root, rows)
        with pytest.raises(UserError, match=rf"pairs\.jsonl: found a class named {name}, ") as error:
            make(root, label_columns=labels, image_column="scan", text_column="words")
        message = str(error.value)
        assert f"data.label_columns {{Another name: {name}}}" in message and "\n" not in message


def test_value_a_label_column_of_such_a_name_can_be_given_a_class(root: Path) -> None:
    write_lines(root, [{"scan": f"{n}.png", "words": f"Report {n} is here.", "mask": n % 2} for n in range(8)])
    data = make(root, label_columns={"Mask": "mask"}, image_column="scan", text_column="words")
    assert data.spec.classes == ["Mask"] and index_of(data).set_index("id")["Mask"].sum() == 4


def test_value_classes_by_column(root: Path) -> None:
    write_lines(root, [{**row, "tb": n % 2, "kind": "ab"[n % 2]} for n, row in enumerate(ROWS)])
    data = make(root, label_columns={"Tuberculosis": "tb"})
    assert data.spec.classes == ["Tuberculosis"] and not data.spec.exclusive
    assert data.spec.train_positives == {"Tuberculosis": 3}
    with pytest.raises(UserError, match=r"found names in column kind, .* set data\.label_columns to \[kind\]"):
        make(root, label_columns={"Kind": "kind"})
    with pytest.raises(UserError, match=r"column of data\.label_columns twice \(tb, tb\)"):
        make(root, label_columns={"A": "tb", "B": "tb"})


def test_value_a_target_is_a_number_a_sample(root: Path, tmp_path: Path) -> None:
    rows = [{**row, "age": None if n == 7 else n + 0.5, "odd": "old" if n == 2 else n} for n, row in enumerate(ROWS)]
    write_lines(root, [{"text": "One without image."}, *rows])
    data = make(root, target_column="age")
    batch = next(iter(data.val_dataloader()))
    assert batch["target"].dtype == torch.float32 and batch["target"][0] == 6.5 and batch["target"][1].isnan()
    assert data.spec.passed_on == {"target": "float"} and "labels" not in batch
    prepare(PairsDataModule(str(root), target_column="age"), tmp_path / "store", Options(64, "raw"), workers=1)
    stored = make(tmp_path / "store", target_column="age")
    assert stored.spec == data.spec
    assert torch.equal(next(iter(stored.val_dataloader()))["target"].nan_to_num(9), batch["target"].nan_to_num(9))
    findings = {finding.kind for finding in check("pairs", tmp_path / "store", stored).findings}
    assert not findings & {"rows", "rows that are not those of the manifest", "manifest"}
    with pytest.raises(UserError, match=r"was prepared with target_column 'age', found data\.target_column None"):
        make(tmp_path / "store")
    with pytest.raises(UserError, match=r"found 'old' in row 4, column odd, expected a number or blank"):
        make(root, target_column="odd")
    with pytest.raises(UserError, match=r"no column ag \(nearest: age\)"):
        make(root, target_column="ag")
    with pytest.raises(UserError, match=r"expected 1, 0 or blank; .*data\.target_column"):
        make(root, label_columns=["age"])


@pytest.mark.parametrize(("name", "separator"), [("pairs.csv", ";"), ("pairs.csv", "\t"), ("pairs.tsv", "\t")])
def test_value_other_separators(root: Path, name: str, separator: str) -> None:
    """As spreadsheets write them where the comma is the decimal mark."""
    frame = pd.DataFrame(ROWS).assign(text=[f"Report {n}, no effusion." for n in range(8)])
    frame.to_csv(root / name, index=False, sep=separator)
    data = make(root)
    assert counts(data) == [6, 2, 0] and data.spec.dropped == {}
    assert index_of(data).set_index("id").loc["3.png", "text"] == "Report 3, no effusion."


def test_value_labelled_images_need_no_text(root: Path) -> None:
    write_lines(root, [{"image": row["image"], "split": row["split"], "sick": n % 2} for n, row in enumerate(ROWS)])
    data = make(root, label_columns=["sick"])
    assert counts(data) == [6, 2, 0] and data.spec.tokenizer is None and data.spec.train_positives == {"sick": 3}
    batch = next(iter(data.val_dataloader()))
    assert "input_ids" not in batch and batch["labels"].tolist() == [[0], [1]]
    with pytest.raises(UserError, match=r"expected one of image, .* and one of text, "):
        make(root)


def test_value_chinese_reports(root: Path) -> None:
    """No spaces, yet words: what is short is dropped by its characters, and every character is a word of the batch."""
    texts = ["双肺纹理清晰，未见胸腔积液。", "心影增大", "正常", "右侧气胸。"] * 2
    write_lines(root, [{**row, "text": text} for row, text in zip(ROWS, texts, strict=True)])
    data = make(root)
    assert data.spec.dropped == {"text under 3 words": 2} and counts(data) == [5, 1, 0]
    assert data.tokenizer is not None
    for text, words in ((texts[0], 12), (texts[1], 4)):
        ids, mask, word_ids = data.tokenizer.encode(text, 32)
        assert data.tokenizer.unk_id not in ids and data.tokenizer.decode(ids).replace(" ", "") == text
        assert sorted({word for word in word_ids if word >= 0}) == list(range(words)) and sum(mask) >= words + 2


def test_value_dropped_texts_are_counted(root: Path) -> None:
    write_lines(root, [{**row, "text": ["", "One two.", "One two three."][n % 3]} for n, row in enumerate(ROWS)])
    data = make(root)
    assert data.spec.dropped == {"no text": 3, "text under 3 words": 3}


def test_error(root: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: folder not found"):
        make(root / "nowhere")
    with pytest.raises(UserError, match=r"found no table, expected one of pairs\.jsonl"):
        make(root)
    (root / "pairs.jsonl").write_text(json.dumps(ROWS[0]) + "\n{'image': 1}\n")
    with pytest.raises(UserError, match=r"pairs\.jsonl: row 2: found broken JSON"):
        make(root)
    (root / "pairs.jsonl").write_text("[1]\n")
    with pytest.raises(UserError, match=r"pairs\.jsonl: row 1 is list, expected an object"):
        make(root)
    (root / "pairs.jsonl").write_bytes(b'{"image": "\xff"}')
    with pytest.raises(UserError, match=r"pairs\.jsonl: found byte 11 that is not UTF-8"):
        make(root)
    write_lines(root, [{"scan": "a", "words": "b"}])
    with pytest.raises(UserError, match=r"found columns scan, words, expected one of image, .*data\.image_column"):
        make(root)
    with pytest.raises(UserError, match=r"no column skan \(nearest: scan\)"):
        make(root, image_column="skan")
    write_lines(root, [*ROWS, {**ROWS[0], "image": "absent.png"}])
    with pytest.raises(UserError, match=r"found images: train 6/7, val 2/2; first missing: .*absent\.png"):
        make(root)
    (root / "pairs.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"pairs\.parquet: broken Parquet"):
        make(root, table="pairs.parquet")


@pytest.mark.parametrize("table", ["pairs.jsonl", "metadata.csv"])
def test_value_covid_cxr(sample_data: Path, table: str) -> None:
    """201 / 27 / 69 pairs; neither notes nor the published groups cross a split; licences survive."""
    folder = sample_data / "covid_cxr"
    data = make(folder, table=table, num_workers=2, batch_size=16, text=TextOptions(vocab_size=2000, min_count=1))
    assert counts(data) == [201, 27, 69]
    index = index_of(data)
    assert index["license"].notna().all() and index["license"].str.startswith("CC").all()
    assert (index.groupby("group")["split"].nunique() == 1).all()
    assert index["text"].nunique() >= index["group"].nunique()
    assert (index.groupby("text")["group"].nunique() == 1).all()
    published = pd.read_csv(folder / "metadata.csv").set_index("image_file").loc[index["id"]]
    assert (pd.Series(index["split"].to_numpy()).groupby(published["group"].to_numpy()).nunique() == 1).all()
    seen = [name for batch in data.train_dataloader() for name in batch["id"]]
    assert len(seen) == len(set(seen)) == 192
    assert sum(len(batch["id"]) for batch in data.test_dataloader()) == 69


@pytest.mark.parametrize("split", ["train", "val", "test", "all"])
def test_value_predict_reads_the_split_that_is_asked_for(root: Path, split: str) -> None:
    parts = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    write_lines(root, [{**row, "split": part} for row, part in zip(ROWS, parts, strict=True)])
    data = make(root, predict_split=split)
    frame = index_of(data)
    wanted = frame if split == "all" else frame[frame["split"] == split]
    seen = [name for batch in data.predict_dataloader() for name in batch["id"]]
    assert seen == wanted["id"].tolist() and len(seen) == {"train": 4, "all": 8}.get(split, 2)


def test_error_predict_of_a_folder_and_a_split(root: Path) -> None:
    with pytest.raises(UserError, match=r"data\.predict_split .*data\.folder"):
        make(root, folder=str(root), predict_split="all")
