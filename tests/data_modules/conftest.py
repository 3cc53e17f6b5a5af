"""A small tree in MIMIC-CXR's true layout, written by the test."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_modules.index.labels import CHEXPERT

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough  // pneumonia?

 FINDINGS:

 The heart is normal in size, case {n}.  No effusion
 or pneumothorax is seen.

 IMPRESSION:

 No acute process in case {n}.
"""


@dataclass
class Study:
    """One written study: two images, PA and LATERAL, and a report."""

    subject: str
    study: str
    split: str
    images: list[Path]
    report: Path


@dataclass
class Tree:
    image_root: Path
    report_root: Path
    studies: list[Study]

    def table(self, name: str) -> Path:
        return self.image_root / f"mimic-cxr-2.0.0-{name}.csv.gz"

    def rewrite(self, name: str, old: str, new: str) -> None:
        """Replace text inside a gzipped table."""
        text = gzip.decompress(self.table(name).read_bytes()).decode()
        assert old in text
        self.table(name).write_bytes(gzip.compress(text.replace(old, new).encode()))


@pytest.fixture
def mimic(tmp_path: Path) -> Tree:
    """12 patients of one study: 8 train, 2 validate, 2 test; patient 0 is uncertain, patient 1 is not listed."""
    images, reports = tmp_path / "jpg", tmp_path / "cxr"
    rng = np.random.default_rng(0)
    studies = []
    tables = {
        "split": ["dicom_id,study_id,subject_id,split"],
        "metadata": ["dicom_id,subject_id,study_id,ViewPosition,ViewCodeSequence_CodeMeaning"],
        "chexpert": ["subject_id,study_id," + ",".join(CHEXPERT)],
    }
    for n in range(12):
        subject, study = f"1{n:07d}", f"5{n:07d}"
        split = "train" if n < 8 else "validate" if n < 10 else "test"
        folder = f"files/p{subject[:2]}/p{subject}"
        (images / folder / f"s{study}").mkdir(parents=True)
        (reports / folder).mkdir(parents=True)
        files = []
        for view in ("PA", "LATERAL"):
            dicom = f"{n:08x}-{view.lower()}"
            files.append(images / folder / f"s{study}" / f"{dicom}.jpg")
            Image.fromarray(rng.integers(0, 255, (60, 48), dtype=np.uint8)).save(files[-1])
            tables["split"].append(f"{dicom},{study},{subject},{split}")
            blank = n == 2 and view == "PA"
            tables["metadata"].append(f"{dicom},{subject},{study},{'' if blank else view},postero-anterior")
        if n != 1:
            values = {"Atelectasis": "1.0", "Edema": "0.0", "Lung Opacity": "-1.0" if n == 0 else ""}
            tables["chexpert"].append(f"{subject},{study}," + ",".join(values.get(name, "") for name in CHEXPERT))
        report = reports / folder / f"s{study}.txt"
        report.write_text(REPORT.format(n=n))
        studies.append(Study(subject, study, split, files, report))
    tree = Tree(images, reports, studies)
    for name, lines in tables.items():
        tree.table(name).write_bytes(gzip.compress("\n".join(lines).encode()))
    return tree
