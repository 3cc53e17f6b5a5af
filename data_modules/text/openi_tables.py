"""Open-i's studies in its three published forms, as one table of images: the archive, Kaggle's tables, R2Gen's file."""

import re
from pathlib import Path

import pandas as pd

from data_modules.errors import UserError
from data_modules.index.files import files_below
from data_modules.index.records import read_json_table
from data_modules.index.tables import read_table
from data_modules.text.openi_reports import read_openi

ARCHIVE = "NLMCXR_reports.tgz"
REPORTS, PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"
ANNOTATION = "annotation.json"
HEADERS = ("nlmcxr_dicom_metadata.csv.gz", "nlmcxr_dicom_metadata.csv")
FRONTAL, LATERAL = ("PA", "AP"), ("LL", "RL", "LATERAL", "LARGE LATERAL")
FILM = re.compile(r"(?:CXR\d+_(?=\d+_)|CXR)?(\d+_IM-.+?)(?:\.dcm)?(?:\.png|\.jpe?g)?")
UNKNOWN = "unknown"


def film_key(name: str) -> str:
    """``CXR1_1_IM-0001-3001``, ``CXR1_IM-0001-3001``, ``1_IM-0001-3001.dcm.png`` all as ``1_IM-0001-3001``."""
    found = FILM.fullmatch(name)
    return found[1] if found else name


def read_archive(root: Path) -> pd.DataFrame:
    """A row an image of the archive: id, study, findings, impression, terms, license, view.

    The view is that of the DICOM header table where it is there; blank and missing ones are ``unknown``.
    """
    rows = [
        {
            "id": film_key(image),
            "study": report["uid"].removeprefix("CXR"),
            "findings": report["findings"],
            "impression": report["impression"],
            "terms": "|".join(report["terms"]),
            "license": report["licence"],
        }
        for report in read_openi(root / ARCHIVE)
        for image in report["images"]
    ]
    frame = pd.DataFrame(rows, columns=["id", "study", "findings", "impression", "terms", "license"])
    return frame.assign(view=frame["id"].map(_header_views(root)).fillna(UNKNOWN))


def _header_views(root: Path) -> dict[str, str]:
    path = next((root / name for name in HEADERS if (root / name).is_file()), None)
    if path is None:
        return _projections(root) if (root / PROJECTIONS).is_file() else {}
    table = read_table(path, ["imageid", "View Position"]).dropna()
    side = dict.fromkeys(FRONTAL, "Frontal") | dict.fromkeys(LATERAL, "Lateral")
    return dict(zip(table["imageid"].map(film_key), table["View Position"].map(side).fillna(UNKNOWN), strict=True))


def _projections(root: Path) -> dict[str, str]:
    table = read_table(root / PROJECTIONS, ["filename", "projection"])
    return dict(zip(table["filename"].map(film_key), table["projection"].fillna(UNKNOWN), strict=True))


def read_kaggle(root: Path) -> pd.DataFrame:
    """A row an image of Kaggle's two tables; UserError where they do not fit each other."""
    reports = read_table(root / REPORTS, ["uid", "findings", "impression"]).rename(columns={"uid": "study"})
    films = read_table(root / PROJECTIONS, ["uid", "filename", "projection"])
    films = films.set_axis(["study", "id", "view"], axis=1)
    if absent := sorted(set(films["study"]) - set(reports["study"])):
        raise UserError(
            f"{root / PROJECTIONS}: {len(absent):,} of its studies are not in {REPORTS} (first: uid {absent[0]}); "
            "download both tables again"
        )
    films = films.assign(id=films["id"].map(film_key), view=films["view"].fillna(UNKNOWN))
    frame = films.merge(reports.drop_duplicates("study"), on="study", how="left", validate="many_to_one")
    return frame.fillna({"findings": "", "impression": ""})


def read_r2gen(root: Path) -> pd.DataFrame:
    """A row an image of R2Gen's file, with its split; ``report`` is the findings; paths are below ``images``."""
    table = read_json_table(root / ANNOTATION).explode("image_path")
    if missing := {"study", "report", "image_path", "split"} - set(table):
        raise UserError(
            f"{root / ANNOTATION}: found no {sorted(missing)[0]}, expected R2Gen's file of train, val and test, each "
            "a list of id, report and image_path; download it again"
        )
    frame = pd.DataFrame({"id": table["image_path"], "study": table["study"], "split": table["split"]})
    return frame.assign(findings=table["report"].fillna(""), impression="", view=UNKNOWN).reset_index(drop=True)


def r2gen_splits(root: Path) -> dict[str, str]:
    """Split by study (``1`` of CXR1_1_IM-0001) of R2Gen's file; UserError where it is missing or names one twice."""
    if not (root / ANNOTATION).is_file():
        raise UserError(
            f"{root / ANNOTATION}: not found; data.split r2gen needs R2Gen's file (github.com/zhjohnchan/R2Gen)"
        )
    table = read_r2gen(root).drop_duplicates("study")
    studies = table["study"].str.extract(r"^CXR(\d+)_")[0].fillna(table["study"])
    if twice := sorted(studies[studies.duplicated()]):
        raise UserError(f"{root / ANNOTATION}: study {twice[0]} is listed twice, expected one split; download it again")
    return dict(zip(studies, table["split"], strict=True))


def locate(root: Path, frame: pd.DataFrame) -> pd.Series:
    """Full path of each image: by its name as each form writes it, in any folder below ``root``."""
    found: dict[str, str] = {}
    for file in files_below(root, [".png", ".jpg", ".jpeg"]):
        found.setdefault(film_key(file.name), str(file))
    direct = frame["id"].map(lambda name: str(root / "images" / name))
    return frame["id"].map(found).fillna(direct)
