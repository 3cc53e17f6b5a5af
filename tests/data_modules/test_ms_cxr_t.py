"""Progression: the truth that the phantom plants, and MS-CXR-T's table with all that it can have wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.ms_cxr_t import STATES, TABLE, MSCXRTDataModule
from data_modules.phantom import write_phantom
from data_modules.phantom.plan import Finding
from data_modules.phantom.progression import GRADES, changes, grade, later_findings
from data_modules.text.comparisons import refers_to_prior

SHOWN = {"Consolidation": "consolidation", "Edema": "edema", "Pleural Effusion": "pleural_effusion"}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, patients=30, seed=5, size=64, workers=1, layouts="ms_cxr_t", progression=True)
    return out


def table_of(phantom: Path) -> pd.DataFrame:
    return pd.read_csv(phantom / "layouts" / "ms_cxr_t" / f"{TABLE}.csv", dtype=str)


def test_value_truth_is_what_the_films_show(phantom: Path) -> None:
    films = [json.loads(line) for line in (phantom / "truth" / "findings.jsonl").read_text().splitlines()]
    shown = {film["dicom_id"]: {f["name"]: f["size"] for f in film["findings"]} for film in films}
    dates = pd.read_csv(phantom / "mimic-cxr-jpg" / "mimic-cxr-2.0.0-metadata.csv.gz", dtype=str)
    frontal = dates[dates["ViewPosition"] != "LATERAL"].set_index("dicom_id")
    sizes = {None: 0, "mild": 1, "small": 1, "moderate": 2, "severe": 3, "large": 3}
    table, seen = table_of(phantom), set()
    for row in table.to_dict("records"):
        now, before = (row[name].split("/")[-1] for name in ("dicom_id", "previous_dicom_id"))
        own = frontal[frontal["subject_id"] == row["subject_id"]].sort_values(["StudyDate", "StudyTime"])
        assert own.index.get_loc(now) - own.index.get_loc(before) == 1
        for name, column in SHOWN.items():
            change = sizes[shown[now].get(name)] - sizes[shown[before].get(name)]
            absent = name not in shown[now] and name not in shown[before]
            expected = np.nan if absent else ("stable", "worsening", "improving")[int(np.sign(change))]
            assert row[f"{column}_progression"] == expected or (absent and pd.isna(row[f"{column}_progression"]))
            seen |= {row[f"{column}_progression"]}
    assert {*STATES} <= seen and len(table) > 20
    assert (table["study_id"] < table["previous_study_id"]).any(), "ids say nothing about time"


def test_value_reports_say_what_changed(phantom: Path) -> None:
    """Each sentence agrees with the table; without these sentences a report says nothing about a prior."""
    words = {"worsening": ("has increased", "worsening", "new"), "stable": ("unchanged", "Stable")}
    words["improving"] = ("has decreased", "improvement", "resol")
    told = 0
    for row in table_of(phantom).to_dict("records"):
        stem = f"files/p{row['subject_id'][:2]}/p{row['subject_id']}/s{row['study_id']}.txt"
        report = " ".join((phantom / "mimic-cxr" / "mimic-cxr-reports" / stem).read_text().split())
        for noun, column in (("pulmonary edema", "edema"), ("pleural effusion", "pleural_effusion")):
            sentences = [s for s in report.split(". ") if noun in s and refers_to_prior(s) and "again" not in s]
            state = row[f"{column}_progression"]
            if not pd.isna(state):
                told += 1
                assert any(word.lower() in s.lower() for s in sentences for word in words[state]), (state, sentences)
    assert told > 10


def test_value_findings_grow_and_shrink() -> None:
    draw = np.random.default_rng(0)
    before = [Finding("Pleural Effusion", "left", "lower", "moderate"), Finding("Lung Lesion", "left", "mid", "2.5")]
    steps = []
    for _ in range(300):
        now = {finding.name: finding for finding in later_findings(draw, before)}
        lesion, fluid = now.get("Lung Lesion"), now.get("Pleural Effusion")
        assert lesion in (None, before[1]) and (fluid is None or (fluid.side, fluid.zone) == ("left", "lower"))
        steps.append(None if fluid is None else grade("Pleural Effusion", fluid.size) - 2)
        told = changes(before, [*now.values()], draw)
        assert "Lung Lesion" not in told and set(told) == ({*now} | {"Pleural Effusion"}) & {*GRADES}
    assert 20 < steps.count(None) < 70 and all(60 < steps.count(step) < 110 for step in (-1, 0, 1))


def make(root: Path, images: Path, **options: Any) -> MSCXRTDataModule:
    data = MSCXRTDataModule(str(root), str(images), image_size=32, num_workers=0, **options)
    data.setup()
    return data


def rows_of(data: MSCXRTDataModule) -> pd.DataFrame:
    assert data.index is not None
    return data.index.set_index("id")


def test_value_labels_images_and_splits(phantom: Path) -> None:
    root, images = phantom / "layouts" / "ms_cxr_t", phantom / "mimic-cxr-jpg"
    data, table = make(root, images, split="mimic_cxr"), table_of(phantom)
    assert len(rows_of(data)) == len(table) and data.spec.views == ["prior"]
    assert data.spec.classes[:3] == [f"Consolidation {state}" for state in STATES] and len(data.spec.classes) == 15
    splits = pd.read_csv(images / "mimic-cxr-2.0.0-split.csv.gz", dtype=str).drop_duplicates("subject_id")
    known = splits.set_index("subject_id")["split"].replace("validate", "val")
    for row in table.to_dict("records"):
        now, before = (row[name].split("/")[-1] for name in ("dicom_id", "previous_dicom_id"))
        found = rows_of(data).loc[f"{now}/{before}"]
        assert found["split"] == known[row["subject_id"]]
        assert Path(found["image"]).stem == now and Path(found["prior"]).stem == before
        for finding, column in SHOWN.items():
            values = [found[f"{finding} {state}"] for state in STATES]
            state = row[f"{column}_progression"]
            assert all(np.isnan(values)) if pd.isna(state) else values == [float(state == s) for s in STATES]
    alone = make(root, images, split="mimic_cxr", views="one")
    assert alone.spec.views == [] and rows_of(alone).index.equals(rows_of(data).index)
    assert "views" in data.samples("train")[0] and "views" not in alone.samples("train")[0]
    drawn = rows_of(make(root, images))
    assert set(drawn["split"]) == {"train", "val", "test"} and drawn.groupby("patient")["split"].nunique().max() == 1
    assert make(root, images, split="test").spec.counts["test"] == len(table)


GOOD = "p10/p10000001/s50000001/now,10000001,50000001,p10/p10000001/s50000009/before,50000009,stable,one_expert"
HEADER = "dicom_id,subject_id,study_id,previous_dicom_id,previous_study_id,edema_progression,edema_label_quality"


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """A table of one row, written by hand, and its images."""
    images, root = tmp_path / "jpg", tmp_path / "ms-cxr-t"
    for place in ("s50000001/now.jpg", "s50000009/before.png"):
        path = images / "files/p10/p10000001" / place
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((40, 40), 99, np.uint8)).save(path)
    root.mkdir()
    (root / f"{TABLE}.csv").write_text(f"{HEADER}\n{GOOD}\n")
    return root, images


def test_value_png_letters_and_disagreement(small: tuple[Path, Path]) -> None:
    root, images = small
    path = root / f"{TABLE}.csv"
    path.write_text(f"{HEADER}\n{GOOD.replace('stable,one_expert', 'Worsening,disagreement')}\n")
    data = make(root, images, labels=["Edema"], split="test")
    row = rows_of(data).loc["now/before"]
    assert row["image"].endswith("now.jpg") and row["prior"].endswith("before.png") and row["Edema worsening"] == 1
    assert any("1 labels are of experts who disagreed" in note for note in data.spec.notes)


def test_value_a_pair_without_a_label_is_counted(small: tuple[Path, Path]) -> None:
    root, images = small
    blank = GOOD.replace("/now", "/other").replace("stable,one_expert", ",")
    (root / f"{TABLE}.csv").write_text(f"{HEADER}\n{GOOD}\n{blank}\n")
    assert make(root, images, labels=["Edema"], split="test").spec.dropped == {"pair without a label": 1}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stable", "better", r"row 2: found \['better'\], expected improving, stable, worsening or blank"),
        ("p10/p10000001/s50000009/before", "before", r"row 2: found images .*now and before, expected two p10/"),
        ("p10/p10000001/s50000009/before", "p10/p10000002/s50000009/before", r"expected two .* of one patient"),
        ("p10/p10000001/s50000009/before", "", r"row 2: found images .*now and nothing, expected two"),
        ("previous_dicom_id", "prior_id", r"previous_dicom_id"),
        ("edema_progression", "oedema", r"edema_progression"),
    ],
)
def test_error_table(small: tuple[Path, Path], old: str, new: str, message: str) -> None:
    root, images = small
    path = root / f"{TABLE}.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        make(root, images, labels=["Edema"], split="test")


def test_error_missing_table_folder_and_image(small: tuple[Path, Path]) -> None:
    root, images = small
    (images / "files/p10/p10000001/s50000009/before.png").unlink()
    with pytest.raises(UserError, match=r"1 of 1 prior images are absent"):
        make(root, images, labels=["Edema"], split="test")
    assert check("ms_cxr_t", root, MSCXRTDataModule(str(root), str(images), labels=["Edema"], split="test")).failed
    with pytest.raises(UserError, match=r"found no mimic-cxr-2\.0\.0-split"):
        make(root, images, labels=["Edema"], split="mimic_cxr")
    (root / f"{TABLE}.csv").unlink()
    with pytest.raises(UserError, match=r"physionet\.org/content/ms-cxr-t"):
        make(root, images)
    with pytest.raises(UserError, match=r"folder not found; set data\.image_root"):
        make(root, images / "gone")
