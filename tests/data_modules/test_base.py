"""What every data set inherits: groups, splits, exclusion, the manifest hash, tokeniser hand-over, predict."""

import io
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from data_modules.base import DataModule
from data_modules.contract import DataRequest
from data_modules.errors import UserError
from data_modules.index.groups import connected_groups
from data_modules.index.hashing import stable_hash
from data_modules.text.tokenizer import TextOptions, Tokenizer

TEXT = TextOptions(max_tokens=16, vocab_size=300, min_count=1)


class Frame(DataModule):
    """A data set given as a frame."""

    def __init__(self, frame: pd.DataFrame | None = None, labels: tuple[str, ...] = (), **options: Any) -> None:
        settings: dict[str, Any] = {"num_workers": 0, "batch_size": 4, "text": TEXT, **options}
        super().__init__(**settings)
        self.frame, self.label_names = frame, list(labels)
        self.reads = 0

    def read_index(self) -> pd.DataFrame:
        self.reads += 1
        assert self.frame is not None
        return self.frame.copy()


def texts(count: int = 40, **columns: Any) -> pd.DataFrame:
    names = [f"s{n}" for n in range(count)]
    patients = [f"p{n // 2}" for n in range(count)]
    text = [f"Report of case number {n}." for n in range(count)]
    return pd.DataFrame({"id": names, "patient": patients, "study": names, "text": text, **columns})


class Task(lightning.LightningModule):
    """A task that only returns what it got; ``asks`` are the fields of its request."""

    def __init__(self, **asks: Any) -> None:
        super().__init__()
        self.request = DataRequest(**asks)

    def data_request(self) -> DataRequest:
        return self.request

    def predict_step(self, batch: dict[str, Any], index: int) -> dict[str, Any]:
        return batch


def trainer(**options: Any) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, use_distributed_sampler=False, **options
    )


def test_smoke() -> None:
    data = Frame(texts())
    data.setup("fit")
    data.setup("test")
    assert data.reads == 1 and data.spec is not None and sum(data.spec.counts.values()) == 40
    assert data.summary().startswith("Frame: train ")


def test_value_drawn_split_is_by_patient_study_and_text() -> None:
    frame = texts(400)
    frame.loc[[10, 20], "text"] = "Normal chest, no change."
    frame.loc[21, "text"] = " normal CHEST   no change"
    data = Frame(frame)
    data.setup()
    assert data.index is not None
    splits = data.index.set_index("id")["split"]
    assert (data.index.groupby("patient")["split"].nunique() == 1).all()
    assert splits["s10"] == splits["s20"] == splits["s21"] == splits["s11"]
    assert 0.7 < (splits == "train").mean() < 0.9 and set(splits) == {"train", "val", "test"}
    again, other = Frame(frame.sample(frac=1, random_state=0)), Frame(frame, seed=1)
    again.setup()
    other.setup()
    assert again.index is not None and other.index is not None
    assert again.index.set_index("id")["split"].sort_index().equals(splits.sort_index())
    assert not other.index.set_index("id")["split"].sort_index().equals(splits.sort_index())


def test_value_groups() -> None:
    frame = pd.DataFrame(
        {
            "id": list("abcdef"),
            "study": ["1", "1", "2", "3", None, None],
            "text": ["No effusion.", "x", "no EFFUSION", "y", None, ""],
        }
    )
    groups = connected_groups(frame, ("study", "text"))
    assert groups[0] == groups[1] == groups[2] == stable_hash("group", "a")
    assert groups.nunique() == 4 and groups.dtype == "int64"
    frame["patient"] = ["p2", "p1", None, 7, "", None]
    named = connected_groups(frame, ("study", "text"), "patient")
    assert named.tolist() == [stable_hash("group", name) for name in ("p1", "p1", "p1", 7, "e", "f")]


def test_value_exclusion(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(["p0", "p1"]))
    (tmp_path / "b.txt").write_text("# patients\np1\n p2 # twice\n")
    data = Frame(texts(), exclude=[str(tmp_path / "a.json"), str(tmp_path / "b.txt")])
    data.setup()
    assert data.index is not None
    assert not set(data.index["patient"]) & {"p0", "p1", "p2"} and data.spec.dropped == {"excluded patient": 6}
    with pytest.raises(UserError, match=r"c\.txt: exclusion manifest not found"):
        Frame(texts(), exclude=[str(tmp_path / "c.txt")]).setup()
    (tmp_path / "a.json").write_text("[1, ")
    with pytest.raises(UserError, match=r"a\.json: found broken JSON"):
        Frame(texts(), exclude=[str(tmp_path / "a.json")]).setup()


