"""The data module base: the skeleton every data set shares. What it hands over is in ``spec``."""

from collections.abc import Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, ClassVar, Self

import pandas as pd
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from data_modules.contract import FURTHER_VIEWS, DataSpec
from data_modules.errors import UserError, expect
from data_modules.images.annotations import refuse_outside
from data_modules.images.folder import folder_index
from data_modules.images.missing import drop_missing_images, drop_missing_views
from data_modules.index.draws import draw_fraction, draw_splits
from data_modules.index.exclusion import drop_excluded
from data_modules.index.faulty import leave_out
from data_modules.index.groups import connected_groups
from data_modules.index.hashing import short_name
from data_modules.index.labels import refuse_taken, refuse_without_positive
from data_modules.index.manifest import ids_sha256, manifest_hash
from data_modules.index.passed_on import as_declared
from data_modules.index.split_files import take_split_file
from data_modules.index.splits import SPLITS, check_disjoint, has_splits, normalise_splits
from data_modules.index.words import count_words
from data_modules.loading.loaders import IndexLoaders
from data_modules.store.store import OLDER, Store, is_phantom, open_store
from data_modules.text.comparisons import without_comparisons
from data_modules.text.from_labels import TEXT_FROM_LABELS, lesson, write_texts
from data_modules.text.tokenizer import Tokenizer


