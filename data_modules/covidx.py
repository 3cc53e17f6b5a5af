"""COVIDx (COVID-Net): normal, pneumonia or COVID-19, or only the last, from space-separated lists without a header."""

from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.base import DataModule
from data_modules.boundary import lines_of, read_text
from data_modules.errors import UserError, expect
from data_modules.index.draws import hold_out
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import require_folder
from data_modules.index.splits import SPLITS

CLASSES = (("normal", "pneumonia", "COVID-19"), ("negative", "positive"))
"""Of lists A (three classes, in MGCA's order) and B."""
SOURCES = {"rnsa": "rsna"}
COLUMNS = ("patient", "file", "class", "source")
KIND = "patient, file, class and source"
OWN_VALIDATION = "CXR-4"
"""Version with ``train.txt``, ``val.txt`` and ``test.txt``, and one label: COVID-19 or not."""


class COVIDxDataModule(DataModule):
    """``train_COVIDx<version>.txt`` and ``test_COVIDx<version>.txt``; a fifth of the training patients validate.
    Version CXR-4 has ``train.txt``, ``val.txt`` and ``test.txt``, and the one class COVID-19.

    The images come from several collections and the source predicts the class, a shortcut: the source stays in
    ``index``. MGCA holds out a fifth of the *images*; here whole patients are held out, stratified.

    Args:
        root: ``train/`` and ``test/`` (CXR-4: also ``val/``) with the images, and the lists there or in ``labels/``.
        version: of the lists: 9A has three classes, 9B two, CXR-4 one label.
        val_share: share of training patients held out for validation; not of CXR-4.

    The other arguments are those of ``DataModule``.
    """

    exclusive_classes = True

    def __init__(self, root: str, version: str = "9A", val_share: float = 0.2, **common: Any) -> None:
        super().__init__(**common)
        expect(0 < val_share < 1, "data.val_share", val_share, "a share between 0 and 1")
        self.root, self.version, self.val_share = Path(root), version, val_share
        self.exclusive_classes = version != OWN_VALIDATION

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "COVIDx")
        names = SPLITS if self.version == OWN_VALIDATION else ("train", "test")
        frame = self._of_known_class(pd.concat([self._list(split) for split in names], ignore_index=True))
        if self.version == OWN_VALIDATION:
            return self._one_label(frame)
        one_hot = pd.get_dummies(frame["class"])[self.label_names].astype("float32")
        return hold_out(frame, one_hot, self.val_share, self.seed).drop(columns="class").join(one_hot)

    def _one_label(self, frame: pd.DataFrame) -> pd.DataFrame:
        label = (frame["class"] == self.label_names[1]).astype("float32")
        self.label_names = ["COVID-19"]
        return frame.drop(columns="class").assign(**{"COVID-19": label})

    def choose_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        for later, earlier in (("test", ("train", "val")), ("val", ("train",))):
            patients = frame.loc[frame["split"] == later, "patient"]
            leaking = frame["patient"].isin(patients) & frame["split"].isin(earlier)
            frame = self.leave_out(frame, leaking, f"training image of a {later} patient").reset_index(drop=True)
        return frame

    def _list(self, split: str) -> pd.DataFrame:
        name = f"{split}.txt" if self.version == OWN_VALIDATION else f"{split}_COVIDx{self.version}.txt"
        path = next((p for p in (self.root / name, self.root / "labels" / name) if p.is_file()), None)
        if path is None:
            raise UserError(f"{self.root / name}: list not found, nor in {self.root / 'labels'}; take it from "
                            "github.com/lindawangg/COVID-Net, or set data.version")  # fmt: skip
        lines = enumerate(lines_of(read_text(path)), start=1)
        rows = pd.Series({number: line.split() for number, line in lines if line.strip()}, dtype=object)

        def problem(place: int) -> str:
            found = f"{path}: found {len(rows.iloc[place])} words in row {rows.index[place]}"
            return f"{found}, expected {KIND} with spaces between; this version of the list has other columns"

        rows = drop_faulty(rows, rows.map(len) != len(COLUMNS), problem, f"line without {KIND}", self.drop)
        table = pd.DataFrame(rows.tolist(), columns=list(COLUMNS))
        source = table["source"].replace(SOURCES)
        return pd.DataFrame(
            {
                "id": split + "/" + table["file"],
                "patient": source + "/" + table["patient"],
                "study": split + "/" + table["file"],
                "image": f"{self.root}/{split}/" + table["file"],
                "class": table["class"],
                "source": source,
                "split": split,
            }
        )

    def _of_known_class(self, frame: pd.DataFrame) -> pd.DataFrame:
        found = frame["class"]
        self.label_names = list(max(CLASSES, key=lambda names: int(found.isin(names).sum())))

        def problem(row: int) -> str:
            there = f"class {found[row]!r} of {frame['id'][row]} (classes found: {', '.join(sorted(set(found)))})"
            expected = " or ".join(map(", ".join, CLASSES))
            return f"{self.root}: found {there}, expected {expected}; correct the lists"

        known = drop_faulty(frame, ~found.isin(self.label_names), problem, "unknown class", self.drop)
        if absent := set(self.label_names) - set(found):
            raise UserError(f"{self.root}: no image is of class {', '.join(sorted(absent))}; complete the lists")
        return known.reset_index(drop=True)
