"""The loaders of a data module: how the rows of an index become batches, on every process, resumably."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from data_modules.contract import DEFAULT_IMAGE_SIZE, AsksForData, DataRequest, Kind
from data_modules.errors import UserError, expect
from data_modules.images.transforms import DEFAULT_AUGMENT, Augment, Transform
from data_modules.index.hashing import stable_hash
from data_modules.loading.batch_sampler import ShardedBatchSampler
from data_modules.loading.dataset import SampleDataset
from data_modules.loading.loader import ResumableLoader, collate, epochs_done, trainer_progress
from data_modules.loading.reading import Reading
from data_modules.text.drafts import read_drafts
from data_modules.text.tokenizer import DEFAULT_TEXT, TextOptions, Tokenizer


class IndexLoaders(LightningDataModule):
    """Loaders of the splits of ``index``; the subclass reads it, and settles tokeniser and labels, in ``setup``.

    Args:
        image_size: side S of the crop; None takes the task's ``crop_size`` and else 224.
        channels: 1 (gray) or 3.
        batch_size: samples a batch **on each process**.
        num_workers: loader processes.
        seed: of sample order, augmentation, masks and a drawn split.
        augment: training augmentation and how evaluation images are fitted.
        text: tokeniser and text lengths.
        folder: ``predict`` embeds the images of this folder in place of a split.
        predict_split: ``predict`` reads this split, or ``all``.
        draft: a table of ``id`` and ``draft``, JSON lines or CSV, for ``predict`` of a task that writes reports: of
            these samples only, it keeps the written words and fills the gaps ``[...]``.
    """

    label_names: list[str]
    passed_on: Mapping[str, Kind] = MappingProxyType({})
    """Columns of the index that the batch has under their own names, with their types: ``{"age": "float"}``."""
    one_image_per_study = False
    """True: a training epoch shows each study once, with an image drawn from (seed, epoch, study)."""
    skip_bad_samples = False
    """True: in training, the next sample takes the place of one that cannot be read, so that all ranks have as many
    batches. Evaluation always stops: a score over other samples is another score."""

    def __init__(
        self,
        image_size: int | None = None,
        channels: int = 1,
        batch_size: int = 64,
        num_workers: int = 2,
        seed: int = 0,
        augment: Augment = DEFAULT_AUGMENT,
        text: TextOptions = DEFAULT_TEXT,
        folder: str | None = None,
        predict_split: Literal["train", "val", "test", "all"] = "test",
        draft: str | None = None,
    ) -> None:
        super().__init__()
        expect(batch_size >= 1, "data.batch_size", batch_size, "at least 1")
        expect(num_workers >= 0, "data.num_workers", num_workers, "0 or more")
        expect(image_size is None or image_size >= 1, "data.image_size", image_size, "at least 1")
        expect(channels in (1, 3), "data.channels", channels, "1 or 3")
        alone = folder is None or predict_split == "test"
        expect(alone, "data.predict_split", predict_split, "none beside data.folder, whose images predict reads")
        expect(0 <= text.sentence_dropout < 1, "data.text.sentence_dropout", text.sentence_dropout, "0 <= share < 1")
        expect(text.length_window >= 0, "data.text.length_window", text.length_window, "0 or more")
        self.allow_zero_length_dataloader_with_multiple_devices = True  # a tiny evaluation split on many ranks
        self.image_size, self.channels = image_size, channels
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.augment, self.text, self.folder, self.predict_split = augment, text, folder, predict_split
        self.draft = draft
        self.label_names = []
        self.index: pd.DataFrame | None = None
        self.tokenizer: Tokenizer | None = None
        self._datasets: dict[str, SampleDataset] = {}
        self._readings: list[Reading] = []

    @property
    def request(self) -> DataRequest:
        """What the attached task asks for; without one, everything there is."""
        task = self.trainer.lightning_module if self.trainer else None
        return task.data_request() if isinstance(task, AsksForData) else DataRequest()

    @property
    def reads_text(self) -> bool:
        """Whether the attached task reads texts."""
        return "text" in self.request.modalities

    def row_weights(self, frame: pd.DataFrame) -> np.ndarray | None:
        """How often a training epoch shows each row (each study's first row under ``one_image_per_study``)."""
        return None

    def train_dataloader(self) -> DataLoader:
        """Shuffled by (seed, epoch), resumable within an epoch; the incomplete last global batch is dropped.

        A task with ``encodes_once`` gets every training sample once, as evaluation sees it.
        """
        if self.request.encodes_once:
            self._datasets["train samples"] = self.samples("train")
            return self._eval_loader("train samples")
        sampler = self._sampler("train", train=True)
        if not len(sampler):
            raise UserError(
                f"{type(self).__name__}: found {sampler.num_samples} training samples, expected at least one global "
                f"batch of {self.batch_size} x {sampler.world_size}; lower batch_size"
            )
        if self.trainer is None:
            return ResumableLoader(self._datasets["train"], sampler, self.num_workers)
        self._datasets["train"].skip_bad = self.skip_bad_samples
        sampler.set_epoch(epochs_done(self.trainer))
        progress, reading = trainer_progress(self.trainer), self._reading("train")
        return ResumableLoader(self._datasets["train"], sampler, self.num_workers, progress, reading)

    def training_samples(self) -> int:
        """How many samples an epoch has before its incomplete last batch is dropped."""
        return self._sampler("train", train=True).shown

    def val_dataloader(self) -> DataLoader:
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader:
        """The images of ``folder``, else ``predict_split`` as evaluation sees it; indices are tracked by lightning."""
        usual = self.folder is None and self.draft is None and self.predict_split == "test"
        name = "test" if usual else "predict"
        if name == "predict" and self.folder is None:
            assert self.index is not None, "call setup first"
            rows = self.index if self.predict_split == "all" else self.split_rows(self.predict_split)
            self._datasets[name] = self._dataset(self.drafts_of(rows), name)
        order = [pair for batch in self._sampler(name, train=False) for pair in batch]
        return self._loader(name, sampler=order, batch_size=self.batch_size)

    def samples(self, split: str) -> SampleDataset:
        """The samples of a split as evaluation sees them: no augmentation, every image, epoch 0."""
        return self._dataset(self.split_rows(split), f"{split} samples")

    def probe_samples(self, count: int | None = None) -> SampleDataset:
        """One image of each of ``count`` (default: all) training studies, in the order of a hash of (seed, study)."""
        assert self.index is not None, "call setup first"
        train = self.index[self.index["split"] == "train"].drop_duplicates("study")
        order = train["study"].map(lambda study: stable_hash("probe", self.seed, study)).argsort(kind="stable")
        return self._dataset(train.iloc[order].head(count or len(train)), "probe samples")

    def sample_being_read(self, pid: int) -> str | None:
        """Id of the sample that worker process ``pid`` of any loader was at; None for other processes."""
        return next((sample for reading in self._readings[::-1] if (sample := reading.sample(pid))), None)

    def split_rows(self, split: str) -> pd.DataFrame:
        """The rows of ``index`` of a split, after ``setup``."""
        assert self.index is not None, "call setup first"
        return self.index[self.index["split"] == split]

    def _dataset(self, frame: pd.DataFrame, split: str) -> SampleDataset:
        train = split == "train"
        return SampleDataset(
            frame,
            label_names=self.label_names,
            transform=Transform(self._crop_size(), self.augment, train) if self._read("image", frame) else None,
            channels=self.channels,
            tokenizer=self.tokenizer if self._read("text", frame) else None,
            max_tokens=self.text.max_tokens,
            seed=self.seed,
            one_per_study=train and self.one_image_per_study,
            sentence_dropout=self.text.sentence_dropout if train else 0.0,
            weights=self.row_weights(frame) if train else None,
            annotations=self.request.annotations,
            passed_on=dict(self.passed_on) | ({"draft": "str"} if "draft" in frame else {}),
            views=self.request.views,
        )

    def drafts_of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of ``frame`` that ``draft`` names, with its texts; all of them without one.

        Raises:
            UserError: the task completes no drafts, or a draft names no row.
        """
        if self.draft is None:
            return frame
        if not self.request.completes_drafts:
            raise UserError(f"found data.draft {self.draft}, but this task completes no drafts; leave it out")
        drafts = read_drafts(Path(self.draft))
        if missing := [name for name in drafts if name not in set(frame["id"])]:
            raise UserError(
                f"{self.draft}: found id {missing[0]!r} ({len(missing)} of {len(drafts)}), expected an id of the "
                f"samples to predict, such as {frame['id'].iloc[0]!r}"
            )
        chosen = frame[frame["id"].isin(drafts.keys())]
        return chosen.assign(draft=chosen["id"].map(drafts)).reset_index(drop=True)

    def _read(self, modality: str, frame: pd.DataFrame) -> bool:
        """Whether to read a modality: ``frame`` has it, and the task has an encoder for it."""
        return modality in frame and modality in self.request.modalities

    def _crop_size(self) -> int:
        return self.image_size or self.request.crop_size or DEFAULT_IMAGE_SIZE

    def _eval_loader(self, name: str) -> DataLoader:
        return self._loader(name, batch_sampler=self._sampler(name, train=False))

    def _loader(self, name: str, **sampling: Any) -> DataLoader:
        world = self.trainer.world_size if self.trainer else 1
        if 0 < len(self._datasets[name]) < world:
            raise UserError(
                f"{type(self).__name__}: found {len(self._datasets[name])} samples to evaluate ({name}), expected at "
                f"least one for each of {world} processes; evaluate on fewer with --trainer.devices, or take a larger "
                "split"
            )
        return DataLoader(
            self._datasets[name],
            num_workers=self.num_workers,
            collate_fn=collate,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=self._reading(name),
            **sampling,
        )

    def _sampler(self, name: str, train: bool) -> ShardedBatchSampler:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        dataset = self._datasets[name]
        common = (len(dataset), self.batch_size, self.seed, rank, world, train)
        if not train:
            return ShardedBatchSampler(*common)
        lengths = dataset.text_lengths if self.text.length_window and dataset.tokenizer is not None else None
        return ShardedBatchSampler(*common, dataset.weights, lengths, self.text.length_window)

    def _reading(self, name: str) -> Reading | None:
        """Notes what the workers of a loader read; None without workers."""
        if self.num_workers == 0:
            return None
        if (transform := self._datasets[name].transform) is not None:
            transform.prepare()
        self._readings.append(Reading(self._datasets[name], self.num_workers))
        return self._readings[-1]
