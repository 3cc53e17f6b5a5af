"""RSNA Pneumonia Detection Challenge (Kaggle 2018): DICOM radiographs with boxes of lung opacities."""

from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.index.draws import stratified_splits
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import require_folder
from data_modules.index.listed_splits import take_lists
from data_modules.index.tables import find_table, read_table, row_name

CLASS = "Pneumonia"
SOURCE = "it comes with kaggle.com/c/rsna-pneumonia-detection-challenge; set data.root to its folder"
SIDES = ["x", "y", "width", "height"]
SPLITS = {"70/15/15": (0.7, 0.15, 0.15), "60/20/20": (0.6, 0.2, 0.2)}


class RSNAPneumoniaDataModule(DataModule):
    """One row a box in the table, one sample an image here; ``Target`` is the label Pneumonia.

    ``patientId`` names an exam: the images come from NIH ChestX-ray14, whose patients repeat, and no table here tells
    which exams share one. Splits are therefore by exam, as published, and stratified.

    Args:
        root: ``stage_2_train_images/<patientId>.dcm`` and ``stage_2_train_labels.csv``.
        split: shares of train/val/test; MGCA's classification has 70/15/15 and its detection 60/20/20.
        lists: folder of published lists, ``train.txt`` or ``train_list.txt`` and so on, in place of the draw.
            All they name must be here: MRM's test list, of ``stage_2_test_images``, is refused.
        positives: training keeps only images with a box.

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        split: Literal["70/15/15", "60/20/20"] = "60/20/20",
        lists: str | None = None,
        positives: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root, self.split, self.lists, self.positives = Path(root), split, lists, positives
        self.label_names, self.box_classes = [CLASS], [CLASS]

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "RSNA Pneumonia")
        path = find_table([self.root], "stage_2_train_labels", SOURCE)
        table = read_table(path, ["patientId", *SIDES, "Target"])
        odd = ~table["Target"].isin(["0", "1"])
        numbers = table[SIDES].apply(pd.to_numeric, errors="coerce")
        odd |= (table["Target"] == "1") & numbers.isna().any(axis=1)
        odd |= table["patientId"].isna()

        def problem(row: int) -> str:
            found = f"{path}: found {', '.join(table.iloc[row].fillna(''))} in {row_name(path, row)}"
            expected = "expected patientId, four numbers and Target 1, or blanks and Target 0"
            return f"{found}, {expected}; download the table again"

        sound = drop_faulty(table, odd, problem, "odd row", self.drop)
        sound = sound[~sound["patientId"].isin(table["patientId"][odd])]  # not an image with a part of its boxes
        numbers = numbers.loc[sound.index]
        corners = numbers.assign(x2=numbers["x"] + numbers["width"], y2=numbers["y"] + numbers["height"])
        boxes: dict[str, list[list[float]]] = {name: [] for name in sound["patientId"]}
        positive = sound["Target"] == "1"
        drawn = corners.loc[positive, ["x", "y", "x2", "y2"]].to_numpy(float).tolist()
        for name, box in zip(sound["patientId"][positive], drawn, strict=True):
            boxes[name].append(box)
        frame = pd.DataFrame({"id": list(boxes), "boxes": list(boxes.values())})
        frame["patient"] = frame["study"] = frame["id"]
        frame["image"] = f"{self.root}/stage_2_train_images/" + frame["id"] + ".dcm"
        frame["box_labels"] = frame["boxes"].map(lambda own: [0] * len(own))
        frame[CLASS] = (frame["boxes"].map(len) > 0).astype("float32")
        if self.lists:
            return take_lists(frame, self.lists, self.drop)
        return frame.assign(split=stratified_splits(frame["patient"], frame[[CLASS]], SPLITS[self.split], self.seed))

    def choose_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        if not self.positives:
            return frame
        without = (frame["split"] == "train") & (frame[CLASS] == 0)
        return self.leave_out(frame, without, "training image without a box").reset_index(drop=True)
