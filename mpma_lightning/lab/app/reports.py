"""The reports nearest to an image, of a prepared store or of the data of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jsonargparse import ArgumentParser

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.images.source import image_source
from data_modules.store.store import open_store
from data_modules.yaml_files import read_yaml
from mpma_lightning.cli.config_files import check_config_files
from mpma_lightning.cli.explain import Explainer
from mpma_lightning.cli.mistakes import one_line_errors
from mpma_lightning.inference import Model


@dataclass(frozen=True)
class Source:
    """Rows with ``id``, ``split``, ``image`` and ``text``; ``phantom``: whether they are synthetic."""

    name: str
    rows: pd.DataFrame
    phantom: bool


@dataclass(frozen=True)
class Near:
    """A report near to an image.

    Attributes:
        id: of a sample that has it.
        similarity: cosine of the report and the image that was asked about.
        pixels: uint8 (H, W) or (H, W, 3), the image of the sample.
        others: further samples with the same words.
    """

    id: str
    text: str
    similarity: float
    pixels: np.ndarray
    others: int


@dataclass(frozen=True)
class Found:
    """The nearest reports, best first, and what they were searched in."""

    reports: list[Near]
    said: str


def of_store(folder: Path) -> Source:
    """The rows of a prepared store.

    Raises:
        UserError: ``folder`` holds none, or a broken one.
    """
    if (store := open_store(folder)) is None:
        raise UserError(f"found no prepared store in {folder}; `prepare` writes one, and --store names its folder")
    return Source(f"{folder.name} ({store.manifest['module']})", store.rows(), store.manifest["phantom"])


def of_run(record: Path, trusted: bool = False) -> Source:
    """The rows that the data of a run have, read as they are now.

    Args:
        record: ``config.yaml`` of the run.
        trusted: it may name classes of any package.

    Raises:
        UserError: the data are not there, or the record does not fit them.
    """
    check_config_files([record], trusted)
    if not (content := read_yaml(record).get("data")):
        raise UserError(f"{record} names no data; give a prepared store: --store FOLDER")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=DataModule)
    with one_line_errors("", lambda: Explainer("", {"data": DataModule}, ["data"])):
        data: DataModule = parser.instantiate(parser.parse_object({"data": content})).data
    return Source(type(data).__name__, data.check_rows(data.rows()), data.phantom)


class Reports:
    """Different reports of a split, embedded when they are first asked for.

    Args:
        model: with global alignment and a text encoder.
        source: opens the rows.
        split: ``train``, ``val``, ``test`` or ``all``.
        most: reports that are embedded; of more, some that are spread evenly.
    """

    def __init__(self, model: Model, source: Callable[[], Source], split: str = "test", most: int = 2000) -> None:
        self.model, self.source, self.split, self.most = model, source, split, most

    def nearest(self, embedding: np.ndarray, count: int = 5) -> Found:
        """The ``count`` reports of the highest cosine with an image (D,), L2-normalised as ``embed_images`` gives it.

        Raises:
            UserError: the source cannot be read, or has no reports with images in this split.
        """
        rows, texts, said = self._embedded
        cosines = texts @ embedding
        best = np.argsort(-cosines, kind="stable")[:count]
        how = self.model.preparation.channels, self.model.preparation.short_side
        found = []
        for place in best.tolist():
            row: dict[str, Any] = rows.iloc[place].to_dict()
            pixels, others = image_source(row["image"]).read(*how), int(row["times"]) - 1
            found.append(Near(str(row["id"]), row["text"], float(cosines[place]), pixels, others))
        return Found(found, said)

    @cached_property
    def _embedded(self) -> tuple[pd.DataFrame, np.ndarray, str]:
        """Rows, their embeddings (N, D), and a sentence about them."""
        source = self.source()
        if missing := [name for name in ("text", "image") if name not in source.rows]:
            raise UserError(f"{source.name} has no {missing[0]}s; give a prepared store of reports: --store FOLDER")
        rows = source.rows if self.split == "all" else source.rows[source.rows["split"] == self.split]
        rows = rows[rows["text"].fillna("").str.strip() != ""]
        if rows.empty:
            raise UserError(f"{source.name} has no reports in its {self.split} split; choose another with --split")
        rows = rows.assign(times=rows.groupby("text")["text"].transform("size")).drop_duplicates("text")
        known, count = len(rows), min(len(rows), self.most)
        rows = rows.iloc[np.linspace(0, known - 1, count).astype(int)]
        texts = self.model.embed_texts(rows["text"].tolist(), aligned=True)
        some = f"{count:,}" if count == known else f"{count:,}, spread evenly, of the {known:,}"
        where = "all splits" if self.split == "all" else f"{self.split} split"
        said = f"By cosine, among {some} different reports of {source.name}, {where}."
        said += "" if source.phantom else " They may be of patients: the terms of their data hold for what you see."
        return rows, texts, said
