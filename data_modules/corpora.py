"""Several corpora as one data set, each with a weight."""

from typing import Any, Literal

import numpy as np
import pandas as pd

from data_modules.base import DataModule
from data_modules.contract import Kind
from data_modules.errors import UserError
from data_modules.index.splits import SPLITS


class CorporaDataModule(DataModule):
    """Several data sets as one. Rows, splits and labels are those of each corpus; all other settings are given here.

    Ids, patients and studies are prefixed with the name of the corpus. A label that a corpus does not have is unknown
    (NaN) there, and so is a column of ``passed_on``: NaN as a number, "" as text. The tokeniser is trained on the
    training texts of all corpora.

    Args:
        corpora: data modules by name; only those of their arguments are used that decide the rows.
        weights: how often a training epoch shows each sample of a corpus, by default 1. With 0.5, an epoch shows half
            of the samples, another half each time; with 3, it shows each sample three times, differently augmented and
            masked.
        study_sampling: training shows one image per study and epoch, or all images.

    The other arguments are those of ``DataModule``.
    """

    sampling_options = ("weights", "study_sampling")

    def __init__(
        self,
        corpora: dict[str, DataModule],
        weights: dict[str, float] | None = None,
        study_sampling: Literal["one", "all"] = "one",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.corpora, self.weights = corpora, weights or {}
        self.one_image_per_study = study_sampling == "one"
        passed_on: dict[str, Kind] = {}
        for name, corpus in corpora.items():
            for column, kind in corpus.passed_on.items():
                if passed_on.setdefault(column, kind) != kind:
                    raise UserError(
                        f"found column {column} as {kind} in corpus {name} and as {passed_on[column]} in another, "
                        "expected one type; rename it in passed_on of one of them"
                    )
        self.passed_on = passed_on
        if not corpora:
            raise UserError("found no data.corpora, expected at least one data module by name")
        if unknown := sorted(set(self.weights) - set(corpora)):
            raise UserError(f"found data.weights for {unknown[0]!r}, expected some of {', '.join(corpora)}")
        if wrong := [name for name, weight in self.weights.items() if weight <= 0]:
            raise UserError(f"found data.weights.{wrong[0]} {self.weights[wrong[0]]:g}, expected more than 0")

    def read_index(self) -> pd.DataFrame:
        frames = []
        for name, corpus in self.corpora.items():
            frame = corpus.check_rows(corpus.rows())
            for reason, count in corpus.dropped.items():
                self.drop(f"{name}: {reason}", count)
            for column in ("id", "patient", "study"):
                frame[column] = f"{name}/" + frame[column].astype(str)
            frames.append(frame.assign(corpus=name))
            counts = ", ".join(f"{split} {int((frame['split'] == split).sum()):,}" for split in SPLITS)
            self.note(f"{name}: {counts}; weight {self.weights.get(name, 1):g}")
        self.label_names = list(dict.fromkeys(label for c in self.corpora.values() for label in c.label_names))
        return pd.concat(frames, ignore_index=True)

    @property
    def phantom(self) -> bool:
        return any(corpus.phantom for corpus in self.corpora.values())

    def row_weights(self, frame: pd.DataFrame) -> np.ndarray | None:
        return frame["corpus"].map(lambda name: self.weights.get(name, 1.0)).to_numpy(float)
