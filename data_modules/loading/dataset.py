"""The map-style data set behind every loader: rows of an Arrow table to samples, addressed by (epoch, index)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch.utils.data import Dataset

from data_modules.contract import FURTHER_VIEWS, Kind
from data_modules.errors import UserError
from data_modules.images.annotations import BOX_COLUMNS, MASK_COLUMNS, fit_mask, read_boxes, read_mask
from data_modules.images.source import image_source
from data_modules.images.transforms import Transform
from data_modules.index.hashing import stable_hash
from data_modules.text.from_labels import TEXT_FROM_LABELS, written
from data_modules.text.sentences import drop_sentences
from data_modules.text.tokenizer import Tokenizer

COLUMNS = ("id", "patient", "study", "group", "image", "text")
PASSED_ON = ("answer", "answer_type", "question_type", "contrasted")
"""Columns of questions, which a sample has unchanged."""
MOST_SKIPPED = 20
"""Consecutive unreadable samples after which the data set is taken to be broken."""


class SampleDataset(Dataset):
    """Samples of one split; stateless, so that any worker gives the same sample for the same (epoch, index).

    The rows lie in an Arrow table and the labels in one array: forked workers share them without copies.

    Args:
        frame: rows of the index, sorted by study.
        label_names: columns that become ``labels``.
        transform: of images; None reads no image.
        channels: 1 or 3.
        tokenizer: of texts; None reads no text.
        max_tokens: T.
        seed: run seed.
        one_per_study: index i is a study, and its image is drawn from (seed, epoch, study).
        sentence_dropout: share of a text's sentences left out.
        weights: of the rows, how often an epoch shows them.
        annotations: ``mask``, ``boxes`` or both, read where the index has them; they move with the image.
            With any, samples have their ``size``.
        passed_on: further columns of a sample, with their types; read where the rows have them.
        views: read the further views that the rows name.

    Attributes:
        skip_bad: a sample that cannot be read is replaced by the next one, whose ``skipped`` lists the errors.
        reading: a tensor that receives the number of the row being read.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        label_names: list[str],
        transform: Transform | None,
        channels: int,
        tokenizer: Tokenizer | None,
        max_tokens: int,
        seed: int,
        one_per_study: bool = False,
        sentence_dropout: float = 0.0,
        weights: np.ndarray | None = None,
        annotations: Sequence[str] = (),
        passed_on: Mapping[str, Kind] | None = None,
        views: bool = True,
    ) -> None:
        self.passed_on = dict(passed_on or {})
        self.mask = "mask" in annotations and bool(set(MASK_COLUMNS) & set(frame))
        self.boxes = "boxes" in annotations and "boxes" in frame
        self.sized = bool(annotations)
        self.views = [name for name in FURTHER_VIEWS if views and transform is not None and name in frame]
        columns = (*COLUMNS, *PASSED_ON, *self.passed_on, *MASK_COLUMNS * self.mask, *BOX_COLUMNS * self.boxes)
        columns = (*columns, *self.views)
        self.table = pa.Table.from_pandas(frame[[c for c in columns if c in frame]], preserve_index=False)
        self.table = self.table.combine_chunks()
        self.labels = np.array(frame[label_names], dtype=np.float32) if set(label_names) & set(frame) else None
        self.label_names = label_names
        self.from_labels = frame[TEXT_FROM_LABELS].to_numpy(bool) if TEXT_FROM_LABELS in frame else None
        self.transform, self.channels = transform, channels
        self.tokenizer, self.max_tokens, self.seed = tokenizer, max_tokens, seed
        self.sentence_dropout, self.skip_bad = sentence_dropout, False
        self.reading: Any = None
        self.starts: np.ndarray | None = None
        if one_per_study:
            codes = pd.factorize(frame["study"])[0]
            self.starts = np.append(np.flatnonzero(np.diff(codes, prepend=-1)), len(frame))
        self.weights = weights if weights is None or self.starts is None else weights[self.starts[:-1]]

    def __len__(self) -> int:
        return self.table.num_rows if self.starts is None else len(self.starts) - 1

    def __getitem__(self, where: tuple[int, int] | int) -> dict[str, Any]:
        epoch, i = where if isinstance(where, tuple) else (0, where)
        return self._first_sound(epoch, i) if self.skip_bad else self._sample(epoch, i)

    def name_of(self, row: int) -> str:
        """The id in row ``row``."""
        return self.table.column("id")[row].as_py()

    def _first_sound(self, epoch: int, i: int) -> dict[str, Any]:
        skipped: list[str] = []
        for step in range(min(MOST_SKIPPED, len(self))):
            try:
                return self._sample(epoch, (i + step) % len(self)) | {"skipped": skipped}
            except UserError as error:
                skipped.append(str(error))
        raise UserError(f"{skipped[0]}; and so are the {len(skipped) - 1} samples after it: mend the data first")

    def _sample(self, epoch: int, i: int) -> dict[str, Any]:
        row = self._row(epoch, i)
        if self.reading is not None:
            self.reading[0] = row
        record = {name: self.table.column(name)[row].as_py() for name in self.table.column_names}
        seed = stable_hash(self.seed, epoch, record["id"])
        sample: dict[str, Any] = {
            "id": record["id"],
            "patient": str(record["patient"]),
            "group": torch.tensor(record["group"]),
            "seed": torch.tensor(seed),
        }
        if self.transform is not None:
            try:
                sample |= self._picture(record, seed, self.transform)
                if self.views:
                    sample |= self._further(record, seed, self.transform)
            except UserError as error:
                raise UserError(f"{error} (sample {record['id']})") from None
        if self.tokenizer is not None:
            if not (record["text"] or "").strip():
                raise UserError(f"sample {record['id']}: empty text; give it one, or leave the row out of the data")
            text = self._worded(row, record["text"], seed)
            ids, mask, words = self.tokenizer.encode(text, self.max_tokens)
            sample["input_ids"], sample["attention_mask"] = torch.tensor(ids), torch.tensor(mask)
            sample["word_ids"], sample["text"] = torch.tensor(words), text
        sample |= {name: record[name] for name in PASSED_ON if name in record}
        sample |= {name: _value(record[name], kind) for name, kind in self.passed_on.items() if name in record}
        if self.labels is not None:
            sample["labels"] = torch.from_numpy(self.labels[row])
        return sample

    def text_lengths(self, pairs: list[tuple[int, int]]) -> np.ndarray:
        """Characters of the texts that these (epoch, index) pairs show: what their tokens will be in proportion to."""
        return np.array([len(self._text(epoch, self._row(epoch, i))) for epoch, i in pairs])

    def _text(self, epoch: int, row: int) -> str:
        text, name = (self.table.column(column)[row].as_py() for column in ("text", "id"))
        return self._worded(row, text or "", stable_hash(self.seed, epoch, name))

    def _worded(self, row: int, text: str, seed: int) -> str:
        """``text``, or one written from the labels of the row, without the sentences that the seed leaves out."""
        if self.from_labels is not None and self.from_labels[row] and self.labels is not None:
            text = written(self.label_names, self.labels[row], seed)
        return drop_sentences(text, self.sentence_dropout, seed) if self.sentence_dropout else text

    def _picture(self, record: dict[str, Any], seed: int, transform: Transform) -> dict[str, torch.Tensor]:
        """``image``, with the mask and the boxes that were asked for."""
        source = image_source(record["image"])
        image = source.read(self.channels, transform.augment.short_side, transform.enough)
        shape = (image.shape[0], image.shape[1])
        width, height = source.size() if self.sized else shape[::-1]
        mask = fit_mask(read_mask(record, (width, height)), shape) if self.mask else None
        boxes = read_boxes(record, (width, height), shape) if self.boxes else None
        done = {name: torch.from_numpy(value) for name, value in transform(image, seed, mask, boxes).items()}
        if boxes is not None:
            done["box_labels"] = torch.tensor(record["box_labels"], dtype=torch.int64)[done.pop("kept")]
        if self.sized:
            done["size"] = torch.tensor((height, width))
        return done

    def _further(self, record: dict[str, Any], seed: int, transform: Transform) -> dict[str, torch.Tensor]:
        """``views`` and ``view_kinds``."""
        side = transform.image_size
        pictures = torch.zeros(len(self.views), self.channels, side, side, dtype=torch.uint8)
        kinds = torch.zeros(len(self.views), dtype=torch.int64)
        for place, name in enumerate(self.views):
            if record[name] is not None:
                source = image_source(record[name])
                image = source.read(self.channels, transform.augment.short_side, transform.enough)
                pictures[place] = torch.from_numpy(transform(image, seed)["image"])
                kinds[place] = 1 + FURTHER_VIEWS.index(name)
        return {"views": pictures, "view_kinds": kinds}

    def _row(self, epoch: int, study: int) -> int:
        """The row itself, or one of the study's."""
        if self.starts is None:
            return study
        first, last = int(self.starts[study]), int(self.starts[study + 1])
        name = self.table.column("study")[first].as_py()
        return first + stable_hash("image of study", self.seed, epoch, name) % (last - first)


def _value(value: Any, kind: Kind) -> Any:
    """``value`` of a row; numbers as float32 tensors, NaN for None."""
    return torch.tensor(np.nan if value is None else value, dtype=torch.float32) if kind == "float" else value
