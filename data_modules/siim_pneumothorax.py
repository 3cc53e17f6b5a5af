"""SIIM-ACR Pneumothorax Segmentation: DICOM radiographs with run-length masks, several rows an image."""

from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.base import DataModule
from data_modules.images.run_lengths import EMPTY
from data_modules.index.draws import stratified_splits
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import files_below, require_folder
from data_modules.index.hashing import stable_hash
from data_modules.index.listed_splits import take_lists
from data_modules.index.tables import find_table, read_table, row_name

CLASS = "Pneumothorax"
TABLES = ("train-rle", "stage_2_train")
SOURCE = "it comes with the SIIM-ACR Pneumothorax Segmentation challenge; set data.root to its folder"


class SIIMPneumothoraxDataModule(DataModule):
    """70/15/15 by image, stratified (MGCA splits rows, so that images with several rows straddle train and test).

    Args:
        root: ``dicom-images-train/<study>/<series>/<ImageId>.dcm`` and ``train-rle.csv`` or ``stage_2_train.csv``.
        lists: folder of published lists, ``train.txt`` or ``train_list.txt`` and so on, in place of the draw.
        balanced: training keeps all positives and as many negatives, drawn by seed; validation and test keep all.

    The other arguments are those of ``DataModule``.
    """

    mask_class = CLASS

    def __init__(self, root: str, lists: str | None = None, balanced: bool = True, **common: Any) -> None:
        super().__init__(**common)
        self.root, self.lists, self.balanced = Path(root), lists, balanced
        self.label_names = [CLASS]

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "SIIM-ACR Pneumothorax")
        path = find_table([self.root], TABLES, SOURCE)
        table = read_table(path, ["ImageId", "EncodedPixels"])

        def problem(row: int) -> str:
            return f"{path}: found a blank in {row_name(path, row)}, expected ImageId and -1 or run lengths"

        table = drop_faulty(table, table.isna().any(axis=1), problem, "row with a blank", self.drop)
        rows = table.groupby("ImageId", sort=False)["EncodedPixels"].agg(list)
        frame = pd.DataFrame({"id": rows.index, "patient": rows.index, "study": rows.index, "runs": rows.to_numpy()})
        files = {file.stem: str(file) for file in files_below(self.root / "dicom-images-train", [".dcm"])}
        absent = f"{self.root}/dicom-images-train/"
        frame["image"] = frame["id"].map(lambda name: files.get(name, f"{absent}{name}.dcm"))
        frame[CLASS] = frame["runs"].map(lambda own: any(row != EMPTY for row in own)).astype("float32")
        if self.lists:
            return take_lists(frame, self.lists, self.drop)
        return frame.assign(split=stratified_splits(frame["patient"], frame[[CLASS]], (0.7, 0.15, 0.15), self.seed))

    def choose_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        if not self.balanced:
            return frame
        train = frame["split"] == "train"
        negative = frame[train & (frame[CLASS] == 0)]
        order = negative["id"].map(lambda name: stable_hash("balance", self.seed, name)).argsort(kind="stable")
        surplus = negative.index[order.to_numpy()][int((train & (frame[CLASS] == 1)).sum()) :]
        self.drop("surplus negative training image", len(surplus))
        return frame.drop(index=surplus).reset_index(drop=True)
