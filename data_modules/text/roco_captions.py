"""The file layouts of ROCO: captions.txt of v1, its flat CSV copy, and ROCOv2."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from data_modules.boundary import lines_of, read_text
from data_modules.index.faulty import Drop, drop_faulty
from data_modules.index.files import APPLE_DOUBLE
from data_modules.index.splits import SPLIT_NAMES
from data_modules.index.tables import read_table, row_name


def read_layouts(root: Path, non_radiology: bool, drop: Drop) -> pd.DataFrame | None:
    """The first layout that ``root`` has: that of v1, its flat copy, or that of ROCOv2; None where it has none.

    Returns:
        id, text, image, split; license where a file gives it; article (PMC number) with v1's licences.txt.
    """
    layouts = (_original(root, non_radiology, drop), _flat(root, non_radiology, drop), _second(root, drop))
    parts = next((parts for layout in layouts if (parts := list(layout))), [])
    return pd.concat(parts, ignore_index=True) if parts else None


def _original(root: Path, non_radiology: bool, drop: Drop) -> Iterator[pd.DataFrame]:
    """v1: ``[data/]<split>/radiology/captions.txt`` beside licences.txt and images."""
    for folder in _kinds(root, "data", non_radiology):
        captions = folder / "captions.txt"
        if not captions.is_file():
            continue
        frame = _captions(captions, drop)
        licences = folder / "licences.txt"
        if licences.is_file():
            table = read_table(licences, ["ROCO_ID", "PMC_ID", "CC"]).drop_duplicates("ROCO_ID").set_index("ROCO_ID")
            frame["license"] = frame["id"].map(table["CC"])
            frame["article"] = frame["id"].map(table["PMC_ID"].str.split("_").str[0])
        frame["image"] = f"{folder / 'images'}/" + frame["id"] + ".jpg"
        yield frame.assign(split=folder.parent.name)


def _captions(path: Path, drop: Drop) -> pd.DataFrame:
    """``ROCO_00001<TAB> A caption.`` a line: id and text. UserError where many lines are otherwise."""
    rows = enumerate(lines_of(read_text(path)), start=1)
    lines = pd.Series({row: line for row, line in rows if line.strip()}, dtype=object)

    def problem(place: int) -> str:
        line = lines.iloc[place][:40]
        return f"{path}: row {lines.index[place]} is {line!r}, expected id, tab, caption; download it again"

    odd = ~lines.map(lambda line: "\t" in line and bool(line.partition("\t")[0].strip())).astype(bool)
    pairs = drop_faulty(lines, odd, problem, "line without id and caption", drop).map(lambda line: line.split("\t", 1))
    table = pd.DataFrame(pairs.tolist(), index=pairs.index, columns=["id", "text"])
    return _without_repeats(path, table.assign(id=table["id"].str.strip()), drop)


def _flat(root: Path, non_radiology: bool, drop: Drop) -> Iterator[pd.DataFrame]:
    """The flat copy: ``[all_data/]<split>/radiology/{images/,<split>data.csv}`` with id, name, caption."""
    for folder in _kinds(root, "all_data", non_radiology):
        for path in _tables(folder, "*data.csv"):
            frame = _read_captions_table(path, {"id": "id", "name": "image", "caption": "text"}, drop)
            frame["image"] = f"{folder / 'images'}/" + frame["image"].astype(str)
            yield frame.assign(split=folder.parent.name)


def _second(root: Path, drop: Drop) -> Iterator[pd.DataFrame]:
    """ROCOv2: ``{train,valid,test}_captions.csv`` with ID, Caption; images in ``<split>_images/[<split>/]``."""
    licences = root / "license_information.csv"
    table = read_table(licences) if licences.is_file() else None
    for path in _tables(root, "*_captions.csv"):
        split = path.name.removesuffix("_captions.csv")
        frame = _read_captions_table(path, {"ID": "id", "Caption": "text"}, drop)
        outer = root / f"{split}_images"
        places = [outer / split, outer, root / split]
        folder = next((place for place in places if (place / f"{frame['id'].iloc[0]}.jpg").is_file()), places[0])
        frame = frame.assign(split=split, image=f"{folder}/" + frame["id"] + ".jpg")
        if table is not None:
            key, value = table.columns[0], table.columns[-1]
            frame["license"] = frame["id"].map(table.drop_duplicates(key).set_index(key)[value])
        yield frame


def _tables(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith(APPLE_DOUBLE))


def _read_captions_table(path: Path, columns: dict[str, str], drop: Drop) -> pd.DataFrame:
    """The columns of a CSV table under our names, without rows that lack an id or repeat one."""
    table = read_table(path, list(columns)).rename(columns=columns)

    def problem(row: int) -> str:
        return f"{path}: found no id in {row_name(path, row)}; download it again"

    table = drop_faulty(table.set_axis(table.index + 2), table["id"].isna(), problem, "row without an id", drop)
    return _without_repeats(path, table, drop)


def _without_repeats(path: Path, frame: pd.DataFrame, drop: Drop) -> pd.DataFrame:
    """Rows whose id an earlier one has are dropped and counted; the index of ``frame`` is the row in the file."""
    first = frame.reset_index().groupby("id")["index"].transform("first").set_axis(frame.index)

    def problem(place: int) -> str:
        rows = f"rows {first.iloc[place]} and {frame.index[place]}"
        return f"{path}: found id {frame['id'].iloc[place]} in {rows}, expected every id once; remove one of them"

    return drop_faulty(frame, first != frame.index, problem, "repeated id", drop).reset_index(drop=True)


def _kinds(root: Path, inner: str, non_radiology: bool) -> list[Path]:
    base = root / inner if (root / inner).is_dir() else root
    kinds = ("radiology", "non-radiology") if non_radiology else ("radiology",)
    splits = sorted(p for p in base.iterdir() if p.is_dir() and p.name.lower() in SPLIT_NAMES) if base.is_dir() else []
    return [split / kind for split in splits for kind in kinds]
