"""NIH ChestX-ray14: 112,120 frontal images with text-mined labels, official and 70/10/20 splits, and its boxes."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.boundary import boundary, read_text
from data_modules.errors import UserError, suggest
from data_modules.index.draws import hold_out, stratified_splits
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import files_below, require_folder
from data_modules.index.labels import same_class
from data_modules.index.listed_splits import listed_splits, take_lists
from data_modules.index.tables import find_table, read_table, row_name

CLASSES = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""In the order of MRM's lists."""
NORMAL = "No Finding"
SOURCE = "it comes with NIH ChestX-ray14 (nihcc.app.box.com/v/ChestXray-NIHCC); set data.root to its folder"
OFFICIAL = {"train": "train_val_list.txt", "test": "test_list.txt"}
HELD_OUT = 1 / 8
"""Share of the training patients that validate: 10 of 80 %."""


class NIHChestXray14DataModule(DataModule):
    """Every image a study; blank labels do not occur: an image without a finding is ``No Finding``.

    Args:
        root: ``images_001`` … ``images_012`` (each with ``images/``, or one ``images/``) and ``Data_Entry_2017`` or
            ``Data_Entry_2017_v2020``, .csv or .csv.gz.
        split: ``official``: ``test_list.txt`` tests, an eighth of the patients of ``train_val_list.txt`` validate.
            ``70/10/20``: drawn by patient, as MRM and BenchX drew theirs, stratified. The two are different protocols.
        lists: folder of published 70/10/20 lists, ``train.txt``, ``val.txt`` and ``test.txt`` or, as MRM's whole lists,
            ``train_list.txt`` and so on: one line an image, name first. They take the place of the draw.
        labels: names, in the order of ``labels`` columns.

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        split: Literal["official", "70/10/20"] = "70/10/20",
        lists: str | None = None,
        labels: Sequence[str] = CLASSES,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if lists and split == "official":
            raise UserError("found data.lists with data.split official; lists belong to 70/10/20")
        self.root, self.split, self.lists = Path(root), split, lists
        self.labels, self.label_names = list(labels), list(labels)

    def read_index(self) -> pd.DataFrame:
        path, table = read_entries(self.root)

        def problem(row: int) -> str:
            return f"{path}: found no label in {row_name(path, row)}, expected names joined by |, or {NORMAL}"

        table = drop_faulty(table, table["Finding Labels"].isna(), problem, "row without a label", self.drop)
        table = table.reset_index(drop=True)
        frame = pd.DataFrame(
            {"id": table["Image Index"], "patient": table["Patient ID"], "study": table["Image Index"]}
        )
        frame["image"] = locate_films(self.root, frame["id"])
        frame = frame.join(label_columns(path, table["Finding Labels"], self.label_names))
        known = label_columns(path, table["Finding Labels"], list(CLASSES))  # one draw for any data.labels
        if self.lists:
            return take_lists(frame, self.lists, self.drop)
        if self.split == "70/10/20":
            return frame.assign(split=stratified_splits(frame["patient"], known, (0.7, 0.1, 0.2), self.seed))
        frame = hold_out(frame.assign(split=listed_splits(frame["id"], self._official())), known, HELD_OUT, self.seed)
        return self.leave_out(frame, frame["split"].isna(), "image in no list").reset_index(drop=True)

    def boxes(self) -> pd.DataFrame:
        """The 984 boxes of ``BBox_List_2017`` on 1024 x 1024 pixels: id, label, x, y, width, height.

        ``label`` is a name of ``CLASSES`` (the table's Infiltrate is Infiltration). The header has nine fields for six
        columns, so the table is read by position.
        """
        path = find_table([self.root], "BBox_List_2017", SOURCE)
        with boundary(f"{path}: found no table of id, label, x, y, width, height", "download it again"):
            table = pd.read_csv(io.StringIO(read_text(path)), skiprows=1, header=None, usecols=range(6))
            table = table.set_axis(["id", "label", "x", "y", "width", "height"], axis=1)
            numbers = table[["x", "y", "width", "height"]].astype(float)
        return table.assign(label=table["label"].map(lambda name: same_class(name, CLASSES) or name), **numbers)

    def _official(self) -> dict[str, Path]:
        files = {split: self.root / name for split, name in OFFICIAL.items()}
        for path in files.values():
            if not path.is_file():
                raise UserError(f"{path}: split list not found; {SOURCE}, or use data.split 70/10/20")
        return files


def locate_films(root: Path, names: pd.Series) -> pd.Series:
    """Full paths of ``names``, below ``images_001`` … or ``images``."""
    folders = sorted(root.glob("images*"))
    found = {file.name: str(file) for folder in folders for file in files_below(folder, [".png"])}
    return names.map(lambda name: found.get(name, str(root / "images" / name)))


def read_entries(root: Path) -> tuple[Path, pd.DataFrame]:
    """Path and rows of the label table: image, labels, patient (``OriginalImage[Width,Height]`` is two columns)."""
    require_folder(root, "NIH ChestX-ray14")
    path = find_table([root], ("Data_Entry_2017_v2020", "Data_Entry_2017"), SOURCE)
    return path, read_table(path, ["Image Index", "Finding Labels", "Patient ID"])


def label_columns(path: Path, findings: pd.Series, labels: list[str]) -> pd.DataFrame:
    """0/1 columns ``labels`` from names joined by ``|``.

    Raises:
        UserError: a label that no image has, with the nearest name there is.
    """
    present = findings.str.get_dummies("|")
    columns = {}
    for name in labels:
        column = same_class(name, present.columns.tolist())
        if column is None and name not in CLASSES:
            raise UserError(
                f"{path}: found no image with label {name!r}{suggest(name, present.columns)}; correct data.labels"
            )
        columns[name] = present[column] if column else 0
    return pd.DataFrame(columns, index=findings.index).astype("float32")
