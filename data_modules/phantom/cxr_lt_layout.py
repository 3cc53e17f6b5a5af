"""The phantom as CXR-LT's releases of 2023 and 2024; the images stay in MIMIC-CXR's layout."""

from pathlib import Path

from data_modules.cxr_lt import UNSEEN, VERSIONS
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm

SPLITS = {"train": "train", "validate": "val", "test": "test"}
KEYS = ("dicom_id", "subject_id", "study_id", "ViewPosition", "ViewCodeSequence_CodeMeaning")


def write(films: list[PhantomFilm], out: Path) -> None:
    """Every table of every version; classes that the phantom does not plant are 0. The table of 2024 of training images
    has 40 classes, of which task 2 reads 26; that of 2023's pruning study lists frontal films by path."""
    rows = [_row(film) for film in films]
    for name, version in VERSIONS.items():
        pruning, year = name == "2023-pruning", name[:4]
        place = "path" if year == "2023" else "fpath"
        keys = ("path",) if pruning else (*KEYS, place)
        for split, stem in version.files.items():
            classes = VERSIONS["2024-task1"].classes if stem == "train_labeled" else version.classes
            chosen = [row for row in rows if split in ("", SPLITS[str(row["split"])])]
            if pruning:
                chosen = [row for row in chosen if row["ViewPosition"] != "LATERAL"]
            own = [{**row, place: row["path"], "split": _official(row)} for row in chosen]
            columns = (*keys, *(() if split else ("split",)), *classes)
            write_table(out / version.folder / f"{stem}.csv", columns, own)


def _official(row: Row) -> str:
    return {"validate": "development"}.get(str(row["split"]), str(row["split"]))


def _row(film: PhantomFilm) -> Row:
    """Labels of a film's study by every name; a nodule or a mass is one of the kinds of Lung Lesion, as planted."""
    kinds = {str(finding["kind"]).title() for finding in film.findings if finding["name"] == "Lung Lesion"}
    labels: dict[str, object] = dict.fromkeys([name for it in VERSIONS.values() for name in it.classes], 0)
    labels |= film.labels | dict.fromkeys(UNSEEN, 0) | {name: int(name in kinds) for name in ("Nodule", "Mass")}
    labels |= {"Rib Fracture": film.labels["Fracture"], "Normal": film.labels["No Finding"]}
    path = f"files/p{film.patient[:2]}/p{film.patient}/s{film.study}/{film.id}.jpg"
    ids: Row = {"dicom_id": film.id, "subject_id": film.patient, "study_id": film.study, "ViewPosition": film.view}
    return {**ids, "path": path, "split": film.split, **labels}
