"""Pairs as the hub has them: Parquet shards, what `datasets` saved, and names that begin with hf://."""

from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image

from data_modules.errors import UserError
from data_modules.images.source import image_source
from data_modules.index.hub_folder import local_folder
from data_modules.pairs import PairsDataModule

NAME = "hf://datasets/owner/films@v1"


def split(names: list[str], grey: int) -> datasets.Dataset:
    rows: dict[str, list[Any]] = {
        "caption": names,
        "patient": [f"p{name}" for name in names],
        "grade": [1] * len(names),
    }
    rows["image"] = [Image.fromarray(np.full((8, 8), grey + place, np.uint8)) for place in range(len(names))]
    return datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())


def films() -> datasets.DatasetDict:
    return datasets.DatasetDict(train=split(["a a a", "b b b", "c c c"], 10), test=split(["d d d"], 20))


def parquet(folder: Path) -> None:
    for name, part in films().items():
        part.to_parquet(folder / f"{name}-00000-of-00001.parquet")


def saved(folder: Path) -> None:
    films().save_to_disk(folder)


FORMS = pytest.mark.parametrize("form", [parquet, saved])


@FORMS
def test_value_rows_texts_and_pixels(form: Any, tmp_path: Path) -> None:
    form(tmp_path)
    frame = PairsDataModule(root=str(tmp_path), label_columns=["grade"]).read_index()
    frame = frame.sort_values("text")  # files are read in the order of their names
    assert frame["split"].tolist() == ["train"] * 3 + ["test"]
    assert frame["text"].tolist() == ["a a a", "b b b", "c c c", "d d d"]
    assert frame["patient"].tolist() == ["pa a a", "pb b b", "pc c c", "pd d d"]
    assert frame["id"].tolist() == ["train/1", "train/2", "train/3", "test/1"]
    assert [int(image_source(name).read()[0, 0]) for name in frame["image"]] == [10, 11, 12, 20]


def test_value_a_row_without_a_text_shifts_no_image(tmp_path: Path) -> None:
    datasets.DatasetDict(train=split(["a a a", "", "c c c"], 10)).save_to_disk(tmp_path)
    frame = PairsDataModule(root=str(tmp_path)).read_index()
    assert [int(image_source(name).read()[0, 0]) for name in frame["image"]] == [10, 12]


def test_value_one_saved_table_has_no_split(tmp_path: Path) -> None:
    split(["a a a", "b b b"], 10).save_to_disk(tmp_path)
    frame = PairsDataModule(root=str(tmp_path)).read_index()
    assert "split" not in frame and frame["id"].tolist() == ["all/1", "all/2"]
    assert [int(image_source(name).read()[0, 0]) for name in frame["image"]] == [10, 11]


def test_value_a_column_may_be_empty_in_a_split(tmp_path: Path) -> None:
    parquet(tmp_path)
    part = split(["e e e"], 30).remove_columns("grade").add_column("grade", [None])
    part.to_parquet(tmp_path / "val-00000-of-00001.parquet")
    frame = PairsDataModule(root=str(tmp_path), label_columns=["grade"]).read_index().set_index("id")
    assert np.isnan(frame.loc["val/1", "grade"]) and frame.loc["test/1", "grade"] == 1
    assert int(image_source(frame.loc["val/1", "image"]).read()[0, 0]) == 30


def test_bad_columns_differ_between_splits(tmp_path: Path) -> None:
    parquet(tmp_path)
    split(["e e e"], 30).rename_column("caption", "note").to_parquet(tmp_path / "val-00000-of-00001.parquet")
    with pytest.raises(
        UserError, match=r"found columns note, patient, grade, image in split val, expected image and the"
    ):
        PairsDataModule(root=str(tmp_path)).read_index()


def test_value_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path)
    asked: list[tuple[str, str, str | None]] = []

    def download(name: str, *, repo_type: str, revision: str | None) -> str:
        asked.append((name, repo_type, revision))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    local_folder.cache_clear()
    module = PairsDataModule(root=NAME)
    assert not asked, "nothing is downloaded before it is read"
    assert len(module.read_index()) == 4
    assert asked == [("owner/films", "dataset", "v1")]
    local_folder.cache_clear()


def test_bad_name_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="found hf://owner/films, expected hf://datasets/<owner>/<name> or a folder"):
        local_folder("hf://owner/films")

    def offline(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(
        UserError, match=r"hf://datasets/owner/films@v1: cannot be downloaded \(.*no connection.*\); correct"
    ):
        local_folder(NAME)
