"""ROCO figures and captions: v1 in its original layout or as flat CSV, ROCOv2, and the hub's Arrow form."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.images.source import table_references
from data_modules.index.files import require_folder
from data_modules.index.hub import is_hub_form, read_columns
from data_modules.index.splits import normalise_splits
from data_modules.text.roco_captions import read_layouts
from data_modules.text.sections import clean

RETRIEVAL_SEED = 42
CHOSEN = "chosen"
"""Column: whether ``retrieval_pairs`` keeps the row in validation or test."""


class ROCODataModule(DataModule):
    """Figures of open-access articles with their captions, for pre-training and for retrieval [Pelka et al. 2018].

    The official split is not by article: about two thirds of the test figures come from articles that also supply
    training figures. A caption counts its words by white space, as M3AE does.

    Args:
        root: holds ``data/<split>/radiology/captions.txt``, or ``all_data/<split>/radiology/<split>data.csv``, or
            ``<split>_captions.csv`` (ROCOv2), or Parquet shards or a saved ``DatasetDict``.
        non_radiology: also read the non-radiology figures of v1.
        article_disjoint: leave out training and validation figures of articles that supply test figures, and training
            figures of those that supply validation figures. Needs ``licences.txt`` (v1 in its original layout).
        retrieval_pairs: validation and test keep the first so many captions of a shuffle with seed 42; figures that
            are absent on disk are left out afterwards and counted (``ret-roco-2k`` [M3AE]: 2000).

    Figures that are absent on disk are left out and counted; ``max_missing`` (default 1.0) limits their share.
    ``license`` is kept in ``index``. The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        non_radiology: bool = False,
        article_disjoint: bool = False,
        retrieval_pairs: int | None = None,
        max_missing: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(max_missing=max_missing, **common)
        self.root = Path(root)
        self.non_radiology, self.article_disjoint = non_radiology, article_disjoint
        self.retrieval_pairs = retrieval_pairs

    def read_index(self) -> pd.DataFrame:
        frame = self._figures()
        frame["split"] = normalise_splits(frame["split"], frame["id"])
        frame["text"] = frame["text"].fillna("").map(clean)
        frame["study"] = frame["patient"] = frame["id"]
        short = frame["text"].map(lambda caption: len(caption.split())) < max(self.text.min_tokens, 1)
        frame = self.leave_out(frame, short, f"caption under {self.text.min_tokens} words").reset_index(drop=True)
        if "article" in frame:
            if not self.article_disjoint:
                self._note_shared_articles(frame)
        elif self.article_disjoint:
            raise UserError(f"{self.root}: found no licences.txt, which data.article_disjoint reads; set it to false")
        return frame.assign(**{CHOSEN: self._first_pairs(frame)}) if self.retrieval_pairs else frame

    def choose_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame = self.leave_out(frame, self._leaks(frame), "article of an evaluation split")
        if CHOSEN in frame:
            frame = frame[frame[CHOSEN] | (frame["split"] == "train")]
        return frame.reset_index(drop=True)

    def _figures(self) -> pd.DataFrame:
        root = self.root
        require_folder(root, "ROCO")
        frame = read_layouts(root, self.non_radiology, self.drop)
        if frame is not None:
            return frame
        if is_hub_form(root):
            frame = read_columns(root, ("image_id", "caption"), ("license",))
            frame["image"] = table_references(root, frame["split"])
            return frame.rename(columns={"image_id": "id", "caption": "text"})
        raise UserError(
            f"{root}: found none of the layouts of ROCO, expected data/test/radiology/captions.txt, "
            "all_data/test/radiology/testdata.csv, test_captions.csv or Parquet files; correct data.root"
        )

    def _leaks(self, frame: pd.DataFrame) -> pd.Series:
        """bool: figures whose article also supplies a later split; False without ``article_disjoint``."""
        if not self.article_disjoint:
            return pd.Series(False, frame.index)
        test, val = (frame.loc[frame["split"] == split, "article"].dropna() for split in ("test", "val"))
        leaks = (frame["split"] != "test") & frame["article"].isin(test)
        return leaks | (frame["split"] == "train") & frame["article"].isin(val)

    def _note_shared_articles(self, frame: pd.DataFrame) -> None:
        articles = frame[["article", "split"]].dropna().drop_duplicates().groupby("article")["split"].size()
        shared = frame[frame["article"].isin(articles.index[articles > 1])]["split"].value_counts()
        counts = ", ".join(f"{split} {int(shared.get(split, 0)):,}" for split in sorted(frame["split"].unique()))
        self.note(f"figures of articles that also supply another split: {counts}")

    def _first_pairs(self, frame: pd.DataFrame) -> np.ndarray:
        """bool (len(frame),): training, and the first captions of the shuffled validation and test split."""
        chosen = (frame["split"] == "train").to_numpy(copy=True)
        usable = ~self._leaks(frame)
        for split in ("val", "test"):
            rows = np.flatnonzero((frame["split"] == split) & usable).tolist()
            random.Random(RETRIEVAL_SEED).shuffle(rows)
            chosen[rows[: self.retrieval_pairs]] = True
            self.note(
                f"{split}: {min(len(rows), self.retrieval_pairs or 0):,} of {len(rows):,} captions kept, before absent "
                "images are left out"
            )
        return chosen
