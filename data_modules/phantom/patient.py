"""Makes one patient: images, reports and table rows, determined by the seed and the number of the patient."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data_modules.phantom.anatomy import Anatomy, View
from data_modules.phantom.plan import Finding, presence, sample_findings
from data_modules.phantom.progression import changes, first_findings, later_findings
from data_modules.phantom.render import Film, render
from data_modules.phantom.reporting import phrase, write_report
from data_modules.phantom.tables import Row

_VIEW_WORDS = {"PA": "postero-anterior", "AP": "antero-posterior", "LATERAL": "lateral"}


@dataclass(frozen=True)
class Options:
    """The settings that determine every file of a phantom."""

    patients: int
    seed: int
    size: int
    difficulty: str
    progression: bool = False


@dataclass
class Rows:
    """Table rows of some patients."""

    images: list[Row] = field(default_factory=list)  # metadata, split and paths
    studies: list[Row] = field(default_factory=list)  # labels of the report
    truth: list[Row] = field(default_factory=list)  # exact labels
    findings: list[Row] = field(default_factory=list)

    def extend(self, other: "Rows") -> None:
        """Append another patient's rows."""
        for name, rows in vars(other).items():
            getattr(self, name).extend(rows)


def write_patient(out: Path, options: Options, number: int, split: str) -> Rows:
    """Write the images and reports of one patient and return the rows."""
    rng = np.random.default_rng([options.seed, number])
    anatomy = Anatomy.sample(rng)
    subject = 10_000_000 + number % 10 * 1_000_000 + (number // 10 * 37 + int(rng.integers(37))) % 1_000_000
    rows, findings, day = Rows(), list[Finding](), int(rng.integers(0, 20_000))
    for visit in range(1 + options.progression + int(rng.random() < 0.5)):
        study = 50_000_000 + (number * 4 + visit) * 7_654_321 % 10_000_000
        before, told = findings, dict[str, str]()
        if not options.progression:
            findings = sample_findings(rng, before)
        elif visit == 0:
            findings = first_findings(rng)
        else:
            findings = later_findings(rng, before)
            told = changes(before, findings, rng)
        day += int(rng.integers(1, 400))
        _write_study(out, options, rng, anatomy, findings, told, (subject, study), day, split, rows)
    return rows


def _write_study(
    out: Path,
    options: Options,
    rng: np.random.Generator,
    anatomy: Anatomy,
    findings: list[Finding],
    told: dict[str, str],
    ids: tuple[int, int],
    day: int,
    split: str,
    rows: Rows,
) -> None:
    subject, study = ids
    ill = bool(findings)
    frontal: View = "AP" if rng.random() < (0.45 if ill else 0.25) else "PA"
    views: list[View] = [frontal, "LATERAL"] if rng.random() < (0.5 if frontal == "PA" else 0.06) else [frontal]
    stem = f"files/p{subject // 1_000_000}/p{subject}/s{study}"
    report = write_report(findings, list(views), anatomy.female, rng, told)
    folder = out / "mimic-cxr-jpg" / stem
    folder.mkdir(parents=True, exist_ok=True)
    text = out / "mimic-cxr" / "mimic-cxr-reports" / f"{stem}.txt"
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_bytes(report.text.encode())
    study_ids: Row = {"subject_id": subject, "study_id": study}
    rows.studies.append({**study_ids, **{k: f"{v:.1f}" for k, v in report.labels.items()}, "path": f"{stem}.txt"})
    time = f"{rng.integers(0, 24):02d}{rng.integers(0, 60):02d}{rng.integers(0, 60):02d}.{rng.integers(0, 1000):03d}"
    date = np.datetime64("2110-01-01") + day
    for k, view in enumerate(views):
        film = render(anatomy, view, findings, options.size, rng, options.difficulty == "hard")
        digest = hashlib.blake2b(f"{options.seed}/{subject}/{study}/{k}".encode(), digest_size=20).hexdigest()
        dicom = "-".join(digest[i : i + 8] for i in range(0, 40, 8))
        code, jpeg = cv2.imencode(".jpg", film.pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])
        assert code
        (folder / f"{dicom}.jpg").write_bytes(jpeg.tobytes())
        image_ids: Row = {"dicom_id": dicom, **study_ids}
        rows.images.append(
            {
                **image_ids,
                "split": split,
                "path": f"{stem}/{dicom}.jpg",
                "ViewPosition": view,
                "PerformedProcedureStepDescription": "CHEST (PORTABLE AP)" if frontal == "AP" else "CHEST (PA AND LAT)",
                "Rows": film.pixels.shape[0],
                "Columns": film.pixels.shape[1],
                "StudyDate": str(date).replace("-", ""),
                "StudyTime": time,
                "ViewCodeSequence_CodeMeaning": _VIEW_WORDS[view],
                "ProcedureCodeSequence_CodeMeaning": "CHEST (PORTABLE AP)" if frontal == "AP" else "CHEST (PA AND LAT)",
                "PatientOrientationCodeSequence_CodeMeaning": "Erect",
            }
        )
        rows.truth.append({**image_ids, **presence(findings)})
        rows.findings.append(
            {
                **image_ids,
                "view": view,
                "rows": film.pixels.shape[0],
                "columns": film.pixels.shape[1],
                "findings": list(_describe(film)),
            }
        )


def _describe(film: Film) -> Iterator[Row]:
    for finding, mask in film.planted:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        yield {**finding.row(), "phrase": phrase(finding), "box": box, "rle": encode_mask(mask)}


def encode_mask(mask: NDArray[np.bool_]) -> list[int]:
    """Row-major run lengths of a boolean mask, the first run being zeros (possibly of length 0)."""
    flat = np.concatenate([[False], mask.ravel(), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return [int(run) for run in (runs[:-1] if runs[-1] == 0 else runs)]


def decode_mask(rle: list[int], rows: int, columns: int) -> NDArray[np.bool_]:
    """The boolean (rows, columns) mask of `encode_mask`."""
    values = np.arange(len(rle)) % 2 == 1
    return np.repeat(values, rle).reshape(rows, columns)
