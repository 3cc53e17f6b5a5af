"""The file layouts of ROCO: captions.txt of v1, its flat CSV copy, and ROCOv2."""

from pathlib import Path

import numpy as np
import pandas as pd

from data_modules.boundary import lines_of, read_text
from data_modules.index.faulty import Drop, few
from data_modules.index.files import APPLE_DOUBLE
from data_modules.index.splits import SPLIT_NAMES
from data_modules.index.tables import read_table, row_names


def read_original(root: Path, non_radiology: bool, drop: Drop) -> pd.DataFrame | None:
    """v1: ``[data/]<split>/radiology/captions.txt`` beside licences.txt and images; None when it is not that.

    Returns:
        id, text, image, split; with licences.txt also license and article (PMC number).
    """
    base = root / "data" if (root / "data").is_dir() else root
    parts = []
    for folder in _kinds(base, non_radiology):
        captions = folder / "captions.txt"
        if not captions.is_file():
            continue
        frame = read_captions(captions, drop)
        licences = folder / "licences.txt"
        if licences.is_file():
            table = read_table(licences, ["ROCO_ID", "PMC_ID", "CC"]).drop_duplicates("ROCO_ID").set_index("ROCO_ID")
            frame["license"] = frame["id"].map(table["CC"])
            frame["article"] = frame["id"].map(table["PMC_ID"].str.split("_").str[0])
        frame["image"] = f"{folder / 'images'}/" + frame["id"] + ".jpg"
        parts.append(frame.assign(split=folder.parent.name))
    return pd.concat(parts, ignore_index=True) if parts else None


def read_captions(path: Path, drop: Drop) -> pd.DataFrame:
    """``ROCO_00001<TAB> A caption.`` a line: id and text. UserError where many lines are otherwise."""
    lines = {row: line for row, line in enumerate(lines_of(read_text(path)), start=1) if line.strip()}
    problems = [
        f"{path}: row {row} is {line[:40]!r}, expected id, tab, caption; download it again"
        for row, line in lines.items()
        if not line.partition("\t")[0].strip() or "\t" not in line
    ]
    few(problems, len(lines), "line without id and caption", drop)
    pairs = {
        row: line.split("\t", 1) for row, line in lines.items() if line.partition("\t")[0].strip() and "\t" in line
    }
    table = pd.DataFrame(pairs.values(), index=pd.Index(pairs), columns=["id", "text"])
    return _without_repeats(path, table.assign(id=table["id"].str.strip()), drop)


def read_flat(root: Path, non_radiology: bool, drop: Drop) -> pd.DataFrame | None:
    """The "all_data" copy: ``<split>/radiology/{images/,<split>data.csv}`` with id, name, caption; else None."""
    base = root / "all_data" if (root / "all_data").is_dir() else root
    parts = []
    for folder in _kinds(base, non_radiology):
        for path in _tables(folder, "*data.csv"):
            frame = _read_captions_table(path, {"id": "id", "name": "image", "caption": "text"}, drop)
            frame["image"] = f"{folder / 'images'}/" + frame["image"].astype(str)
            parts.append(frame.assign(split=folder.parent.name))
    return pd.concat(parts, ignore_index=True) if parts else None


def read_v2(root: Path, non_radiology: bool, drop: Drop) -> pd.DataFrame | None:
    """ROCOv2: ``{train,valid,test}_captions.csv`` with ID, Caption; images in ``<split>_images/[<split>/]``."""
    parts = []
    for path in _tables(root, "*_captions.csv"):
        split = path.name.removesuffix("_captions.csv")
        frame = _read_captions_table(path, {"ID": "id", "Caption": "text"}, drop)
        outer = root / f"{split}_images"
        places = [outer / split, outer, root / split]
        folder = next((place for place in places if (place / f"{frame['id'].iloc[0]}.jpg").is_file()), places[0])
        parts.append(frame.assign(split=split, image=f"{folder}/" + frame["id"] + ".jpg"))
    if not parts:
        return None
    frame = pd.concat(parts, ignore_index=True)
    licences = root / "license_information.csv"
    if licences.is_file():
        table = read_table(licences)
        key, value = table.columns[0], table.columns[-1]
        frame["license"] = frame["id"].map(table.drop_duplicates(key).set_index(key)[value])
    return frame


def _tables(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith(APPLE_DOUBLE))


def _read_captions_table(path: Path, columns: dict[str, str], drop: Drop) -> pd.DataFrame:
    """The columns of a CSV table under our names, without rows that lack an id or repeat one."""
    table = read_table(path, list(columns)).rename(columns=columns)
    blank = table["id"].isna()
    problems = [f"{path}: found no id in {row}; download it again" for row in row_names(path, np.flatnonzero(blank))]
    few(problems, len(table), "row without an id", drop)
    return _without_repeats(path, table.set_axis(table.index + 2)[~blank.to_numpy()], drop)


def _without_repeats(path: Path, frame: pd.DataFrame, drop: Drop) -> pd.DataFrame:
    """Rows whose id an earlier one has are dropped and counted; the index of ``frame`` is the row in the file."""
    first = frame.reset_index().groupby("id")["index"].transform("first").set_axis(frame.index)
    repeats = frame[first != frame.index]
    problems = [
        f"{path}: found id {name} in rows {earlier} and {row}, expected every id once; remove one of them"
        for row, name, earlier in zip(repeats.index, repeats["id"], first[repeats.index], strict=True)
    ]
    few(problems, len(frame), "repeated id", drop)
    return frame.drop(index=repeats.index).reset_index(drop=True)


def _kinds(base: Path, non_radiology: bool) -> list[Path]:
    kinds = ("radiology", "non-radiology") if non_radiology else ("radiology",)
    splits = sorted(p for p in base.iterdir() if p.is_dir() and p.name.lower() in SPLIT_NAMES) if base.is_dir() else []
    return [split / kind for split in splits for kind in kinds]
