"""CheXpert's test set: 500 studies, each labelled by the majority of five radiologists."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import require_folder
from data_modules.index.labels import CHEXPERT, join_labels
from data_modules.index.tables import find_table, read_table, row_name

SOURCE = (
    "the labels are those of github.com/rajpurkarlab/cheXpert-test-set-labels (groundtruth.csv), the images come from "
    "stanfordaimi.azurewebsites.net (CheXlocalize); put both into data.root"
)
STUDY = re.compile(r"(?:.*/)?(test/(patient\d+)/study\d+)(?:/[^/]+)?")
VIEW = re.compile(r"view(\d+)_frontal\.(jpg|png)")


class CheXpert500DataModule(DataModule):
    """Test split only: the first frontal image of every study, as CheXzero takes it.

    Args:
        root: folder of ``groundtruth.csv`` (or of CheXlocalize's ``test_labels.csv``, one row an image) and of
            ``test/``, also within a folder such as ``CheXpert``.
        labels: names, in the order of ``labels`` columns.

    The other arguments are those of ``DataModule``.
    """

    def __init__(self, root: str, labels: Sequence[str] = CHEXPERT, **common: Any) -> None:
        super().__init__(**common)
        self.root, self.labels, self.label_names = Path(root), list(labels), list(labels)

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "CheXpert's test set")
        path = find_table([self.root], ("groundtruth", "test_labels"), SOURCE)
        names = read_table(path)
        key = next((name for name in ("Study", "Path") if name in names), None)
        if key is None:
            raise UserError(f"{path}: found columns {', '.join(names.columns)}, expected Study or Path; {SOURCE}")
        self._refuse_contradictions(path, names, key)
        known = names[key].fillna("").str.extract(STUDY)

        def problem(row: int) -> str:
            return (
                f"{path}: found {key} {names[key].iloc[row]!r} in {row_name(path, row)}, expected such as "
                "CheXpert-v1.0/test/patient64741/study1; correct the table"
            )

        named = drop_faulty(names, known[0].isna(), problem, "study of another form", self.drop)
        frame = known.loc[named.index].set_axis(["study", "patient"], axis=1)
        folder = next(
            (root for root in (self.root, *sorted(self.root.glob("*"))) if (root / "test").is_dir()), self.root
        )
        frame = frame.assign(
            id=frame["study"], split="test", image=frame["study"].map(lambda s: first_frontal(folder / s))
        )
        frame = join_labels(frame, named[key], (path, key), self.label_names, ("ignore", "ignore"), self.drop)
        return frame.drop_duplicates("study").reset_index(drop=True)

    def _refuse_contradictions(self, path: Path, table: pd.DataFrame, key: str) -> None:
        """A table of images repeats the labels of their study; one study has one truth."""
        studies = table[key].fillna("").str.extract(STUDY)[0]
        values = table.drop(columns=key).fillna("").groupby(studies).nunique()
        odd = values.index[(values > 1).any(axis=1)]
        if len(odd):
            raise UserError(
                f"{path}: study {odd[0]} is listed with two different labels ({len(odd):,} such studies), expected "
                "one truth for each; download the table again"
            )


def first_frontal(study: Path) -> str:
    """The frontal image of the lowest view number; where there is none, the name that it should have."""
    found = [(int(match[1]), path) for path in study.glob("view*") if (match := VIEW.fullmatch(path.name))]
    return str(min(found)[1] if found else study / "view1_frontal.jpg")
