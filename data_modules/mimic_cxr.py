"""MIMIC-CXR-JPG images, MIMIC-CXR reports, CheXpert or NegBio labels, in the layout PhysioNet ships."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.images.missing import images_present
from data_modules.index.faulty import refuse_many
from data_modules.index.labels import CHEXPERT, Blank, Uncertain, join_labels
from data_modules.index.listed_splits import pin_test
from data_modules.index.tables import find_table, read_table
from data_modules.index.views import prior_studies, study_times
from data_modules.text.mimic_reports import has_reports, read_reports, report_names
from data_modules.text.sections import Sections

TABLE = "mimic-cxr-2.0.0-"
SOURCE = "it comes with MIMIC-CXR-JPG (physionet.org/content/mimic-cxr-jpg); complete the download"
VERSION = re.compile(r"\d+(\.\d+)+")
VIEW_CODES = {
    "postero-anterior": "PA",
    "antero-posterior": "AP",
    "lateral": "LATERAL",
    "left lateral": "LL",
    "right lateral": "RL",
}
"""ViewCodeSequence_CodeMeaning -> ViewPosition, where the latter is blank."""
FRONTAL, LATERAL = ("PA", "AP"), ("LATERAL", "LL", "RL")
Together = Literal["one", "frontal_lateral", "with_prior"]
"""Images of one sample."""


class MIMICCXRDataModule(DataModule):
    """Studies of MIMIC-CXR; two roots, either of which may be null (image-only, text-only).

    Args:
        image_root: MIMIC-CXR-JPG 2.0.0 or 2.1.0: ``files/`` and the tables, .csv or .csv.gz. Images .jpg or .png.
        report_root: MIMIC-CXR: ``files/`` or ``mimic-cxr-reports.zip``. Alone, it also holds the tables; without a
            split table its ``cxr-study-list`` is split by patient.
        views: ViewPosition to keep (blank ones are filled from ViewCodeSequence_CodeMeaning); [] keeps all. Or a word:
            every frontal image (PA, AP) is a sample, as under ``one``, and also has a lateral image of its study under
            ``frontal_lateral``, and under ``with_prior`` the frontal image of the patient's latest earlier study, by
            StudyDate and StudyTime, too. A sample without them keeps what it has. Of several images, that of the first
            id is taken.
        sections: which text of a report.
        encoding: of the reports.
        study_sampling: training shows one image per study and epoch, or all images.
        labels: names, in the order of ``labels`` columns; [] reads no label table.
        labels_from: which labeller.
        uncertain: what -1 becomes.
        blank: what "not mentioned" becomes in a listed study (one that is not listed is unknown).
        pinned: list of images by ``dicom_id`` or path, such as a 5x200 draw, that take the place of the test split;
            their patients leave training and validation.

    The other arguments are those of ``DataModule``.
    """

    sampling_options = ("study_sampling",)

    def __init__(
        self,
        image_root: str | None = None,
        report_root: str | None = None,
        views: Sequence[str] | Together = FRONTAL,
        sections: Sections = "findings+impression",
        encoding: str = "utf-8",
        study_sampling: Literal["one", "all"] = "one",
        labels: Sequence[str] = CHEXPERT,
        labels_from: Literal["chexpert", "negbio"] = "chexpert",
        uncertain: Uncertain = "ignore",
        blank: Blank = "zeros",
        pinned: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.image_root = version_folder(Path(image_root)) if image_root else None
        self.report_root = version_folder(Path(report_root)) if report_root else None
        self.views: list[str] | str = list(FRONTAL) if views == "one" else views if isinstance(views, str) else [*views]
        self.sections, self.encoding = sections, encoding
        self.study_sampling, self.one_image_per_study = study_sampling, study_sampling == "one"
        self.labels, self.label_names = list(labels), list(labels)
        self.labels_from, self.uncertain, self.blank, self.pinned = labels_from, uncertain, blank, pinned

    @classmethod
    def from_root(cls, root: Path, **arguments: Any) -> Self:
        """``root`` holds ``mimic-cxr-jpg`` and ``mimic-cxr``, or is the one folder of images, reports and tables."""
        root = version_folder(root)
        given = {name: arguments.pop(name, None) for name in ("image_root", "report_root")}
        images, reports = root / "mimic-cxr-jpg", root / "mimic-cxr"
        if given["image_root"] is None and (images.is_dir() or not reports.is_dir()):
            given["image_root"] = str(images if images.is_dir() else root)
        if given["report_root"] is None and (reports.is_dir() or has_reports(root)):
            given["report_root"] = str(reports if reports.is_dir() else root)
        return cls(**given, **arguments)

    def read_index(self) -> pd.DataFrame:
        roots = [root for root in (self.image_root, self.report_root) if root is not None]
        for root in roots:
            if not root.exists():
                raise UserError(f"{root}: folder not found; set data.image_root and data.report_root, or null")
        if not roots:
            raise UserError("found neither data.image_root nor data.report_root, expected one or both")
        if isinstance(self.views, str) and self.image_root is None:
            raise UserError(f"data.views is {self.views}, but there is no data.image_root; set it")
        frame = self.samples_of(self.positions)
        if self.label_names:
            path = find_table(roots, TABLE + self.labels_from, f"{SOURCE}, or set data.labels to []")
            policies = (self.uncertain, self.blank)
            frame = join_labels(frame, frame["study"], (path, "study_id"), self.label_names, policies, self.drop)
        frame = self._with_reports(frame, self.report_root) if self.report_root else frame
        return self._with_views(frame, roots) if isinstance(self.views, str) else frame

    @property
    def positions(self) -> list[str]:
        """ViewPosition of the images that are samples; []: any."""
        return list(FRONTAL) if isinstance(self.views, str) else self.views

    @property
    def needed_positions(self) -> list[str]:
        """ViewPosition of the images that are read; []: any."""
        return [*FRONTAL, *LATERAL] if isinstance(self.views, str) else self.views

    def choose_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        return pin_test(frame, self.pinned, lambda name: Path(name).stem, self.drop) if self.pinned else frame

    def check_rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        if self.label_names and self.request.reads_labels and self._read("text", rows):
            self.note(
                f"labels were mined from the report ({self.labels_from}): a model that reads the report can find them "
                "there; only metrics of a model that reads the image alone measure what images show"
            )
        return super().check_rows(rows)

    def samples_of(self, views: list[str]) -> pd.DataFrame:
        """Each listed image of ``views`` ([]: of any), without an image root each study; without text and labels."""
        roots = [root for root in (self.image_root, self.report_root) if root is not None]
        return self._images(self.image_root, roots, views) if self.image_root else self._studies(roots)

    def _images(self, root: Path, roots: list[Path], wanted: list[str]) -> pd.DataFrame:
        frame = _listed(roots)
        if wanted:
            view = _metadata(roots)["view"]
            other = ~frame["id"].isin(view.index[view.isin(wanted)])
            frame = self.leave_out(frame, other, "view").reset_index(drop=True)
        return _located(frame, root)

    def _with_views(self, frame: pd.DataFrame, roots: list[Path]) -> pd.DataFrame:
        """``frame`` with the columns ``lateral`` and, under ``with_prior``, ``prior``, and their ids."""
        assert self.image_root is not None
        prior = self.views == "with_prior"
        images = _listed(roots).join(_metadata(roots, ["StudyDate", "StudyTime"] if prior else []), on="id")
        images = _located(images[images["view"].isin([*FRONTAL, *LATERAL])].reset_index(drop=True), self.image_root)
        first = images.sort_values("id").groupby(images["view"].isin(FRONTAL))
        frontal, lateral = (
            first.get_group(kind).drop_duplicates("study").set_index("study")
            if kind in first.groups
            else images.head(0).set_index("study")
            for kind in (True, False)
        )
        found = [("lateral", lateral, frame["study"])]
        if prior:
            times = study_times(images)
            if unknown := int(times[["date", "time"]].isna().any(axis=1).sum()):
                self.note(f"{unknown:,} of {len(times):,} studies have no StudyDate or StudyTime that can be read")
            found.append(("prior", frontal, frame["study"].map(prior_studies(times, frontal.index))))
        for name, taken, studies in found:
            frame[name], frame[f"{name}_id"] = studies.map(taken["image"]), studies.map(taken["id"])
        having = [f"{int(frame[name].notna().sum()):,} have a {name} image" for name, _, _ in found]
        self.note(f"views {self.views}: of {len(frame):,} samples, {', '.join(having)}; the others go without")
        return frame

    def _studies(self, roots: list[Path]) -> pd.DataFrame:
        path = find_table(roots, (TABLE + "split", "cxr-study-list"), SOURCE)
        names = {"study_id": "study", "subject_id": "patient"}
        if path.name.startswith(TABLE):
            names["split"] = "split"
        frame = read_table(path, list(names)).rename(columns=names)
        if "split" in frame:  # one row an image
            frame = frame.drop_duplicates("study")
        return frame.assign(id="s" + frame["study"]).reset_index(drop=True)

    def _with_reports(self, frame: pd.DataFrame, root: Path) -> pd.DataFrame:
        names = report_names(frame["patient"], frame["study"])
        reports = read_reports(root, names.unique(), self.sections, self.encoding, self.text.min_tokens)
        problems = reports["problem"].dropna()
        refuse_many(len(problems), len(reports), lambda: problems.iloc[0])
        frame = frame.assign(name=names).join(reports, on="name")
        for reason, count in frame["reason"].value_counts().items():
            self.drop(str(reason), int(count))
        return frame[frame["reason"].isna()].drop(columns=["name", "reason", "problem"])


def _listed(roots: list[Path]) -> pd.DataFrame:
    """Every image of the split table."""
    columns = ["dicom_id", "study_id", "subject_id", "split"]
    splits = read_table(find_table(roots, TABLE + "split", SOURCE), columns)
    return splits.set_axis(["id", "study", "patient", "split"], axis=1)


def _metadata(roots: list[Path], more: Sequence[str] = ()) -> pd.DataFrame:
    """By image: ``view``, its ViewPosition, and the columns ``more`` of the metadata."""
    path, code = find_table(roots, TABLE + "metadata", SOURCE), "ViewCodeSequence_CodeMeaning"
    table = read_table(path, ["dicom_id", "ViewPosition", *more], optional=[code]).set_index("dicom_id")
    view = table["ViewPosition"]
    if code in table:
        view = view.fillna(table[code].str.lower().map(VIEW_CODES))
    return table[list(more)].assign(view=view)


def _located(frame: pd.DataFrame, root: Path) -> pd.DataFrame:
    """``frame`` with ``image``, the path of each image: .png where there is no .jpg and a .png."""
    stems = f"{root}/" + report_names(frame["patient"], frame["study"]).str[:-4] + "/" + frame["id"]
    jpg = images_present(stems + ".jpg")
    png = np.zeros(len(stems), bool)
    png[~jpg] = images_present(stems[~jpg] + ".png")
    return frame.assign(image=stems + np.where(png, ".png", ".jpg"))


def version_folder(root: Path) -> Path:
    """``root``, or the release folder in it (``2.1.0``), which PhysioNet's downloads have, where it holds nothing else.

    Raises:
        UserError: several releases.
    """
    if not root.is_dir() or (root / "files").is_dir() or any(root.glob(f"{TABLE}*")):
        return root
    found = sorted(path for path in root.iterdir() if VERSION.fullmatch(path.name) and path.is_dir())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"{root}: found releases {names}, expected one; set the root to one of these folders")
    return found[0] if found else root
