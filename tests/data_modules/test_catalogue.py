"""Every data set of the catalogue, on its phantom: checked without a false alarm, prepared, and read alike."""

import inspect
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules.base import DataModule
from data_modules.catalogue import DATA_MODULES, data_module
from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.images.transforms import Augment
from data_modules.phantom import write_phantom
from data_modules.prepare import Options, prepare
from data_modules.text.from_labels import wordings
from data_modules.text.tokenizer import TextOptions

WARNED = {
    "vqa_rad": {"frame questions"},
    "chestx_det": {"class without a positive"},
    "chexpert": {"class without a positive"},
    "cxr_lt": {"class without a positive"},
    "nih_chestxray14": {"class without a positive"},
    "ms_cxr_t": {"class without a positive"},
    "padchest": {"class without a positive"},
    "vindr_cxr": {"class without a positive"},
}
"""What is officially wrong is part of the layout; the phantom plants some of the official classes."""
ARGUMENTS: dict[str, dict[str, Any]] = {
    "annotated": {"masks": "masks", "mask_class": "Cardiomegaly", "boxes": "boxes.json", "table": "metadata.csv"},
}
OF_MIMIC = ("cxr_lt", "ms_cxr", "ms_cxr_t")
"""Sets whose images are those of MIMIC-CXR-JPG."""
SHORT_SIDE = 64
FROM_LABELS = TextOptions(vocab_size=600, from_labels=True)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("catalogue_phantom")
    write_phantom(out, patients=40, seed=9, size=96, workers=1, layouts="all")
    return out


def make(name: str, root: Path, **options: Any) -> DataModule:
    text = TextOptions(max_tokens=32, vocab_size=400, min_tokens=1, min_count=1)
    options = ARGUMENTS.get(name, {}) | options
    augment = Augment(short_side=SHORT_SIDE)
    return data_module(name).from_root(root, image_size=32, num_workers=0, text=text, augment=augment, **options)


@pytest.mark.parametrize("name", sorted(DATA_MODULES))
def test_value_checked_prepared_and_read_alike(name: str, phantom: Path, tmp_path: Path) -> None:
    root = phantom if name == "mimic_cxr" else phantom / "layouts" / name
    store = tmp_path / "store"
    raw = {"image_root": str(phantom / "mimic-cxr-jpg")} if name in OF_MIMIC else {}
    there = {key: {"image_root": str(store)} for key in OF_MIMIC}
    there["mimic_cxr"] = {"report_root": str(phantom / "mimic-cxr")}
    result = check(name, root, make(name, root, **raw), decode_all=True)
    kinds = {finding.kind for finding in result.findings if finding.severity != "info"}
    assert not result.failed and kinds == WARNED.get(name, set())
    prepare(make(name, root, **raw), store, Options(SHORT_SIDE, "raw"), workers=1)
    files, prepared = make(name, root, **raw), make(name, store, **there.get(name, {}))
    for data in (files, prepared):
        data.setup()
    evaluated = "test" if files.spec.counts["test"] else "val"  # CheXpert Plus has no test split
    assert files.spec == prepared.spec and files.spec.counts[evaluated] > 0
    left, right = files.samples(evaluated), prepared.samples(evaluated)
    for i in range(0, len(left), 3):
        for key, value in left[i].items():
            other = right[i][key]
            same = torch.equal(value.nan_to_num(9), other.nan_to_num(9)) if torch.is_tensor(value) else value == other
            assert same, key


@pytest.mark.parametrize("name", sorted(DATA_MODULES))
def test_value_every_argument_of_its_own_is_compared_with_that_of_a_store(name: str) -> None:
    kind = data_module(name)
    own = {argument for argument in inspect.signature(kind).parameters if not argument.endswith("root")}
    own -= {"common", *inspect.signature(DataModule).parameters}

    class Derived(kind):  # type: ignore[misc, valid-type]
        def __init__(self, extra: int = 3, **common: Any) -> None:
            super().__init__(**common)
            self.extra = extra

    raw = {"masks": "masks"} if name == "annotated" else {"image_root": "none"} if name in OF_MIMIC else {}
    options = kind.from_root(Path("none"), **raw).index_options()
    assert options.keys() == (own - {*kind.sampling_options}) | {"text.min_tokens"}
    assert kind.sampling_options == (("study_sampling",) if name in ("mimic_cxr", "web_shards") else ())
    assert Derived.from_root(Path("none"), **raw).index_options() == {**options, "extra": 3}


def test_value_a_default_of_its_own_and_common_arguments_reach_the_base() -> None:
    roco, slake = (data_module(name).from_root(Path("none"), seed=3, batch_size=5) for name in ("roco", "slake"))
    assert roco.max_missing == 1.0 and slake.max_missing == 0.0
    assert slake.text == TextOptions(max_tokens=32, min_tokens=1) and roco.text == TextOptions()
    assert (roco.seed, roco.batch_size, slake.seed, slake.batch_size) == (3, 5, 3, 5)
    with pytest.raises(TypeError, match="batchsize"):
        data_module("roco").from_root(Path("none"), batchsize=5)


LABEL_ONLY: dict[str, dict[str, Any]] = {
    "chexpert": {},
    "nih_chestxray14": {},
    "rsna_pneumonia": {},
    "siim_pneumothorax": {},
    "covidx": {},
    "covidx CXR-4": {"version": "CXR-4"},
    "mimic_cxr": {},
}


@pytest.mark.parametrize("name", LABEL_ONLY)
def test_value_texts_from_labels_of_every_label_only_set(name: str, phantom: Path) -> None:
    known = name.split()[0]
    root = phantom if known == "mimic_cxr" else phantom / "layouts" / known
    if known == "mimic_cxr":
        options: dict[str, Any] = {"image_root": str(root / "mimic-cxr-jpg"), "report_root": None}
        data = data_module(known)(**options, image_size=32, num_workers=0, text=FROM_LABELS)
    else:
        data = data_module(known).from_root(root, image_size=32, num_workers=0, text=FROM_LABELS, **LABEL_ONLY[name])
    data.setup()
    assert data.spec.texts_from_labels == sum(data.spec.counts.values()) > 0 and data.spec.tokenizer is not None
    dataset = data.samples("test")
    for i in range(len(dataset)):
        sample = dataset[i]
        for label, value in zip(data.label_names, sample["labels"].tolist(), strict=True):
            said = any(sentence in sample["text"] for sentence in wordings(label)[value != 1])
            assert math.isnan(value) != said, (label, value, sample["text"])
        assert data.tokenizer is not None and data.tokenizer.unk_id not in sample["input_ids"]


@pytest.mark.parametrize("name", ["roco", "vqa_rad", "slake", "ms_cxr"])
def test_error_texts_from_labels_of_a_set_without_labels(name: str, phantom: Path) -> None:
    more = {"image_root": str(phantom / "mimic-cxr-jpg")} if name in OF_MIMIC else {}
    options: dict[str, Any] = {"image_size": 32, "num_workers": 0, "text": FROM_LABELS, **more}
    data = data_module(name).from_root(phantom / "layouts" / name, **options)
    with pytest.raises(UserError, match=r"data\.text\.from_labels is true, but the data have no labels"):
        data.setup()


def test_value_every_set_of_the_catalogue_is_in_the_page_of_data_sets() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data_sets.md").read_text()
    assert sorted(re.findall(r"^\| \[`(\w+)`\]\(data_sets/\1\.md\) \|", page, re.MULTILINE)) == sorted(DATA_MODULES)
