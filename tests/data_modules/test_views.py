"""Several images of a sample: the lateral one and the prior, found by date and time, read, prepared and counted."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.images.transforms import Augment
from data_modules.index.views import one_row_an_image, prior_studies, study_times
from data_modules.loading.loader import collate
from data_modules.mimic_cxr import MIMICCXRDataModule
from data_modules.prepare import Options, prepare
from data_modules.text.tokenizer import TextOptions

SUBJECT, OTHER = "10000001", "10000002"
FILMS = [
    # image, patient, study, view, date, time, split
    ("a-pa", SUBJECT, "50000009", "PA", "21000101", "101010.000", "train"),  # the first, of the largest id
    ("b-lat", SUBJECT, "50000005", "LATERAL", "21000201", "101010.000", "train"),  # lateral only: no sample, no prior
    ("c-ap", SUBJECT, "50000004", "AP", "21000301", "91010.5", "train"),  # 09:10:10.5, its zero is lost
    ("c-lat", SUBJECT, "50000004", "LL", "21000301", "91010.5", "train"),
    ("d-pa", SUBJECT, "50000003", "PA", "21000301", "101010.000", "train"),  # the same day, later
    ("d-pa2", SUBJECT, "50000003", "PA", "21000301", "101011.000", "train"),
    ("e-pa", SUBJECT, "50000002", "PA", "21000301", "", "train"),  # the same day, at an unknown time
    ("f-pa", SUBJECT, "50000001", "PA", "21000401", "101010.000", "train"),
    ("g-pa", SUBJECT, "50000000", "PA", "21000401", "101010.000", "train"),  # the same moment as f
    ("h-pa", OTHER, "50000011", "PA", "20990101", "101010.000", "test"),  # another patient is nobody's prior
    ("i-pa", OTHER, "50000012", "PA", "", "101010.000", "test"),
]
PRIOR = {"c-ap": "a-pa", "d-pa": "c-ap", "d-pa2": "c-ap", "e-pa": "a-pa", "f-pa": "d-pa", "g-pa": "d-pa"}
LATERAL = {"c-ap": "c-lat"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    jpg = tmp_path / "jpg"
    for number, (name, patient, study, *_) in enumerate(FILMS):
        path = path_of(jpg, name, patient, study)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 40), 10 + 20 * number, np.uint8)).save(path, quality=100)
    frame = pd.DataFrame(
        FILMS, columns=["dicom_id", "subject_id", "study_id", "ViewPosition", "StudyDate", "StudyTime", "split"]
    )
    frame[["dicom_id", "study_id", "subject_id", "split"]].to_csv(jpg / "mimic-cxr-2.0.0-split.csv", index=False)
    frame.drop(columns="split").to_csv(jpg / "mimic-cxr-2.0.0-metadata.csv", index=False)
    return jpg


def path_of(jpg: Path, name: str, patient: str, study: str) -> Path:
    return jpg / "files" / f"p{patient[:2]}" / f"p{patient}" / f"s{study}" / f"{name}.jpg"


def gray(name: str) -> int:
    return 10 + 20 * [film[0] for film in FILMS].index(name)


def make(root: Path, **options: Any) -> MIMICCXRDataModule:
    settings: dict[str, Any] = {"labels": [], "image_size": 32, "num_workers": 0, "batch_size": 2, **options}
    data = MIMICCXRDataModule(image_root=str(root), **settings)
    data.setup()
    return data


def test_value_prior_and_lateral_by_date_and_time(root: Path) -> None:
    data = make(root, views="with_prior")
    assert data.index is not None
    index = data.index.set_index("id")
    assert index["prior_id"].dropna().to_dict() == PRIOR
    assert index["lateral_id"].dropna().to_dict() == LATERAL
    assert data.spec.views == ["lateral", "prior"] and data.spec.dropped == {"view": 2}
    told = "\n".join(data.spec.notes)
    assert "of 9 samples, 1 have a lateral image, 6 have a prior image" in told
    assert "2 of 9 studies have no StudyDate or StudyTime" in told
    lateral = make(root, views="frontal_lateral")
    assert lateral.index is not None and "prior" not in lateral.index and lateral.spec.views == ["lateral"]
    assert lateral.index.set_index("id")["lateral_id"].dropna().to_dict() == LATERAL
    assert lateral.spec.manifest_hash == data.spec.manifest_hash == make(root).spec.manifest_hash, "the same samples"


def test_value_one_view_is_what_it_was(root: Path) -> None:
    plain, word = make(root), make(root, views="one")
    assert plain.index_options() == word.index_options() and plain.spec == word.spec and plain.spec.views == []
    left, right = (data.samples("train")[0] for data in (plain, word))
    assert left.keys() == right.keys() and not {"views", "view_kinds"} & left.keys()


def test_value_samples_show_the_images_of_their_views(root: Path) -> None:
    samples = make(root, views="with_prior").samples("train")
    batch = collate([samples[i] for i in range(len(samples))])
    assert batch["views"].shape == (7, 2, 1, 32, 32) and batch["views"].dtype == torch.uint8
    for row, name in enumerate(batch["id"]):
        assert batch["image"][row].float().mean().item() == pytest.approx(gray(name), abs=1)
        for place, known in enumerate((LATERAL, PRIOR)):
            value = batch["views"][row, place].float().mean().item()
            assert value == pytest.approx(gray(known[name]) if name in known else 0, abs=1)
            assert batch["view_kinds"][row, place] == (place + 1 if name in known else 0)


def test_value_views_of_a_sample_are_augmented_alike(root: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    for name, patient, study, *_ in FILMS:
        Image.fromarray(pixels).save(path_of(root, name, patient, study).with_suffix(".png"))
        path_of(root, name, patient, study).unlink()
    augment = Augment(crop_scale=(0.3, 0.5))
    train = make(root, views="with_prior", augment=augment, study_sampling="all")._datasets["train"]
    sample = train[3, 5]
    assert sample["id"] == "c-ap" and sample["view_kinds"].tolist() == [1, 2]
    assert torch.equal(sample["views"][0], sample["image"]) and torch.equal(sample["views"][1], sample["image"])
    assert not torch.equal(sample["image"], train[4, 5]["image"])


def test_value_prepared_and_read_alike(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    prepare(
        MIMICCXRDataModule(image_root=str(root), labels=[], views="with_prior"), store, Options(32, "raw"), workers=1
    )
    augment = Augment(short_side=32)
    files, prepared = make(root, views="with_prior", augment=augment), make(store, views="with_prior", augment=augment)
    assert files.spec == prepared.spec
    left, right = files.samples("train"), prepared.samples("train")
    for i in range(len(left)):
        assert torch.equal(left[i]["views"], right[i]["views"])
        assert torch.equal(left[i]["view_kinds"], right[i]["view_kinds"])
    data = MIMICCXRDataModule(image_root=str(store), labels=[], views="with_prior")
    assert not check("mimic_cxr", store, data, decode_all=True).failed
    with pytest.raises(UserError, match=r"was prepared with views 'with_prior', found data\.views \['PA', 'AP'\]"):
        make(store)


def test_value_missing_views(root: Path) -> None:
    path_of(root, "c-lat", SUBJECT, "50000004").unlink()
    with pytest.raises(UserError, match=r"1 of 1 lateral images are absent \(first: .*c-lat\.jpg of sample c-ap\)"):
        make(root, views="with_prior")
    images = [root / "files" / "p10" / f"p{SUBJECT}" / "s50000005" / "b-lat.jpg"]
    assert all(path.is_file() for path in images)
    path_of(root, "a-pa", SUBJECT, "50000009").unlink()
    shutil.copy(images[0], path_of(root, "c-lat", SUBJECT, "50000004"))
    with pytest.raises(UserError, match=r"data\.max_missing"):
        make(root, views="with_prior", max_missing=0.2)
    data = make(root, views="with_prior", max_missing=0.5)
    assert data.index is not None and "a-pa" not in set(data.index["id"])
    known = {name: prior for name, prior in PRIOR.items() if prior != "a-pa"}
    assert data.index.set_index("id")["prior_id"].dropna().to_dict() == known
    assert any("2 of 6 prior images are absent: their samples go without" in note for note in data.spec.notes)


def test_value_check_looks_for_lateral_images_too(root: Path) -> None:
    for name, patient, study, view, *_ in FILMS:
        if view in ("LATERAL", "LL"):
            path_of(root, name, patient, study).unlink()
    one = MIMICCXRDataModule(image_root=str(root), labels=[])
    assert not check("mimic_cxr", root, one).failed
    both = check("mimic_cxr", root, MIMICCXRDataModule(image_root=str(root), labels=[], views="frontal_lateral"))
    assert both.failed and any(finding.kind == "missing image" for finding in both.findings)


def test_value_times_and_candidates() -> None:
    columns = ["patient", "study", "StudyDate", "StudyTime"]
    films = [("p", "x", "21000101", "10"), ("p", "x", "21000101", "5"), ("p", "y", "21000101", "7.25")]
    times = study_times(pd.DataFrame([*films, ("p", "z", "2100", "250000")], columns=columns))
    assert times["time"].dropna().to_dict() == {"x": 5.0, "y": 7.25} and times["date"].isna().sum() == 1
    assert prior_studies(times, ["x", "y", "z"]).to_dict() == {"y": "x"}
    assert prior_studies(times, ["y", "z"]).to_dict() == {}


def test_value_one_row_an_image() -> None:
    frame = pd.DataFrame({"id": ["s", "t"], "image": ["a", "b"], "prior": [None, "a"]})
    assert one_row_an_image(frame)[["id", "image"]].to_numpy().tolist() == [["s", "a"], ["t", "b"], ["t", "a"]]
    plain = frame[["id", "image"]]
    assert one_row_an_image(plain) is plain


def test_error_views(root: Path) -> None:
    with pytest.raises(UserError, match=r"data\.views is with_prior, but there is no data\.image_root"):
        MIMICCXRDataModule(report_root=str(root), labels=[], views="with_prior").read_index()


def test_value_sentences_about_a_prior_are_left_out_and_counted(root: Path, tmp_path: Path) -> None:
    told = {
        "50000009": "The lungs are clear. No effusion.",
        "50000004": "The lungs are clear. The effusion has decreased. Stable line.",
        "50000003": "Unchanged since the prior study of yesterday.",
    }
    for _, patient, study, *_ in FILMS:
        path = tmp_path / "cxr" / "files" / f"p{patient[:2]}" / f"p{patient}" / f"s{study}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f" FINAL REPORT\n IMPRESSION: {told.get(study, 'There is no effusion.')}\n")
    reports = str(tmp_path / "cxr")
    text = TextOptions(max_tokens=16, vocab_size=300, min_count=1, drop_comparisons=True)
    data = make(root, report_root=reports, text=text)
    assert data.index is not None
    texts = data.index.set_index("id")["text"]
    assert texts["a-pa"] == "The lungs are clear. No effusion." and texts["c-ap"] == "The lungs are clear."
    assert not {"d-pa", "d-pa2"} & set(texts.index) and data.spec.dropped["text of comparisons alone"] == 2
    assert "4 sentences of 3 of 9 texts refer to an earlier study and are left out" in data.spec.notes
    kept = make(root, report_root=reports, text=replace(text, drop_comparisons=False))
    assert kept.index is not None and "decreased" in kept.index.set_index("id")["text"]["c-ap"]
    with pytest.raises(UserError, match=r"drop_comparisons true, expected false: sentences are left out on reading"):
        prepare(MIMICCXRDataModule(image_root=str(root), labels=[], text=text), tmp_path / "store")
