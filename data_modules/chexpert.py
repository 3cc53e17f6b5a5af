"""CheXpert: chest radiographs with report labels, in the layout of the full and the small release."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import expect
from data_modules.index.draws import hold_out
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import require_folder
from data_modules.index.labels import Blank, Uncertain, join_labels
from data_modules.index.listed_splits import pin_test
from data_modules.index.tables import find_table, read_table, row_name

COMPETITION = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
SOURCE = "it comes with CheXpert (stanfordmlgroup.github.io/competitions/chexpert); set data.root to its folder"


class CheXpertDataModule(DataModule):
    """Training images of ``train.csv``, the official ``valid.csv`` as test; validation is held out of training.

    GLoRIA, MGCA and MRM hold out 5,000 random *images* for validation; here whole patients are held out,
    stratified by the five labels of the competition.

    Args:
        root: ``CheXpert-v1.0-small`` or ``CheXpert-v1.0``: ``train/``, ``valid/``, ``train.csv``, ``valid.csv``.
        labels: names, in the order of ``labels`` columns; by default the five of the competition.
        uncertain: what -1 becomes.
        blank: what "not mentioned" becomes.
        views: Frontal, Lateral or both.
        val_share: share of training patients held out for validation; 0.025 is about 5,000 frontal images, 0.0224
            about 5,000 images of both views.
        pinned: list of images, such as GLoRIA's ``chexpert_5x200.csv``, that take the place of the test split; their
            patients leave training and validation.

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        labels: Sequence[str] = COMPETITION,
        uncertain: Uncertain = "gloria",
        blank: Blank = "zeros",
        views: Sequence[Literal["Frontal", "Lateral"]] = ("Frontal",),
        val_share: float = 0.025,
        pinned: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        expect(0 < val_share < 1, "data.val_share", val_share, "a share between 0 and 1")
        self.root, self.views, self.val_share, self.pinned = Path(root), list(views), val_share, pinned
        self.labels, self.label_names = list(labels), list(labels)
        self.uncertain, self.blank = uncertain, blank

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "CheXpert")
        train, test = self._table("train"), self._table("valid")
        listed = read_table(find_table([self.root], "train", SOURCE), ["Path"], optional=COMPETITION)
        known = listed.loc[train.index].isin(["1.0", "1"])
        train = hold_out(train.assign(split="train"), known, self.val_share, self.seed)  # the same for any data.labels
        frame = pd.concat([train, test.assign(split="test")], ignore_index=True)
        chosen = self.leave_out(frame, ~frame["view"].isin(self.views), "view")
        return chosen.drop(columns="view").reset_index(drop=True)

    def choose_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        return pin_test(frame, self.pinned, _without_root, self.drop) if self.pinned else frame

    def _table(self, name: str) -> pd.DataFrame:
        path = find_table([self.root], name, SOURCE)
        table = read_table(path, ["Path", "Frontal/Lateral"])
        sound = table["Path"].fillna("").map(_without_root).str.fullmatch(r"[^/]+/patient[^/]+/[^/]+/[^/]+")

        def problem(row: int) -> str:
            found = f"{path}: found Path {table['Path'].iloc[row]!r} in {row_name(path, row)}"
            example = f"CheXpert-v1.0-small/{name}/patient00001/study1/view1_frontal.jpg"
            return f"{found}, expected such as {example}; correct the table"

        paths = drop_faulty(table, ~sound, problem, "path of another form", self.drop)
        names = paths["Path"].map(_without_root)
        parts = names.str.split("/", expand=True)
        frame = pd.DataFrame({"id": names, "patient": parts[1], "study": parts[1] + "/" + parts[2]})
        frame = frame.assign(view=paths["Frontal/Lateral"], image=f"{self.root}/" + names)
        policies = (self.uncertain, self.blank)
        return join_labels(frame, paths["Path"], (path, "Path"), self.label_names, policies, self.drop)


def _without_root(path: str) -> str:
    """``CheXpert-v1.0-small/train/…`` as ``train/…``: the root folder has another name in every release."""
    return path.split("/", 1)[1] if path.split("/", 1)[0].startswith("CheXpert") else path
