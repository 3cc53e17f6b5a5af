"""The file layouts of ROCO: captions.txt of v1, its flat CSV copy, and ROCOv2."""

from pathlib import Path

import pandas as pd

from data_modules.boundary import lines_of, read_text
from data_modules.errors import UserError
from data_modules.index.splits import SPLIT_NAMES
from data_modules.index.tables import read_table


def read_original(root: Path, non_radiology: bool) -> pd.DataFrame | None:
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
        frame = read_captions(captions)
        licences = folder / "licences.txt"
        if licences.is_file():
            table = read_table(licences, ["ROCO_ID", "PMC_ID", "CC"]).drop_duplicates("ROCO_ID").set_index("ROCO_ID")
            frame["license"] = frame["id"].map(table["CC"])
            frame["article"] = frame["id"].map(table["PMC_ID"].str.split("_").str[0])
        frame["image"] = f"{folder / 'images'}/" + frame["id"] + ".jpg"
        parts.append(frame.assign(split=folder.parent.name))
    return pd.concat(parts, ignore_index=True) if parts else None


def read_captions(path: Path) -> pd.DataFrame:
    """``ROCO_00001<TAB> A caption.`` a line: id and text.

    Raises:
        UserError: a line without a tab, or an id twice; with path and row.
    """
    lines = lines_of(read_text(path))
    seen: dict[str, int] = {}
    rows = []
    for row, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, tab, text = line.partition("\t")
        if not tab or not name.strip():
            raise UserError(f"{path}: row {row} is {line[:40]!r}, expected id, tab, caption; download it again")
        if name in seen:
            raise UserError(
                f"{path}: found id {name} in rows {seen[name]} and {row}, expected every id once; remove one of them"
            )
        seen[name] = row
        rows.append((name.strip(), text))
    return pd.DataFrame(rows, columns=["id", "text"])


def read_flat(root: Path, non_radiology: bool) -> pd.DataFrame | None:
    """The "all_data" copy: ``<split>/radiology/{images/,<split>data.csv}`` with id, name, caption; else None."""
    base = root / "all_data" if (root / "all_data").is_dir() else root
    parts = []
    for folder in _kinds(base, non_radiology):
        for path in sorted(folder.glob("*data.csv")):
            table = read_table(path, ["id", "name", "caption"])
            frame = table.set_axis(["id", "image", "text"], axis=1)
            _refuse_twice(path, frame["id"])
            frame["image"] = f"{folder / 'images'}/" + frame["image"].astype(str)
            parts.append(frame.assign(split=folder.parent.name))
    return pd.concat(parts, ignore_index=True) if parts else None


def read_v2(root: Path) -> pd.DataFrame | None:
    """ROCOv2: ``{train,valid,test}_captions.csv`` with ID, Caption; images in ``<split>_images/[<split>/]``."""
    parts = []
    for path in sorted(root.glob("*_captions.csv")):
        split = path.name.removesuffix("_captions.csv")
        frame = read_table(path, ["ID", "Caption"]).set_axis(["id", "text"], axis=1)
        _refuse_twice(path, frame["id"])
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


def _kinds(base: Path, non_radiology: bool) -> list[Path]:
    kinds = ("radiology", "non-radiology") if non_radiology else ("radiology",)
    splits = sorted(p for p in base.iterdir() if p.is_dir() and p.name.lower() in SPLIT_NAMES) if base.is_dir() else []
    return [split / kind for split in splits for kind in kinds]


def _refuse_twice(path: Path, ids: pd.Series) -> None:
    if ids.duplicated().any():
        rows = [i + 2 for i in ids.index[ids == ids[ids.duplicated()].iloc[0]][:2]]
        raise UserError(f"{path}: found id {ids[rows[0] - 2]} in rows {rows[0]} and {rows[1]}, expected every id once; "
                        "remove one of them")  # fmt: skip
