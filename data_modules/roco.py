"""ROCO figures and captions: v1 in its original layout or as flat CSV, ROCOv2, and the hub's Arrow form."""

import random
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.images.source import table_references
from data_modules.index.hub import is_hub_form, read_columns
from data_modules.index.splits import normalise_splits
from data_modules.text.roco_captions import read_flat, read_original, read_v2
from data_modules.text.sections import clean

RETRIEVAL_SEED = 42


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

    Figures that were never downloaded are counted, not fatal, unless ``max_missing`` says so. ``license`` is kept in
    ``index``. The other arguments are those of ``DataModule``.
    """

    row_options = ("non_radiology", "article_disjoint", "retrieval_pairs")

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
        self.drop(f"caption under {self.text.min_tokens} words", int(short.sum()))
        frame = frame[~short].reset_index(drop=True)
        if "article" in frame:
            frame = self._articles(frame)
        elif self.article_disjoint:
            raise UserError(f"{self.root}: found no licences.txt, which data.article_disjoint reads; set it to false")
        return self._first_pairs(frame) if self.retrieval_pairs else frame

    def _figures(self) -> pd.DataFrame:
        root = self.root
        if not root.is_dir():
            raise UserError(f"{root}: folder not found; set data.root to the folder of ROCO")
        for read in (read_original, read_flat):
            frame = read(root, self.non_radiology)
            if frame is not None:
                return frame
        frame = read_v2(root)
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

    def _articles(self, frame: pd.DataFrame) -> pd.DataFrame:
        suppliers = {split: set(rows["article"].dropna()) for split, rows in frame.groupby("split")}
        test, val = suppliers.get("test", set()), suppliers.get("val", set())
        leaks = (frame["split"] == "train") & frame["article"].isin(test | val)
        leaks |= (frame["split"] == "val") & frame["article"].isin(test)
        if self.article_disjoint:
            self.drop("article of an evaluation split", int(leaks.sum()))
            return frame[~leaks].reset_index(drop=True)
        others = {s: set().union(*(suppliers[o] for o in suppliers if o != s)) for s in suppliers}
        shared = {s: int(((frame["split"] == s) & frame["article"].isin(others[s])).sum()) for s in others}
        self.note(
            "articles are not split: figures of articles that also supply another split: "
            + ", ".join(f"{split!s} {count:,}" for split, count in shared.items())
        )
        return frame

    def _first_pairs(self, frame: pd.DataFrame) -> pd.DataFrame:
        keep = [frame.index[frame["split"] == "train"]]
        for split in ("val", "test"):
            rows = frame.index[frame["split"] == split].tolist()
            random.Random(RETRIEVAL_SEED).shuffle(rows)
            keep.append(pd.Index(rows[: self.retrieval_pairs]))
            self.note(f"{split}: {min(len(rows), self.retrieval_pairs or 0):,} of {len(rows):,} captions kept, "
                      "before absent images are left out")  # fmt: skip
        return frame.loc[sorted(set().union(*map(set, keep)))].reset_index(drop=True)