class DataModule(IndexLoaders):
    """Skeleton of a data set: a subclass writes ``read_index`` and counts what it leaves out (``leave_out``, ``drop``).

    Where a root of the subclass is a store written by ``prepare``, rows and images come from there. A subclass keeps
    each of its own arguments in an attribute of that name: a store that was prepared with another value is refused.
    Roots (``root``, ``…_root``) are not compared.

    Args:
        exclude: manifest files (a JSON list, or one id a line) of patients to leave out.
        max_missing: fraction of the images of each split that may be absent on disk.
        label_fraction: share of the training studies that training sees, drawn by ``seed`` and stratified by label.
        split_file: CSV table of id and split, as `split` writes it, in place of the data set's own split.
    """

    exclusive_classes = False
    """True: every sample has exactly one class; ``labels`` is one-hot."""
    mask_class = ""
    """What ``mask`` shows; with it the index has ``mask`` (path of an image, 0 outside) or ``runs`` (run lengths)."""
    box_classes: list[str]
    """What ``boxes`` hold; with them the index has ``boxes``, ``box_labels`` and optionally ``box_frame``."""
    sampling_options: ClassVar[tuple[str, ...]] = ()
    """Arguments of the subclass that do not change the rows of the index and are not compared."""

    def __init__(
        self,
        exclude: Sequence[str] = (),
        max_missing: float = 0.0,
        label_fraction: float = 1.0,
        split_file: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        expect(0 <= max_missing <= 1, "data.max_missing", max_missing, "0 to 1")
        self.exclude, self.max_missing = list(exclude), max_missing
        self.label_fraction, self.split_file = label_fraction, split_file
        self.box_classes = []
        self.drawn = False
        self._spec: DataSpec | None = None
        self._dropped: dict[str, int] = {}
        self._excluded: dict[str, int] = {}
        self._notes: list[str] = []

    @property
    def spec(self) -> DataSpec:
        """What the data tell a task; ``setup`` fills it."""
        if self._spec is None:
            raise RuntimeError(f"{type(self).__name__} has no spec yet: call setup first")
        return self._spec

    def read_index(self) -> pd.DataFrame:
        """One row a sample: id, patient, study, split (train, val, test), image, text, ``self.label_names`` and
        ``self.passed_on``. Other columns stay in ``index`` and are not in a batch.

        ``image`` holds paths, ``text`` cleaned reports; a data set without one of them omits the column.
        ``mask`` is the path of a mask as large as the image, or ``runs`` a list of SIIM run lengths; ``boxes`` a list
        of [x1, y1, x2, y2] in pixels of an image of ``box_frame`` = [width, height] (default: the image as it is on
        disk), ``box_labels`` their places in ``box_classes``.
        ``lateral`` and ``prior`` are paths of further images of the sample, NA where it has none, with ``lateral_id``
        and ``prior_id``.
        A frame without ``split`` (or with blanks only) is split by :func:`draw_splits`. Raises UserError.
        """
        raise NotImplementedError

    @classmethod
    def from_root(cls, root: Path, **arguments: Any) -> Self:
        """The module of the one folder that ``check`` and ``prepare`` are given."""
        return cls(root=str(root), **arguments)

    def roots(self) -> dict[str, Path]:
        """The folders that were given, by argument."""
        named = {name: getattr(self, name) for name in _arguments(type(self)) if name.endswith("root")}
        return {name: value for name, value in named.items() if isinstance(value, Path)}

    @property
    def phantom(self) -> bool:
        """Whether any of its rows are those of the phantom."""
        return any(is_phantom(root) for root in self.roots().values())

    def index_options(self) -> dict[str, Any]:
        """The values of the arguments that decide the rows: those of the subclass, and ``text.min_tokens``."""
        own = _arguments(type(self)).keys() - _arguments(DataModule) - {*self.sampling_options}
        names = sorted(name for name in own if not name.endswith("root"))
        return {name: getattr(self, name) for name in names} | {"text.min_tokens": self.text.min_tokens}

    def rows(self) -> pd.DataFrame:
        """``read_index``, or what ``prepare`` made of it, where a root is a prepared store."""
        store = next((found for root in self.roots().values() if (found := open_store(root))), None)
        return self.read_index() if store is None else self._prepared_rows(store)

    def _prepared_rows(self, store: Store) -> pd.DataFrame:
        defaults = _arguments(type(self))
        store.check_options(type(self).__name__, self.index_options(), self.augment.short_side, defaults)
        self.label_names = store.manifest["label_names"]
        self.exclusive_classes, self.box_classes = (store.manifest[k] for k in ("exclusive_classes", "box_classes"))
        self._notes.extend(store.manifest["notes"])
        if older := OLDER.get(store.manifest["version"]):
            self.note(f"{store.folder.name}: prepared by an earlier version: {older}; prepare the data set again")
        self._excluded |= store.manifest["excluded"]
        for reason, count in store.manifest["dropped"].items():
            self.drop(reason, count)
        rows, seed = store.rows(), store.manifest["seed"]
        if self.seed == seed:
            return rows
        if store.manifest["drawn"]:
            return rows.drop(columns="split")  # check_rows draws that of this seed
        self.note(f"{store.folder.name}: whatever was drawn when it was prepared was drawn with seed {seed}")
        return rows

    def drop(self, reason: str, count: int) -> None:
        """Count ``count`` samples left out because of ``reason``; the summary line and ``spec.dropped`` show it."""
        if count:
            self._dropped[reason] = self._dropped.get(reason, 0) + int(count)

    def leave_out(self, rows: pd.DataFrame, out: pd.Series, reason: str) -> pd.DataFrame:
        """``rows`` without those where ``out`` is true; they are counted by ``drop``."""
        return leave_out(rows, out, reason, self.drop)

    @property
    def dropped(self) -> dict[str, int]:
        """Samples left out, by reason."""
        return dict(self._dropped)

    def note(self, line: str) -> None:
        """Something about the data that a reader of the results should know; shown below the summary line."""
        self._notes.append(line)

    def choose_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """``frame`` without the rows that the data set's arguments leave out, which are counted by ``drop``.

        It is called when every row has its split and a store keeps all rows, so that a split is drawn from everything.
        Applied twice, it gives the same rows.
        """
        return frame

    def check_splits(self, frame: pd.DataFrame) -> None:
        """UserError when a patient is in two splits; a data set that officially leaks reports it in its place."""
        check_disjoint(frame)

    def setup(self, stage: str | None = None) -> None:
        """Read and check the index, make the tokeniser, fill ``spec``; a second call does nothing."""
        if stage == "predict" and self.folder is not None:
            self._datasets["predict"] = self._dataset(self.drafts_of(folder_index(Path(self.folder))), "predict")
            if not self.request.needs_tokenizer:
                self._spec = self._spec or self._make_spec({"predict": len(self._datasets["predict"])}, "")
                return
        if self.index is None:
            self.index = self.check_rows(self.rows())
            if "text" in self.index:
                self.tokenizer = self._settle_tokenizer(self.index)
            counts = {split: int((self.index["split"] == split).sum()) for split in SPLITS}
            self._spec = self._make_spec(counts, manifest_hash(self.index, self.label_names, self.passed_on))
            rank_zero_info(self.summary())
        if stage == "fit" and self.request.reads_labels:
            refuse_without_positive(self.split_rows("val"), "val", self.label_names)
        for split in SPLITS:
            if split not in self._datasets:
                self._datasets[split] = self._dataset(self.index[self.index["split"] == split], split)

    def summary(self) -> str:
        """One line: samples per split and what was dropped, with reasons; then the notes, one a line."""
        counts = ", ".join(f"{split} {n:,}" for split, n in self.spec.counts.items())
        dropped = ", ".join(f"{reason} {n:,}" for reason, n in sorted(self.spec.dropped.items())) or "nothing"
        line = f"{self.spec.name}: {counts}; dropped: {dropped}; manifest {self.spec.manifest_hash[:12]}"
        return "\n  ".join([line, *self.spec.notes])

    def check_rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The index: :meth:`sound_rows` that are chosen, with the ``label_fraction`` of training, sorted. UserError."""
        frame = self._take_fraction(self.sound_rows(rows))
        if not self.request.views and (views := [name for name in FURTHER_VIEWS if name in frame]):
            self.note(f"this task reads the first view of a sample alone, not its {' or '.join(views)} image")
        if self.text.from_labels:
            frame, unlabelled = write_texts(frame, self.label_names, type(self).__name__)
            self.drop("no text and no known label", unlabelled)
            self._refuse_empty(frame)
            self.note(f"{int(frame[TEXT_FROM_LABELS].sum()):,} texts are written from labels")
        return frame.sort_values(["split", "study", "id"], kind="stable", ignore_index=True)

    def sound_rows(self, rows: pd.DataFrame, every: bool = False) -> pd.DataFrame:
        """``rows`` with group and split, without excluded patients and missing images; ``every`` skips choose_rows."""
        refuse_taken(type(self).__name__, self.label_names, self.passed_on)
        rows = as_declared(rows.reset_index(drop=True), self.passed_on)
        if self.split_file is not None:
            rows = take_split_file(rows, self.split_file, self.drop)
            self.note(f"split by {short_name(self.split_file)}")
        if len(rows) and not has_splits(rows):  # before anything is left out: patients stay where they are
            rows["split"], self.drawn = draw_splits(rows, self.label_names, self.seed), True
        if len(rows):
            rows["split"] = normalise_splits(rows["split"], rows["id"])
            rows = rows if every else self.choose_rows(rows)
        frame = drop_excluded(rows, self.exclude, self.drop, self._excluded)
        self._refuse_empty(frame)
        if frame["id"].duplicated().any():
            twice = frame.loc[frame["id"].duplicated(), "id"].iloc[0]
            raise UserError(f"{type(self).__name__}: found sample id {twice!r} twice; ids must be unique")
        if self.text.drop_comparisons and not every and "text" in frame:
            frame = self._without_comparisons(frame)
            self._refuse_empty(frame)
        frame["group"] = connected_groups(frame, ("study", "text"))
        if every:
            dropped, notes = self.dropped, list(self._notes)
            self.check_splits(self.choose_rows(frame))
            self._dropped, self._notes = dropped, notes  # counted when the store is read
        else:
            self.check_splits(frame)
        if "image" in frame:
            frame = drop_missing_images(frame, self.max_missing, self.drop, self.note)
            self._refuse_empty(frame)
            frame = drop_missing_views(frame, self.max_missing, self.note)
        refuse_outside(frame)
        return frame

    def _without_comparisons(self, frame: pd.DataFrame) -> pd.DataFrame:
        """``frame`` without sentences that refer to a prior; texts that are then too short are left out."""
        told = frame["text"].notna()
        parts = [without_comparisons(text) for text in frame.loc[told, "text"]]
        counts = pd.Series([count for _, count in parts], dtype=int)
        frame.loc[told, "text"] = [text for text, _ in parts]
        touched = pd.Series(False, frame.index)
        touched[told] = (counts > 0).to_numpy()
        short = touched & (frame["text"].fillna("").map(count_words) < self.text.min_tokens)
        self.note(
            f"{int(counts.sum()):,} sentences of {int(touched.sum()):,} of {int(told.sum()):,} texts refer to an "
            "earlier study and are left out"
        )
        return self.leave_out(frame, short, "text of comparisons alone").reset_index(drop=True)

    def _take_fraction(self, frame: pd.DataFrame) -> pd.DataFrame:
        train = frame[frame["split"] == "train"]
        labels = train[[name for name in self.label_names if name in train]]
        taken = draw_fraction(train["study"], labels, self.label_fraction, self.seed)
        out = pd.Series(frame.index.isin(train.index[~taken]))
        return self.leave_out(frame, out, f"outside the label fraction {self.label_fraction:g}")

    def _refuse_empty(self, frame: pd.DataFrame) -> None:
        if frame.empty:
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(self._dropped.items())) or "none was listed"
            raise UserError(
                f"{type(self).__name__}: found no usable sample ({reasons}); change the settings that exclude them"
            )

    def _settle_tokenizer(self, frame: pd.DataFrame) -> Tokenizer:
        if self.request.tokenizer is not None:
            return Tokenizer.from_json(self.request.tokenizer)
        train = frame[frame["split"] == "train"]
        rows = train if len(train) else frame
        patients = rows["patient"].where(rows["patient"].notna(), rows["id"]).tolist()
        texts, of = lesson(self.label_names, self.text) if self.text.from_labels else ([], [])
        return Tokenizer.make(self.text, rows["text"].tolist() + texts, patients + of)

    def _make_spec(self, counts: dict[str, int], digest: str) -> DataSpec:
        train = None if self.index is None else self.split_rows("train")
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
            passed_on=dict(self.passed_on),
            texts_from_labels=int(self.index[TEXT_FROM_LABELS].sum())
            if self.index is not None and TEXT_FROM_LABELS in self.index
            else 0,
            views=[] if self.index is None else [name for name in FURTHER_VIEWS if name in self.index],
        )


def _arguments(module: type[DataModule]) -> dict[str, Any]:
    """The arguments of ``module`` and of the classes that it derives from, with their defaults."""
    makers = [signature(vars(kind)["__init__"]) for kind in reversed(module.__mro__) if "__init__" in vars(kind)]
    found = [argument for maker in makers for argument in maker.parameters.values()]
    return {argument.name: argument.default for argument in found if argument.kind is not Parameter.VAR_KEYWORD}


def attached_data(trainer: Trainer) -> DataModule:
    """The data module that ``trainer`` runs on; TypeError where there is none of this project."""
    data = vars(trainer).get("datamodule")
    if not isinstance(data, DataModule):
        raise TypeError(f"the trainer's datamodule is a {type(data).__name__}, expected a DataModule of data_modules")
    return data
