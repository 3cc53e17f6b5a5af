"""The data module base: the skeleton every data set shares. What it hands over is in ``spec``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from data_modules.contract import DEFAULT_IMAGE_SIZE, AsksForData, DataRequest, DataSpec
from data_modules.errors import UserError, expect
from data_modules.images.annotations import refuse_outside
from data_modules.images.folder import folder_index
from data_modules.images.missing import drop_missing_images
from data_modules.images.transforms import DEFAULT_AUGMENT, Augment, Transform
from data_modules.index.draws import draw_fraction, draw_splits
from data_modules.index.exclusion import count_excluded, drop_excluded, refuse_idle_exclusion
from data_modules.index.groups import connected_groups
from data_modules.index.hashing import short_name, stable_hash
from data_modules.index.labels import refuse_without_positive
from data_modules.index.manifest import ids_sha256, manifest_hash
from data_modules.index.split_files import take_split_file
from data_modules.index.splits import SPLITS, check_disjoint, has_splits, normalise_splits
from data_modules.loading.batch_sampler import ShardedBatchSampler
from data_modules.loading.dataset import SampleDataset
from data_modules.loading.loader import ResumableLoader, collate, epochs_done, trainer_progress
from data_modules.loading.reading import Reading
from data_modules.store.origin import is_phantom
from data_modules.store.store import OLDER, Store, open_store
from data_modules.text.tokenizer import DEFAULT_TEXT, TextOptions, Tokenizer


class DataModule(LightningDataModule):
    """Skeleton of a data set: a subclass writes ``read_index`` and calls ``drop`` for what it leaves out.

    Where a root of the subclass is a store written by ``prepare``, rows and images come from there. A subclass lists
    in ``row_options`` which of its arguments decide the rows, so that a store made with other values is refused.

    Args:
        image_size: side S of the crop; None takes the task's ``crop_size`` and else 224.
        channels: 1 (gray) or 3.
        batch_size: samples a batch **on each process**.
        num_workers: loader processes.
        seed: of sample order, augmentation, masks and a drawn split.
        augment: training augmentation and how evaluation images are fitted.
        text: tokeniser and text lengths.
        exclude: manifest files (a JSON list, or one id a line) of patients to leave out.
        max_missing: fraction of the images of each split that may be absent on disk.
        folder: ``predict`` embeds the images of this folder in place of the test split.
        label_fraction: share of the training studies that training sees, drawn by ``seed`` and stratified by label.
        split_file: CSV table of id and split, as `split` writes it, in place of the data set's own split.
    """

    label_names: list[str]
    exclusive_classes = False
    """True: every sample has exactly one class; ``labels`` is one-hot."""
    mask_class = ""
    """What ``mask`` shows; with it the index has ``mask`` (path of an image, 0 outside) or ``runs`` (run lengths)."""
    box_classes: list[str]
    """What ``boxes`` hold; with them the index has ``boxes``, ``box_labels`` and optionally ``box_frame``."""
    one_image_per_study = False
    """True: a training epoch shows each study once, with an image drawn from (seed, epoch, study)."""
    skip_bad_samples = False
    """True: in training, the next sample takes the place of one that cannot be read, so that all ranks have as many
    batches. Evaluation always stops: a score over other samples is another score."""
    row_options: ClassVar[tuple[str, ...]] = ()
    """Arguments of the subclass that decide the rows of the index, each kept in an attribute of its name: a store that
    was prepared with other values is refused. Roots are not among them."""
    sampling_options: ClassVar[tuple[str, ...]] = ()
    """Arguments of the subclass that choose among the rows of the index and do not change it."""

    def __init__(
        self,
        image_size: int | None = None,
        channels: int = 1,
        batch_size: int = 64,
        num_workers: int = 2,
        seed: int = 0,
        augment: Augment = DEFAULT_AUGMENT,
        text: TextOptions = DEFAULT_TEXT,
        exclude: Sequence[str] = (),
        max_missing: float = 0.0,
        folder: str | None = None,
        label_fraction: float = 1.0,
        split_file: str | None = None,
    ) -> None:
        super().__init__()
        expect(batch_size >= 1, "data.batch_size", batch_size, "at least 1")
        expect(num_workers >= 0, "data.num_workers", num_workers, "0 or more")
        expect(image_size is None or image_size >= 1, "data.image_size", image_size, "at least 1")
        expect(channels in (1, 3), "data.channels", channels, "1 or 3")
        expect(0 <= max_missing <= 1, "data.max_missing", max_missing, "0 to 1")
        expect(0 <= text.sentence_dropout < 1, "data.text.sentence_dropout", text.sentence_dropout, "0 <= share < 1")
        expect(text.length_window >= 0, "data.text.length_window", text.length_window, "0 or more")
        self.allow_zero_length_dataloader_with_multiple_devices = True  # a tiny evaluation split on many ranks
        self.image_size, self.channels = image_size, channels
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.augment, self.text = augment, text
        self.exclude, self.max_missing, self.folder = list(exclude), max_missing, folder
        self.label_fraction, self.split_file = label_fraction, split_file
        self.label_names, self.box_classes = [], []
        self.index: pd.DataFrame | None = None
        self._spec: DataSpec | None = None
        self.tokenizer: Tokenizer | None = None
        self._dropped: dict[str, int] = {}
        self._excluded: dict[str, int] = {}
        self._notes: list[str] = []
        self._datasets: dict[str, SampleDataset] = {}
        self._readings: list[Reading] = []

    @property
    def spec(self) -> DataSpec:
        """What the data tell a task; ``setup`` fills it."""
        if self._spec is None:
            raise RuntimeError(f"{type(self).__name__} has no spec yet: call setup first")
        return self._spec

    @property
    def request(self) -> DataRequest:
        """What the attached task asks for; without one, everything there is."""
        task = self.trainer.lightning_module if self.trainer else None
        return task.data_request() if isinstance(task, AsksForData) else DataRequest()

    def read_index(self) -> pd.DataFrame:
        """One row a sample: id, patient, study, split (train, val, test), image, text and ``self.label_names``.

        ``image`` holds paths, ``text`` cleaned reports; a data set without one of them omits the column.
        ``mask`` is the path of a mask as large as the image, or ``runs`` a list of SIIM run lengths; ``boxes`` a list
        of [x1, y1, x2, y2] in pixels of an image of ``box_frame`` = [width, height] (default: the image as it is on
        disk), ``box_labels`` their places in ``box_classes``.
        A frame without ``split`` (or with blanks only) is split by :func:`draw_splits`. Raises UserError.
        """
        raise NotImplementedError

    @classmethod
    def from_root(cls, root: Path, **arguments: Any) -> Self:
        """The module of the one folder that ``check`` and ``prepare`` are given."""
        return cls(root=str(root), **arguments)  # type: ignore[call-arg]

    def roots(self) -> dict[str, Path]:
        """The folders that were given, by argument."""
        return {name: value for name, value in vars(self).items() if name.endswith("root") and isinstance(value, Path)}

    @property
    def phantom(self) -> bool:
        """Whether any of its rows are those of the phantom."""
        return any(is_phantom(root) for root in self.roots().values())

    def index_options(self) -> dict[str, Any]:
        """What was chosen that changes the rows: ``row_options`` and ``text.min_tokens``."""
        return {name: getattr(self, name) for name in sorted(self.row_options)} | {
            "text.min_tokens": self.text.min_tokens
        }

    def rows(self) -> pd.DataFrame:
        """``read_index``, or what ``prepare`` made of it, where a root is a prepared store."""
        store = next((found for root in self.roots().values() if (found := open_store(root))), None)
        return self.read_index() if store is None else self._prepared_rows(store)

    def _prepared_rows(self, store: Store) -> pd.DataFrame:
        store.check_options(type(self).__name__, self.index_options(), self.augment.short_side)
        self.label_names = store.label_names
        self.exclusive_classes, self.box_classes = (store.manifest[k] for k in ("exclusive_classes", "box_classes"))
        self._notes.extend(store.manifest["notes"])
        if older := OLDER.get(store.manifest["version"]):
            self.note(f"{store.folder.name}: prepared by an earlier version: {older}; prepare it again for them")
        self._excluded |= store.manifest["excluded"]
        for reason, count in store.dropped.items():
            self.drop(reason, count)
        rows, seed = store.rows(), store.manifest["seed"]
        if self.seed == seed:
            return rows
        if store.manifest["drawn"]:
            return rows.drop(columns="split")  # check_rows draws that of this seed
        self.note(f"{store.folder.name}: what is drawn of rows and splits is that of seed {seed}")
        return rows

    def drop(self, reason: str, count: int) -> None:
        """Count ``count`` samples left out because of ``reason``; the summary line and ``spec.dropped`` show it."""
        if count:
            self._dropped[reason] = self._dropped.get(reason, 0) + int(count)

    @property
    def dropped(self) -> dict[str, int]:
        """Samples left out, by reason."""
        return dict(self._dropped)

    def row_weights(self, frame: pd.DataFrame) -> np.ndarray | None:
        """How often a training epoch shows each row (each study's first row under ``one_image_per_study``)."""
        return None

    def note(self, line: str) -> None:
        """Something about the data that a reader of the results should know; shown below the summary line."""
        self._notes.append(line)

    def choose_training(self, frame: pd.DataFrame) -> pd.DataFrame:
        """``frame`` without the training rows that the data set's arguments leave out, counted by ``drop``; val and
        test stay whole. It follows the split, so that a split is drawn from everything; a second call is free."""
        return frame

    def check_splits(self, frame: pd.DataFrame) -> None:
        """UserError when a patient is in two splits; a data set that officially leaks reports it in its place."""
        check_disjoint(frame)

    def setup(self, stage: str | None = None) -> None:
        """Read and check the index, settle the tokeniser, fill ``spec``; a second call is free."""
        if stage == "predict" and self.folder is not None:
            self._datasets["predict"] = self._dataset(folder_index(Path(self.folder)), "predict")
            if not self.request.needs_tokenizer:
                self._spec = self._spec or self._make_spec({"predict": len(self._datasets["predict"])}, "")
                return
        if self.index is None:
            self.index = self.check_rows(self.rows())
            if "text" in self.index:
                self.tokenizer = self._settle_tokenizer(self.index)
            counts = {split: int((self.index["split"] == split).sum()) for split in SPLITS}
            self._spec = self._make_spec(counts, manifest_hash(self.index, self.label_names))
            rank_zero_info(self.summary())
        if stage == "fit" and self.request.reads_labels:
            refuse_without_positive(self._split("val"), "val", self.label_names)
        for split in SPLITS:
            if split not in self._datasets:
                self._datasets[split] = self._dataset(self.index[self.index["split"] == split], split)

    def summary(self) -> str:
        """One line: samples per split and what was dropped, with reasons; then the notes, one a line."""
        counts = ", ".join(f"{split} {n:,}" for split, n in self.spec.counts.items())
        dropped = ", ".join(f"{reason} {n:,}" for reason, n in sorted(self.spec.dropped.items())) or "nothing"
        line = f"{self.spec.name}: {counts}; dropped: {dropped}; manifest {self.spec.manifest_hash[:12]}"
        return "\n  ".join([line, *self.spec.notes])

    def train_dataloader(self) -> DataLoader:
        """Shuffled by (seed, epoch), resumable in mid-epoch; the ragged last global batch is dropped.

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

    def val_dataloader(self) -> DataLoader:
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader:
        """The images of ``folder``, else the test split; indices are tracked by lightning."""
        name = "predict" if self.folder is not None else "test"
        order = [pair for batch in self._sampler(name, train=False) for pair in batch]
        return self._loader(name, sampler=order, batch_size=self.batch_size)

    def samples(self, split: str) -> SampleDataset:
        """The samples of a split as evaluation sees them: no augmentation, every image, epoch 0."""
        return self._dataset(self._split(split), f"{split} samples")

    def _split(self, split: str) -> pd.DataFrame:
        assert self.index is not None, "call setup first"
        return self.index[self.index["split"] == split]

    def probe_samples(self, count: int | None = None) -> SampleDataset:
        """One image of each of ``count`` (default: all) training studies, in the order of a hash of (seed, study)."""
        assert self.index is not None, "call setup first"
        train = self.index[self.index["split"] == "train"].drop_duplicates("study")
        order = train["study"].map(lambda study: stable_hash("probe", self.seed, study)).argsort(kind="stable")
        return self._dataset(train.iloc[order].head(count or len(train)), "probe samples")

    def _eval_loader(self, split: str) -> DataLoader:
        return self._loader(split, batch_sampler=self._sampler(split, train=False))

    def _reading(self, name: str) -> Reading | None:
        """Where the workers of a loader note what they read."""
        if self.num_workers == 0:
            return None
        self._readings.append(Reading(self._datasets[name], self.num_workers))
        return self._readings[-1]

    def sample_being_read(self, pid: int) -> str | None:
        """Id of the sample that worker process ``pid`` of any loader was at; None for other processes."""
        return next((sample for reading in self._readings[::-1] if (sample := reading.sample(pid))), None)

    def _loader(self, name: str, **sampling: Any) -> DataLoader:
        keep = self.num_workers > 0
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
            pin_memory=False,
            persistent_workers=keep,
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

    def check_rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The index: ``rows`` without excluded patients and missing images, with group and split, sorted. UserError."""
        rows = rows.reset_index(drop=True)
        if self.split_file is not None:
            rows = take_split_file(rows, self.split_file, self.drop)
            self.note(f"split by {short_name(self.split_file)}")
        if len(rows) and not has_splits(rows):  # before anything is left out: patients stay where they are
            rows["split"] = draw_splits(rows, self.label_names, self.seed)
        if len(rows):
            rows["split"] = normalise_splits(rows["split"], rows["id"])
            rows = self.choose_training(rows)
        frame = drop_excluded(rows, self.exclude, self.drop)
        for name, count in count_excluded(rows, self.exclude).items():  # a store may have left them out already
            self._excluded[name] = max(count, self._excluded.get(name, 0))
        for path in self.exclude:
            if not self._excluded[short_name(path)]:
                refuse_idle_exclusion(rows, path)
        self._refuse_empty(frame)
        if frame["id"].duplicated().any():
            twice = frame.loc[frame["id"].duplicated(), "id"].iloc[0]
            raise UserError(f"{type(self).__name__}: found sample id {twice!r} twice; ids must be unique")
        frame["group"] = connected_groups(frame, ("study", "text"))
        self.check_splits(frame)
        if "image" in frame:
            frame = drop_missing_images(frame, self.max_missing, self.drop, self.note)
            self._refuse_empty(frame)
        refuse_outside(frame)
        frame = self._take_fraction(frame)
        return frame.sort_values(["split", "study", "id"], kind="stable", ignore_index=True)

    def _take_fraction(self, frame: pd.DataFrame) -> pd.DataFrame:
        train = frame[frame["split"] == "train"]
        labels = train[[name for name in self.label_names if name in train]]
        taken = draw_fraction(train["study"], labels, self.label_fraction, self.seed)
        self.drop(f"outside the label fraction {self.label_fraction:g}", int((~taken).sum()))
        return frame.drop(index=train.index[~taken])

    def _refuse_empty(self, frame: pd.DataFrame) -> None:
        if frame.empty:
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(self._dropped.items())) or "none was listed"
            raise UserError(f"{type(self).__name__}: found no usable sample ({reasons}); loosen what leaves them out")

    def _settle_tokenizer(self, frame: pd.DataFrame) -> Tokenizer:
        if self.request.tokenizer is not None:
            return Tokenizer.from_json(self.request.tokenizer)
        train_texts = frame.loc[frame["split"] == "train", "text"]
        texts = (train_texts if len(train_texts) else frame["text"]).tolist()
        return Tokenizer.make(self.text, texts)

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
        )

    def _read(self, modality: str, frame: pd.DataFrame) -> bool:
        """Whether to read the images (texts) there are: not when the task has no encoder for them."""
        return modality in frame and modality in self.request.modalities

    def _crop_size(self) -> int:
        return self.image_size or self.request.crop_size or DEFAULT_IMAGE_SIZE

    def _make_spec(self, counts: dict[str, int], digest: str) -> DataSpec:
        train = None if self.index is None else self._split("train")
        return DataSpec(
            name=type(self).__name__,
            classes=list(self.label_names),
            tokenizer=self.tokenizer.to_json() if self.tokenizer else None,
            image_size=self._crop_size(),
            channels=self.channels,
            max_tokens=self.text.max_tokens if self.tokenizer else None,
            counts=counts,
            excluded=dict(self._excluded),
            dropped=self.dropped,
            exclusive=self.exclusive_classes,
            mask_class=self.mask_class,
            box_classes=list(self.box_classes),
            fit=self.augment.fit,
            label_fraction=self.label_fraction,
            train_positives={}
            if train is None
            else {n: int((train[n] == 1).sum()) for n in self.label_names if n in train},
            train_ids_sha256="" if train is None else ids_sha256(train["id"]),
            notes=list(self._notes),
            manifest_hash=digest,
        )


def attached_data(trainer: Trainer) -> DataModule:
    """The data module that ``trainer`` runs on; TypeError where there is none of this project."""
    data = vars(trainer).get("datamodule")
    if not isinstance(data, DataModule):
        raise TypeError(f"the trainer's datamodule is a {type(data).__name__}, expected a DataModule of data_modules")
    return data
