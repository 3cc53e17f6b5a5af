"""Shards in the form of webdataset (PMC-OA, BIOMEDICA): tar files of key.jpg, key.json, key.txt, read by place."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.images.source import TarImage
from data_modules.index.faulty import refuse_many
from data_modules.index.files import files_below, require_folder
from data_modules.index.splits import SPLIT_NAMES
from data_modules.index.web_items import Fields, Shard, read_shard
from data_modules.index.words import count_words
from data_modules.machine import in_threads
from data_modules.text.sections import clean

COLUMNS = ["id", "study", "patient", "image", "text", "license", "shard"]


class WebShardsDataModule(DataModule):
    """Every tar file below the root. Its table of contents is read once, images by their place in the file: the set has
    a length, an order and splits like any other, and `prepare` makes a store of it. Nothing is unpacked.

    An item has an image, and a text in ``key.txt`` or in its JSON; a list of texts makes a sample each, of one study
    (Quilt's several texts an image). Shards named by split, or in folders named so (``train-00000.tar``,
    ``val/00000.tar``), have that split; without any such name a split is drawn by article and equal text.

    Args:
        root: folder of the shards.
        text_field: key of the text or texts in an item's JSON; null: ``key.txt``, else a usual one (caption, text).
        licence_field: key of the licence; null: a usual one (license).
        article_field: key of what an item comes from, which is never in two splits; null: a usual one (pmcid), else the
            item itself.
        licences: licences to keep, as the items write them; [] keeps all, also items without one.
        study_sampling: training shows one text of an image an epoch, or all.

    The other arguments are those of ``DataModule``.
    """

    sampling_options = ("study_sampling",)

    def __init__(
        self,
        root: str,
        text_field: str | None = None,
        licence_field: str | None = None,
        article_field: str | None = None,
        licences: Sequence[str] = (),
        study_sampling: Literal["one", "all"] = "one",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root, self.licences = Path(root), list(licences)
        self.text_field, self.licence_field, self.article_field = text_field, licence_field, article_field
        self.study_sampling, self.one_image_per_study = study_sampling, study_sampling == "one"

    def read_index(self) -> pd.DataFrame:
        paths = self.shards()
        return self.rows_of(dict(zip(paths, in_threads(self.read_shard, paths), strict=True)))

    def shards(self) -> list[Path]:
        """The tar files below the root; UserError without one."""
        require_folder(self.root, "the shards")
        if paths := files_below(self.root, [".tar"]):
            return paths
        packed = files_below(self.root, [".tgz", ".gz"])
        raise UserError(
            f"{self.root}: found no .tar file"
            + (f", but {packed[0].name}, whose members have no place to read; unpack it: gunzip" if packed else "")
            + ("" if packed else "; set data.root to the folder of the shards")
        )

    @property
    def read_shard(self) -> partial[Shard]:
        """Reads the table of contents of one shard."""
        return partial(read_shard, fields=Fields(self.text_field, self.licence_field, self.article_field))

    def rows_of(self, shards: dict[Path, Shard]) -> pd.DataFrame:
        """The index, of shards that were read; what is left out is counted."""
        problems = [problem for shard in shards.values() for problem in shard.problems]
        refuse_many(len(problems), sum(len(it.items) + len(it.problems) for it in shards.values()), lambda: problems[0])
        for shard in shards.values():
            for reason, count in shard.left_out.items():
                self.drop(reason, count)
        frame = self._with_splits(pd.DataFrame(self._samples(shards), columns=COLUMNS))
        frame = self.leave_out(frame, frame["image"].isna(), "no image")
        frame = self.leave_out(frame, frame["text"].isna(), "no text")
        frame = self._licensed(frame)
        words = frame["text"].map(count_words)
        frame = self.leave_out(frame, words < self.text.min_tokens, f"text under {self.text.min_tokens} words")
        return frame.drop(columns="shard").reset_index(drop=True)

    def _samples(self, shards: dict[Path, Shard]) -> list[tuple[str | None, ...]]:
        rows: list[tuple[str | None, ...]] = []
        for path, shard in shards.items():
            name = path.relative_to(self.root).as_posix().removesuffix(".tar")
            for item in shard.items:
                key = f"{name}/{item.key}"
                image = None if item.image is None else str(TarImage(str(path), item.image.offset, item.image.size))
                article = key if item.article == item.key else item.article
                for place, text in enumerate(item.texts or [None]):
                    told = clean(text) if text else None
                    rows.append((f"{key}#{place}" if place else key, key, article, image, told, item.licence, name))
        return rows

    def _with_splits(self, frame: pd.DataFrame) -> pd.DataFrame:
        named = {name: _split_of(name) for name in frame["shard"].unique()}
        if not any(named.values()):
            return frame
        if without := [name for name, split in named.items() if split is None]:
            raise UserError(
                f"{self.root}: found shards named by split and {without[0]}.tar, which names none; expected all shards "
                f"or no shard to begin with one of {', '.join(SPLIT_NAMES)}, or to be in a folder of that name"
            )
        return frame.assign(split=frame["shard"].map(named))

    def _licensed(self, frame: pd.DataFrame) -> pd.DataFrame:
        known = Counter(frame["license"].dropna())
        if without := int(frame["license"].isna().sum()):
            self.note(f"{without:,} of {len(frame):,} samples name no licence")
        if not self.licences:
            return frame
        if absent := [licence for licence in self.licences if licence not in known]:
            listed = ", ".join(f"{name} ({count:,})" for name, count in known.most_common(10)) or "none"
            raise UserError(f"data.licences names {absent[0]!r}, which no sample has; found licences: {listed}")
        return self.leave_out(frame, ~frame["license"].isin(self.licences), "licence not in data.licences")


def _split_of(shard: str) -> str | None:
    """By the first word of the shard's name, else by its folder."""
    folder, _, name = shard.rpartition("/")
    first = name.replace("_", "-").split("-")[0].lower()
    return SPLIT_NAMES.get(first) or SPLIT_NAMES.get(folder.rpartition("/")[2].lower())