def test_value_manifest_hash() -> None:
    def digest(frame: pd.DataFrame) -> str:
        data = Frame(frame, ("sick",))
        data.setup()
        return data.spec.manifest_hash

    frame = texts(sick=1.0)
    assert digest(frame) == digest(frame.iloc[::-1])
    changed = [frame.assign(sick=0.0), frame.iloc[:-2], frame.assign(split="train")]
    assert len({digest(frame), *map(digest, changed)}) == 4


class Passing(Frame):
    passed_on: ClassVar[Any] = {"age": "float", "site": "str", "urgent": "bool"}


def test_value_declared_columns_reach_the_batch_and_the_hash() -> None:
    columns = {"split": ["train"] * 4 + ["val"] * 4, "patient": [f"p{n}" for n in range(8)]}
    frame = texts(8, **columns, age=[*range(4, 11), None], site=["a", None] * 4, urgent=["1", "False"] * 4, other=1)
    data = Passing(frame)
    data.setup()
    batch = next(iter(data.val_dataloader()))
    assert batch["age"].dtype == torch.float32 and batch["age"][:3].tolist() == [8, 9, 10] and batch["age"][3].isnan()
    assert (batch["site"], batch["urgent"]) == (["a", ""] * 2, [True, False] * 2) and "other" not in batch
    assert data.spec.passed_on == Passing.passed_on
    same, plain = Passing(frame.assign(age=frame["age"].astype(str), other=2)), Frame(frame)
    digests = [data.spec.manifest_hash]
    for other in (same, plain, *(Passing(frame.assign(**{name: 1})) for name in Passing.passed_on)):
        other.setup()
        digests.append(other.spec.manifest_hash)
    assert digests[0] == digests[1] and len(set(digests)) == 5


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"age": "old"}, "sample s0: found 'old' in column age, expected a number or blank"),
        ({"urgent": None}, "sample s0: found None in column urgent, expected True or False"),
        ({}, "found no column site, expected one, as passed_on of the data module declares it"),
    ],
)
def test_error_declared_columns(column: dict[str, Any], message: str) -> None:
    frame = texts(4, age=1, site="a", urgent=True).assign(**column)
    with pytest.raises(UserError, match=message):
        Passing(frame if column else frame.drop(columns="site")).setup()


def test_error_a_declared_name_that_the_batch_has() -> None:
    data = Frame(texts(4))
    data.passed_on = {"patient": "str"}
    with pytest.raises(ValueError, match="key of Batch"):
        data.setup()


def test_value_seed_follows_from_epoch_and_id() -> None:
    data = Frame(texts(split="train"), seed=5)
    data.setup()
    sample = data._datasets["train"][3, 7]
    assert int(sample["seed"]) == stable_hash(5, 3, sample["id"])


def test_value_unknown_labels_are_nan() -> None:
    data = Frame(texts(4, split="train", sick=[1.0, 0.0, np.nan, 1.0]), ("sick",))
    data.setup()
    labels = next(iter(data.train_dataloader()))["labels"][:, 0]
    assert labels.isnan().sum() == 1 and labels.nansum() == 2


def test_value_the_tokeniser_of_a_checkpoint_is_used() -> None:
    carried = Tokenizer.train(["quite another text"], 250, 1).to_json()
    for given in (carried, None):
        data = Frame(texts())
        data.trainer = trainer()
        data.trainer.strategy._lightning_module = Task(tokenizer=given)
        data.setup()
        assert (data.spec.tokenizer == carried) is (given is not None)


def test_value_predict_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b.png", "in/c.jpg", "a.PNG"):
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / name, format="PNG")
    (tmp_path / "notes.txt").write_text("x")
    data = Frame(folder=str(tmp_path), batch_size=2)
    batches: Any = trainer().predict(Task(crop_size=24), data)
    assert [name for batch in batches for name in batch["id"]] == ["a.PNG", "b.png", "in/c.jpg"]
    assert batches[0]["image"].shape == (2, 1, 24, 24) and data.spec is not None and data.spec.image_size == 24
    assert "text" not in batches[0] and "labels" not in batches[0]


