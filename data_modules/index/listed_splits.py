"""Splits that published lists give: one list a split, or the pinned list of a test set."""

import re
from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd

from data_modules.boundary import lines_of, read_text, uncommented
from data_modules.errors import UserError
from data_modules.index.faulty import Drop, leave_out
from data_modules.index.splits import SPLITS
from data_modules.index.tables import read_table

PINNED = ("Path", "path", "dicom_id", "id")
"""Columns that may name the samples of a pinned list: CheXpert's, MIMIC-CXR's, ours; the first one that is there."""
LISTS = {split: (f"{split}.txt", f"{split}_list.txt") for split in SPLITS}
"""Names of published lists; MRM's end in ``_list``: its ``train_1.txt`` is 1 % of ``train_list.txt``."""
ENDING = re.compile(r"\.(png|jpe?g|dcm|dicom)$", re.IGNORECASE)


def list_files(folder: Path) -> dict[str, Path]:
    """The published list of every split in ``folder``; a UserError where one is not there."""
    files = {}
    for split, names in LISTS.items():
        found = [path for name in names if (path := folder / name).is_file()]
        if not found:
            raise UserError(
                f"{folder}: split list not found, neither {' nor '.join(names)}; data.lists is a folder of train.txt, "
                "val.txt and test.txt, or of train_list.txt, val_list.txt and test_list.txt"
            )
        files[split] = found[0]
    return files


def listed_splits(ids: pd.Series, files: dict[str, Path]) -> pd.Series:
    """Split of each sample, blank where no list of ``files`` has it.

    A list has one image a line, its path or id first; what follows a space is not read [MRM's lists]. Folder and ending
    may differ from those of the id.

    Raises:
        UserError: a list names what is not in ``ids``, with the first such name; a list is empty; a name is in two.
    """
    listed: dict[str, str] = {}
    for split, path in files.items():
        names = {_bare(line.split()[0]) for line in lines_of(read_text(path)) if line.strip()}
        if not names:
            raise UserError(f"{path}: found an empty list, expected the images of {split}, one a line")
        if twice := sorted(names & listed.keys()):
            raise UserError(
                f"{path}: {len(twice):,} of its {len(names):,} names are also in {files[listed[twice[0]]]} (first: "
                f"{twice[0]}), expected every image in one list; correct the lists"
            )
        listed |= dict.fromkeys(names, split)
    bare = ids.map(_bare)
    refuse_absent(listed, bare, ", ".join(map(str, files.values())))
    return bare.map(listed)


def _bare(name: str) -> str:
    """Without folder and ending; the dots of an id, such as SIIM's, are none."""
    return ENDING.sub("", name.rpartition("/")[2])


def take_lists(frame: pd.DataFrame, folder: str, drop: Drop) -> pd.DataFrame:
    """``frame`` with the splits of the lists in ``folder``; what they do not list is left out."""
    frame = frame.assign(split=listed_splits(frame["id"], list_files(Path(folder))))
    return leave_out(frame, frame["split"].isna(), "image in no list", drop).reset_index(drop=True)


def refuse_absent(listed: Collection[str], ids: pd.Series, source: str) -> None:
    """UserError where ``source`` lists what is not among ``ids``: a smaller split would go by the same name."""
    if absent := sorted(set(listed) - set(ids)):
        raise UserError(
            f"{source}: {len(absent):,} of {len(listed):,} listed samples are not in the data (first: {absent[0]}); "
            "use the release and the arguments that the split was drawn with"
        )


def read_pinned(path: str) -> list[str]:
    """Sample ids of a pinned list: one a line (# starts a comment), or a column of a CSV table, see ``PINNED``."""
    file = Path(path)
    if file.suffix in (".csv", ".gz"):
        table = read_table(file)
        column = next((name for name in PINNED if name in table), None)
        if column is None:
            expected = f"expected one of {', '.join(PINNED)}; correct the table's header"
            raise UserError(f"{file}: found columns {', '.join(table.columns)}, {expected}")
        names = table[column].dropna().tolist()
    elif file.is_file():
        names = uncommented(read_text(file))
    else:
        raise UserError(f"{file}: pinned list not found; expected one sample id a line, or a CSV table with them")
    if not names:
        raise UserError(f"{file}: found no sample, expected at least one; correct the list")
    return names


def pin_test(frame: pd.DataFrame, source: str, id_of: Callable[[str], str], drop: Drop) -> pd.DataFrame:
    """The samples of a pinned list as the test split; other test samples, and other samples of the patients listed,
    are left out.

    Args:
        frame: samples with their splits.
        source: path of the pinned list.
        id_of: the sample id of a name in the list.
        drop: counts samples by reason.

    Raises:
        UserError: a listed sample is not in ``frame``, with the first such id.
    """
    ids = [id_of(name) for name in read_pinned(source)]
    known = set(frame["id"])
    if missing := [name for name in ids if name not in known]:
        raise UserError(
            f"{source}: {len(missing)} of {len(ids)} listed samples are not in the data (first: {missing[0]}); the "
            "list and the data must be of one release, and views, labels or exclude must not leave them out"
        )
    pinned = frame["id"].isin(ids)
    theirs = frame["patient"].isin(frame.loc[pinned, "patient"]) & ~pinned
    others = (frame["split"] == "test") & ~pinned & ~theirs
    frame = frame.assign(split=frame["split"].mask(pinned, "test"))
    frame = leave_out(frame, theirs, "other sample of a pinned patient", drop)
    return leave_out(frame, others[~theirs], "not in the pinned list", drop).reset_index(drop=True)
