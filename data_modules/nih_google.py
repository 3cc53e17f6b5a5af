"""Four findings on NIH ChestX-ray14 images, adjudicated by radiologists [Majkowska et al. 2020]."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.base import DataModule
from data_modules.boundary import lines_of, read_text
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import require_folder
from data_modules.index.tables import find_table, read_table, row_name
from data_modules.nih_chestxray14 import OFFICIAL, locate_films

CLASSES = ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")
TABLE = "google2019_nih-chest-xray-labels"
SOURCE = (
    "it comes with torchxrayvision (github.com/mlmed/torchxrayvision, torchxrayvision/data); put it into the folder of "
    "NIH ChestX-ray14, data.root"
)
ANSWERS = {"YES": 1.0, "NO": 0.0}


class NIHGoogleDataModule(DataModule):
    """Validation and test split of the table; no training split. Labels are not those mined from reports: the table's
    ``Finding Labels``, NIH's own, are not read.

    Args:
        root: NIH ChestX-ray14's images, ``images_001`` … or ``images``, and ``google2019_nih-chest-xray-labels``, .csv
            or .csv.gz.
        labels: names, in the order of ``labels`` columns.

    The other arguments are those of ``DataModule``.
    """

    def __init__(self, root: str, labels: Sequence[str] = CLASSES, **common: Any) -> None:
        super().__init__(**common)
        self.root, self.labels, self.label_names = Path(root), list(labels), list(labels)

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "NIH ChestX-ray14")
        path = find_table([self.root], TABLE, SOURCE)
        table = read_table(path, ["Image Index", "Patient ID", "Set Id", *self.label_names])
        values = table[self.label_names].apply(lambda column: column.str.upper().map(ANSWERS))

        def problem(row: int) -> str:
            name = next(name for name in self.label_names if pd.isna(values[name].iloc[row]))
            value = table[name].fillna("").iloc[row]
            found = f"{path}: found {value!r} in {row_name(path, row)}, column {name}"
            return f"{found}, expected YES or NO; download the table again"

        table = drop_faulty(table, values.isna().any(axis=1), problem, "label other than YES and NO", self.drop)
        frame = table[["Image Index", "Patient ID", "Image Index", "Set Id"]]
        frame = frame.set_axis(["id", "patient", "study", "split"], axis=1)
        frame = frame.assign(image=locate_films(self.root, frame["id"])).join(values.astype("float32"))
        self._note_training_patients(frame)
        return frame.reset_index(drop=True)

    def _note_training_patients(self, frame: pd.DataFrame) -> None:
        listed = self.root / OFFICIAL["train"]
        if listed.is_file():
            trained = {line.split("_")[0].lstrip("0") for line in lines_of(read_text(listed)) if line.strip()}
            seen = frame["patient"].isin(trained)
            counts = ", ".join(f"{s} {int(n):,}" for s, n in seen.groupby(frame["split"]).sum().items())
            self.note(f"images whose patients are in {listed.name}: {counts}")