def test_value_predict_without_folder_is_the_test_split() -> None:
    data = Frame(texts(9, split=["train"] * 4 + ["test"] * 5, patient=[f"p{n}" for n in range(9)]), batch_size=2)
    batches: Any = trainer().predict(Task(), data)
    assert [name for batch in batches for name in batch["id"]] == ["s4", "s5", "s6", "s7", "s8"]


def test_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no image, expected files ending in"):
        Frame(folder=str(tmp_path)).setup("predict")
    with pytest.raises(UserError, match="folder not found"):
        Frame(folder=str(tmp_path / "x")).setup("predict")
    with pytest.raises(UserError, match="found patient p0 in test and train"):
        Frame(texts(4, split=["train", "test", "train", "train"])).setup()
    with pytest.raises(UserError, match="found sample id 's0' twice"):
        Frame(pd.concat([texts(4), texts(1)])).setup()
    with pytest.raises(UserError, match=r"Frame: found no usable sample \(none was listed\)"):
        Frame(texts(4).iloc[:0]).setup()
    small = Frame(texts(3, split="train"))
    small.setup()
    with pytest.raises(UserError, match=r"found 3 training samples, expected at least one global batch of 4 x 1"):
        small.train_dataloader()


def test_value_spec_is_plain() -> None:
    data = Frame(texts())
    data.setup()
    buffer = io.BytesIO()
    torch.save(vars(data.spec), buffer)
    buffer.seek(0)
    assert torch.load(buffer, weights_only=True) == vars(data.spec)


@pytest.mark.parametrize(("modalities", "unread"), [(("text",), "image"), (("image",), "input_ids")])
def test_value_only_what_the_task_encodes_is_read(tmp_path: Path, modalities: tuple[str, ...], unread: str) -> None:
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "a.png")
    columns = {"split": ["train"] * 4 + ["test"] * 5, "patient": [f"p{n}" for n in range(9)]}
    data = Frame(texts(9, image=str(tmp_path / "a.png"), **columns), batch_size=2, image_size=24)
    batches: Any = trainer().predict(Task(modalities=modalities), data)
    assert {"image", "input_ids"} - set(batches[0]) == {unread}


def test_value_sentences_are_dropped_in_training_only() -> None:
    frame = texts(8, split=["train"] * 4 + ["val"] * 2 + ["test"] * 2, patient=[f"p{n}" for n in range(8)])
    frame["text"] += " No effusion. Normal heart. Clear lungs. No fracture."
    data = Frame(frame, batch_size=4, text=replace(TEXT, sentence_dropout=0.5))
    data.setup()
    trained = next(iter(data.train_dataloader()))["text"]
    assert 0 < sum(map(len, trained)) < sum(map(len, frame["text"][:4]))
    assert next(iter(data.val_dataloader()))["text"] == list(frame["text"][4:6])


def test_value_length_window_sorts_what_training_shows() -> None:
    """Lengths are those after sentences were dropped, so a window's batches do not overlap in length."""
    frame = texts(32, split=["train"] * 24 + ["val"] * 4 + ["test"] * 4, patient=[f"p{n}" for n in range(32)])
    frame["text"] += [" No effusion. Normal heart. Clear lungs." * (n % 6) for n in range(32)]
    data = Frame(frame, batch_size=4, text=replace(TEXT, sentence_dropout=0.5, length_window=6))
    data.setup()
    spans = sorted((min(map(len, b["text"])), max(map(len, b["text"]))) for b in data.train_dataloader())
    assert len(spans) == 6 and all(last <= first for (_, last), (first, _) in pairwise(spans))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"batch_size": 0}, "data.batch_size is 0; expected at least 1"),
        ({"num_workers": -1}, "data.num_workers is -1; expected 0 or more"),
        ({"image_size": 0}, "data.image_size is 0"),
        ({"channels": 2}, "data.channels is 2; expected 1 or 3"),
        ({"max_missing": 1.5}, "data.max_missing is 1.5; expected 0 to 1"),
        ({"text": TextOptions(sentence_dropout=1.0)}, "data.text.sentence_dropout is 1.0"),
        ({"text": TextOptions(length_window=-1)}, "data.text.length_window is -1; expected 0 or more"),
    ],
)
def test_error_numbers_out_of_range(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        Frame(texts(), **options)
