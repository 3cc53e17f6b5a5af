"""The phantom: same seed same bytes, the real layout, and reports, labels, boxes and films that tell one story."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from data_modules.errors import UserError
from data_modules.phantom import decode_mask, write_phantom
from data_modules.phantom.anatomy import Anatomy
from data_modules.phantom.patient import encode_mask
from data_modules.phantom.plan import LABELS, OPACITIES, PLANTED, Finding, sample_findings
from data_modules.phantom.render import render
from data_modules.phantom.reporting import write_report
from data_modules.phantom.truth import read_films

PATIENTS, SIZE = 40, 96


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "a"
    write_phantom(out, PATIENTS, seed=3, size=SIZE, workers=1)
    return out


def every_byte(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def truth(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "truth" / "findings.jsonl").read_text().splitlines()]


def test_value_same_bytes_with_two_workers(phantom: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "b", PATIENTS, seed=3, size=SIZE, workers=2)
    assert every_byte(phantom) == every_byte(tmp_path / "b")


def test_value_other_seed_other_bytes(phantom: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "b", 3, seed=4, size=SIZE, workers=1)
    jpg = {path.read_bytes() for path in phantom.rglob("*.jpg")}
    assert not jpg & {path.read_bytes() for path in (tmp_path / "b").rglob("*.jpg")}


def test_shape_layout_and_tables(phantom: Path) -> None:
    jpg, cxr = phantom / "mimic-cxr-jpg", phantom / "mimic-cxr"
    metadata = pd.read_csv(jpg / "mimic-cxr-2.0.0-metadata.csv.gz", dtype=str)
    assert list(metadata.columns)[:7] == ["dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription",
                                          "ViewPosition", "Rows", "Columns"]  # fmt: skip
    assert set(metadata.ViewPosition) == {"PA", "AP", "LATERAL"}
    assert metadata.StudyTime.str.fullmatch(r"\d{6}\.\d{3}").all() and metadata.StudyDate.str.fullmatch(r"\d{8}").all()
    split = pd.read_csv(jpg / "mimic-cxr-2.0.0-split.csv.gz", dtype=str)
    assert list(split.columns) == ["dicom_id", "study_id", "subject_id", "split"]
    assert split.groupby("subject_id").split.nunique().max() == 1
    patients = split.drop_duplicates("subject_id").split.value_counts().to_dict()
    assert patients == {"train": 28, "validate": 4, "test": 8}
    files = (jpg / "IMAGE_FILENAMES").read_text().split()
    paths = [f"files/p{m.subject_id[:2]}/p{m.subject_id}/s{m.study_id}/{m.dicom_id}.jpg" for m in metadata.itertuples()]
    assert files == paths and len(set(files)) == len(files)
    assert {f.split("/")[1] for f in files} == {f"p{n}" for n in range(10, 20)}
    assert all(re.fullmatch(r"files/p1\d/p1\d{7}/s5\d{7}/[0-9a-f]{8}(-[0-9a-f]{8}){4}\.jpg", f) for f in files)
    for row, file in zip(metadata.itertuples(), files, strict=True):
        film = cv2.imread(str(jpg / file), cv2.IMREAD_UNCHANGED)
        assert film is not None and film.shape == (int(row.Rows), int(row.Columns)) and film.dtype == np.uint8
    for name in ("chexpert", "negbio"):
        labels = pd.read_csv(jpg / f"mimic-cxr-2.0.0-{name}.csv.gz")
        assert list(labels.columns) == ["subject_id", "study_id", *sorted(LABELS)]
    studies = pd.read_csv(cxr / "cxr-study-list.csv.gz")
    assert list(studies.columns) == ["subject_id", "study_id", "path"]
    assert all((cxr / "mimic-cxr-reports" / path).is_file() for path in studies.path)
    records = pd.read_csv(cxr / "cxr-record-list.csv.gz")
    assert list(records.columns) == ["subject_id", "study_id", "dicom_id", "path"] and len(records) == len(files)


def test_value_reports_have_official_sections(phantom: Path) -> None:
    reports = [path.read_bytes().decode() for path in phantom.rglob("s*.txt")]
    header = re.compile(r"\n ([A-Z ()/,-]+):\s")
    kinds = set()
    for text in reports:
        names = header.findall(text)
        assert "FINAL REPORT" in text.splitlines()[0] and "\r" not in text
        assert all(line.startswith(" ") and len(line) <= 80 for line in text.splitlines())
        kinds.add(("FINDINGS" in names, "IMPRESSION" in names))
    assert kinds == {(True, True), (True, False), (False, True)}


WORDS = {
    "Atelectasis": r"atelectasis",
    "Cardiomegaly": r"cardiomegaly|heart|cardiac|cardiomediastinal",
    "Consolidation": r"consolidat",
    "Edema": r"edema",
    "Enlarged Cardiomediastinum": r"mediastin",
    "Fracture": r"fracture",
    "Lung Lesion": r"nodule|mass",
    "Lung Opacity": r"opacity",
    "Pleural Effusion": r"effusion",
    "Pneumonia": r"pneumonia",
    "Pneumothorax": r"pneumothorax",
    "Support Devices": r"pacemaker|tube|line|catheter",
}


def test_value_labels_agree_with_the_words() -> None:
    rng, seen = np.random.default_rng(0), set()
    for _ in range(600):
        findings = sample_findings(rng, [])
        report = write_report(findings, ["PA"], True, rng)
        text = " ".join(report.sections.values())
        for sentence in re.split(r"(?<=[a-z])\. ", text):
            assert "{" not in sentence and "|" not in sentence and "  " not in sentence
        for label, words in WORDS.items():
            assert label not in report.labels or re.search(words, text, re.I), (label, text)
            if label in ("Pneumothorax", "Edema", "Pneumonia", "Lung Lesion", "Consolidation"):
                assert label in report.labels or not re.search(rf"\b({words})", text, re.I), (label, text)
        for name in {finding.name for finding in findings} & set(report.labels):
            assert report.labels[name] != 0, (name, text)
            seen.add((name, report.labels[name]))
        for label, value in report.labels.items():
            if value == 1 and label in PLANTED:
                assert label in {finding.name for finding in findings}, (label, text)
        if report.labels.get("No Finding"):
            assert not any(v for k, v in report.labels.items() if k not in ("No Finding", "Support Devices"))
        for finding in findings:
            if finding.side in ("left", "right") and report.labels.get(finding.name) == 1:
                assert finding.side in text.lower(), (finding, text)
    assert {name for name, value in seen if value == 1} == set(PLANTED)
    assert ("Pneumothorax", -1) in seen


def test_value_negated_mentions_are_zero() -> None:
    rng = np.random.default_rng(1)
    reports = [write_report([], ["PA"], False, rng) for _ in range(200)]
    negated = [r for r in reports if "No pleural effusion or pneumothorax." in r.text]
    assert negated and all(r.labels["Pneumothorax"] == 0 and r.labels["No Finding"] == 1 for r in negated)
    assert any("Pneumothorax" not in r.labels for r in reports), "not every absent finding is negated"
    assert len({r.text for r in reports}) > 100


def test_value_boxes_and_masks_lie_where_the_finding_says(phantom: Path) -> None:
    checked = 0
    for image in truth(phantom):
        for finding in image["findings"]:
            x0, y0, x1, y1 = finding["box"]
            assert 0 <= x0 < x1 <= image["columns"] and 0 <= y0 < y1 <= image["rows"]
            mask = decode_mask(finding["rle"], image["rows"], image["columns"])
            assert mask[y0:y1, x0:x1].sum() == mask.sum() > 0
            one_sided = (
                finding["side"] in ("left", "right") and finding["name"] != "Support Devices"
            )  # leads cross over
            if image["view"] != "LATERAL" and one_sided:
                middle = (x0 + x1) / 2 / image["columns"]
                assert (middle > 0.5) == (finding["side"] == "left"), finding
                assert finding["side"] in finding["phrase"]
                checked += 1
    assert checked > 20


def test_value_presence_follows_from_what_is_planted(phantom: Path) -> None:
    labels = pd.read_csv(phantom / "truth" / "labels.csv", index_col="dicom_id")
    assert list(labels.columns) == ["study_id", "subject_id", *LABELS] and labels[list(LABELS)].isin([0, 1]).all(None)
    for image in truth(phantom):
        row, names = labels.loc[image["dicom_id"]], {finding["name"] for finding in image["findings"]}
        present = {name for name in PLANTED if row[name]}
        assert names <= present if image["view"] == "LATERAL" else names == present
        assert row["Lung Opacity"] == bool(present & set(OPACITIES))
        assert row["No Finding"] == (present <= {"Support Devices"})


@pytest.mark.parametrize("name", sorted(set(PLANTED) - {"Cardiomegaly", "Enlarged Cardiomediastinum"}))
def test_value_a_finding_changes_the_film_where_its_mask_is(name: str) -> None:
    kind = {"Support Devices": "pacemaker", "Fracture": "fourth", "Lung Lesion": "mass"}.get(name)
    finding = Finding(
        name, "bilateral" if name == "Edema" else "left", "mid", "moderate" if kind != "mass" else "4.0", kind
    )
    inside, outside = [], []
    for seed in range(4):
        anatomy = Anatomy.sample(np.random.default_rng(seed))
        with_it = render(anatomy, "PA", [finding], 128, np.random.default_rng(seed))
        # the same draws up to the finding: same pose, same vessels
        without = render(anatomy, "PA", [], 128, np.random.default_rng(seed))
        ((_, mask),) = with_it.planted
        change = np.abs(with_it.pixels.astype(float) - without.pixels)
        inside.append(change[mask].mean())
        outside.append(change[~cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))).astype(bool)].mean())
    assert np.mean(inside) > np.mean(outside) + 3, (inside, outside)


def test_value_mask_round_trip() -> None:
    rng = np.random.default_rng(0)
    for mask in (rng.random((7, 5)) > 0.5, np.ones((3, 2), bool), np.zeros((3, 2), bool)):
        assert (decode_mask(encode_mask(mask), *mask.shape) == mask).all()


def test_smoke_hard(tmp_path: Path) -> None:
    counts = write_phantom(tmp_path / "p", 3, size=SIZE, difficulty="hard", workers=1)
    assert counts["images"] == sum(counts[f"images_{s}"] for s in ("train", "validate", "test")) >= 3


def test_value_complete_phantom_is_left_alone_and_unfinished_is_rewritten(tmp_path: Path) -> None:
    out = tmp_path / "p"
    counts = write_phantom(out, 3, size=SIZE, workers=1)
    whole = every_byte(out)
    film = next(out.rglob("*.jpg"))
    film.unlink()
    assert write_phantom(out, 3, size=SIZE, workers=1) == counts and not film.exists()
    marker = json.loads((out / "phantom.json").read_text())
    (out / "phantom.json").write_text(json.dumps({**marker, "complete": False}))
    assert write_phantom(out, 3, size=SIZE, workers=1) == counts and every_byte(out) == whole


def test_error_foreign_folder_other_options_bad_options(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match=r"other files.*choose another --out"):
        write_phantom(tmp_path / "mine", 3, size=SIZE, workers=1)
    assert every_byte(tmp_path / "mine") == {"thesis.txt": b"precious"}
    write_phantom(tmp_path / "p", 3, size=SIZE, workers=1)
    with pytest.raises(UserError, match="other options"):
        write_phantom(tmp_path / "p", 3, size=SIZE, seed=9, workers=1)
    with pytest.raises(UserError, match="at least 3"):
        write_phantom(tmp_path / "q", 1)
    with pytest.raises(UserError, match="normal or hard"):
        write_phantom(tmp_path / "q", 3, difficulty="easy")  # type: ignore[arg-type]


def test_value_no_torch() -> None:
    code = "import sys, data_modules.phantom; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_layouts_are_written_beside_the_phantom(tmp_path: Path) -> None:
    write_phantom(tmp_path, patients=3, seed=1, size=64, workers=1, layouts="pairs")
    rows = pd.read_csv(tmp_path / "layouts" / "pairs" / "pairs.csv", dtype=str).to_dict("records")
    films = [film for film in read_films(tmp_path) if film.view != "LATERAL"]
    assert len(rows) == len(films) and all((tmp_path / "layouts" / "pairs" / row["image"]).is_file() for row in rows)
    assert {row["split"] for row in rows} == {"train", "val", "test"} and all(row["text"] for row in rows)
    film = next(film for film in films if film.findings)
    finding = film.findings[0]
    x0, y0, x1, y1 = finding["box"]
    mask = film.mask(finding["name"])
    assert mask.shape == (film.rows, film.columns) and mask[y0:y1, x0:x1].any() and film.labels[finding["name"]] == 1


def test_unknown_layout_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found --layouts pars, expected some of .*chexpert, .*pairs"):
        write_phantom(tmp_path, patients=3, seed=1, size=64, workers=1, layouts="pars")
