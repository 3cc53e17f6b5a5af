"""Texts written from labels: wordings by hand, draws by the seed, and every label-only set of the catalogue."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_modules.base import DataModule
from data_modules.corpora import CorporaDataModule
from data_modules.errors import UserError
from data_modules.text.from_labels import wordings, write_texts, written
from data_modules.text.tokenizer import TextOptions

NAN = math.nan
NAMES = ["Pleural_Thickening", "COVID-19", "No Finding"]


class Labelled(DataModule):
    """A data set of labels alone, or with the texts of ``frame``."""

    def __init__(self, frame: pd.DataFrame, labels: tuple[str, ...] = ("Edema", "Mass"), **options: Any) -> None:
        text = TextOptions(vocab_size=300, max_tokens=64, from_labels=True)
        settings: dict[str, Any] = {"num_workers": 0, "batch_size": 4, "text": text, **options}
        super().__init__(**settings)
        self.frame, self.label_names = frame, list(labels)

    def read_index(self) -> pd.DataFrame:
        return self.frame.copy()


def rows(count: int = 40, **columns: Any) -> pd.DataFrame:
    names = [f"s{n:02d}" for n in range(count)]
    labels = {"Edema": [float(n % 2) for n in range(count)], "Mass": [NAN if n % 3 else 1.0 for n in range(count)]}
    return pd.DataFrame({"id": names, "patient": names, "study": names, **labels, **columns})


def test_value_wordings_by_hand() -> None:
    present, absent = wordings("Pleural_Thickening")
    assert present[0] == "Pleural thickening." and "Positive for pleural thickening." in present
    assert absent[0] == "No pleural thickening." and "No evidence of pleural thickening." in absent
    assert wordings("COVID-19")[0][1] == "Findings of COVID-19." and wordings("No Finding")[0][0] == "No abnormality."
    assert wordings("normal")[1] == wordings("No Finding")[1]
    assert min(map(len, (present, absent, *wordings("normal")))) >= 3


def test_value_a_sentence_for_every_known_label() -> None:
    assert written(NAMES, [1, 0, NAN], None) == "Pleural thickening. No COVID-19."
    assert written(NAMES, [NAN, NAN, 0], None) == "There is an abnormality."
    assert written(NAMES, [NAN] * 3, None) == written(NAMES, [NAN] * 3, 5) == ""
    drawn = {written(NAMES, [1, 0, NAN], seed) for seed in range(300)}
    sides = [wordings("Pleural_Thickening")[0], wordings("COVID-19")[1]]
    both = {f"{a} {b}" for a in sides[0] for b in sides[1]} | {f"{b} {a}" for a in sides[0] for b in sides[1]}
    assert drawn == both and written(NAMES, [1, 0, NAN], 7) == written(NAMES, [1, 0, NAN], 7)


@given(st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=3, max_size=3), st.integers(-(2**63), 2**63 - 1))
def test_value_no_label_is_lost_or_turned(labels: list[float], seed: int) -> None:
    left = written(NAMES, labels, seed)
    for name, value in zip(NAMES, labels, strict=True):
        present, absent = wordings(name)
        said = [sentence in left for sentence in (present if value == 1 else absent)]
        assert any(said) != math.isnan(value)


def test_value_training_rewords_every_epoch_and_evaluation_never() -> None:
    data = Labelled(rows())
    data.setup()
    train, test = data._datasets["train"], data._datasets["test"]
    texts = [[train[epoch, i]["text"] for i in range(len(train))] for epoch in (0, 1)]
    again = Labelled(rows())
    again.setup()
    assert texts[1] == [again._datasets["train"][1, i]["text"] for i in range(len(train))] != texts[0]
    assert test[0]["text"] == data.samples("test")[0]["text"]
    for i in range(len(train)):
        sample = train[3, i]
        for name, value in zip(("Edema", "Mass"), sample["labels"].tolist(), strict=True):
            assert math.isnan(value) != any(sentence in sample["text"] for sentence in wordings(name)[value != 1])
    assert data.tokenizer is not None and data.tokenizer.unk_id not in train[0]["input_ids"]


def test_value_equal_labels_are_one_group_and_the_record_says_where_the_texts_are_from() -> None:
    data = Labelled(rows())
    data.setup()
    assert data.index is not None
    by_labels = data.index.fillna(-1).groupby(["Edema", "Mass"])["group"].nunique()
    assert (by_labels == 1).all() and data.index["group"].nunique() == 4
    assert data.spec.texts_from_labels == 40 and any("written from labels" in note for note in data.spec.notes)
    without = Labelled(rows(), text=TextOptions())
    without.setup()
    assert without.spec.texts_from_labels == 0 and without.index is not None and "text" not in without.index
    assert without.index["split"].tolist() == data.index["split"].tolist(), "texts do not decide the split"


def test_value_own_texts_stay_and_rows_without_a_known_label_are_counted() -> None:
    frame = rows(6, text=["Own report of mine.", None, "", " ", None, None])
    frame.loc[4:, ["Edema", "Mass"]] = np.nan
    kept, lost = write_texts(frame, ["Edema", "Mass"], "Set")
    assert kept["text"].tolist() == ["Own report of mine.", "Edema.", "No edema.", "Edema. Mass."] and lost == 2
    assert kept["text_from_labels"].tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (lambda: Labelled(rows(), labels=()), "Labelled: data.text.from_labels is true, but the data have no labels"),
        (lambda: Labelled(rows(4, text="A report of its own.")), "all 4 samples have texts of their own; leave it out"),
    ],
)
def test_error_without_labels_or_with_texts(data: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        data().setup()


def test_value_only_the_samples_of_a_corpus_without_texts_are_written() -> None:
    plain = TextOptions(vocab_size=300, max_tokens=64)
    own = rows(20, text="A report of its own.").drop(columns=["Mass"])
    corpora: dict[str, DataModule] = {
        "labels": Labelled(rows(20), text=plain), "reports": Labelled(own, ("Edema",), text=plain)
    }  # fmt: skip
    data = CorporaDataModule(corpora, num_workers=0, batch_size=4, text=TextOptions(vocab_size=300, from_labels=True))
    data.setup()
    assert data.index is not None and data.spec.texts_from_labels == 20 and sum(data.spec.counts.values()) == 40
    texts = data.index.set_index("id")["text"]
    assert texts["labels/s01"] == "Edema." and texts["reports/s01"] == "A report of its own."
