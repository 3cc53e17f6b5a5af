"""The contract between tasks and data: what a task asks for, what a batch holds, what the data tell a task."""

from dataclasses import dataclass, field
from typing import Literal, Protocol, TypedDict, runtime_checkable

from torch import Tensor

DEFAULT_IMAGE_SIZE = 224
Kind = Literal["str", "float", "bool"]
"""Type of a column that a data module passes on to the batch."""
FURTHER_VIEWS = ("lateral", "prior")
"""Columns of an index with further images of a sample beside ``image``; ``view_kinds`` counts them from 1."""


@dataclass(frozen=True)
class DataRequest:
    """What a task asks of the data. The defaults, everything there is, hold where no task is attached.

    Attributes:
        modalities: which of ``image`` and ``text`` to read.
        annotations: which of ``mask`` and ``boxes`` to read as well; with either, samples have their ``size``.
        crop_size: side of the crops in pixels; None leaves it to the data.
        tokenizer: a tokeniser that came with a checkpoint, as JSON text.
        needs_tokenizer: the data must supply a tokeniser, even if only images are read.
        reads_labels: the task trains on labels or evaluates them; the data set then notes where its labels come from.
        encodes_once: training reads every sample once, without augmentation, as evaluation does.
        completes_drafts: ``predict`` completes drafts of reports, so that ``data.draft`` may name some.
        views: read the further views of samples that have some.
    """

    modalities: tuple[str, ...] = ("image", "text")
    annotations: tuple[str, ...] = ("mask", "boxes")
    crop_size: int | None = None
    tokenizer: str | None = None
    needs_tokenizer: bool = False
    reads_labels: bool = False
    encodes_once: bool = False
    completes_drafts: bool = False
    views: bool = True


@runtime_checkable
class AsksForData(Protocol):
    """What a task offers to its data module."""

    def data_request(self) -> DataRequest: ...


class Batch(TypedDict, total=False):
    """The keys of a batch; an absent modality is an absent key.

    Besides these, a batch has the columns that ``passed_on`` of the data module declares: float32 (B,) for ``float``,
    NaN where blank, and lists for ``str`` and ``bool``.

    B samples, C channels, crop S x S, T tokens, K classes, V further views.
    """

    id: list[str]
    """Unique sample ids: a DICOM id, a relative path, …"""
    patient: list[str]
    group: Tensor
    """int64 (B,): stable hash of the connected component "same study or same normalised text"."""
    seed: Tensor
    """int64 (B,): hash of (run seed, epoch, id), epoch 0 outside training; masks and augmentation follow from it."""
    image: Tensor
    """uint8 (B, C, S, S): one crop at target resolution; the task normalises and down-samples on the device."""
    views: Tensor
    """uint8 (B, V, C, S, S): further views, augmented as ``image`` is; 0 where a sample lacks one. Absent under
    ``one`` view a sample."""
    view_kinds: Tensor
    """int64 (B, V): 1 lateral, 2 prior (places in ``FURTHER_VIEWS``, from 1), 0 where a sample lacks the view."""
    input_ids: Tensor
    """int64 (B, T): padded to the batch's longest text, to a multiple of 8, at most ``max_tokens``."""
    attention_mask: Tensor
    """int64 (B, T): 1 on tokens, 0 on padding."""
    word_ids: Tensor
    """int64 (B, T): the word of each piece, from 0; -1 at [CLS], [SEP], [PAD] and bare punctuation."""
    labels: Tensor
    """float32 (B, K): 0, 1, or NaN for unknown."""
    mask: Tensor
    """uint8 (B, 1, S, S): 1 on the structure; moves with the image."""
    boxes: list[Tensor]
    """float32 (n, 4) each: x1, y1, x2, y2 in pixels of the crop; n may be 0."""
    box_labels: list[Tensor]
    """int64 (n,) each: index of each box's class in the data set's box classes."""
    size: Tensor
    """int64 (B, 2): height and width of the image file, to which masks and boxes refer."""
    text: list[str]
    """The cleaned report, caption or question that was tokenised."""
    answer: list[str]
    """Normalised answer of a visual question; several are joined by ``BETWEEN`` of ``text.answers``."""
    answer_type: list[str]
    """OPEN or CLOSED."""
    question_type: list[str]
    """As the data set has it."""
    contrasted: list[bool]
    """Whether the same question has another answer on another image."""
    draft: list[str]
    """``predict`` with ``data.draft``: what is written of the report, with ``[...]`` for every gap."""
    skipped: list[list[str]]
    """Training under ``bad_samples.policy: skip``: the unreadable samples that each sample replaces."""


@dataclass
class DataSpec:
    """What a task needs to know of the data: plain types only, so that it can live in a checkpoint.

    ``exclusive``: every sample has exactly one of ``classes``. ``mask_class`` is what ``mask`` shows, ``box_classes``
    what boxes hold; empty without them. ``fit`` is how evaluation images are fitted. ``train_positives`` and
    ``train_ids_sha256`` are those of the training samples, after ``label_fraction``. ``protocol`` is the id of the
    evaluation protocol where the data set alone decides it, as VQA-RAD does; else empty. ``passed_on`` are the further
    columns of a batch, with their types. ``several_answers``: where questions have several answers, whether a
    prediction must give ``all`` of them or ``any`` one; else empty. ``texts_from_labels`` counts the samples whose text
    is written from labels. ``views`` are those of ``FURTHER_VIEWS`` that a sample may have.
    """

    name: str
    classes: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    majority_answers: dict[str, str] = field(default_factory=dict)
    tokenizer: str | None = None
    image_size: int = DEFAULT_IMAGE_SIZE
    channels: int = 1
    max_tokens: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    excluded: dict[str, int] = field(default_factory=dict)
    exclusive: bool = False
    mask_class: str = ""
    box_classes: list[str] = field(default_factory=list)
    fit: str = "crop"
    label_fraction: float = 1.0
    train_positives: dict[str, int] = field(default_factory=dict)
    train_ids_sha256: str = ""
    notes: list[str] = field(default_factory=list)
    manifest_hash: str = ""
    protocol: str = ""
    passed_on: dict[str, Kind] = field(default_factory=dict)
    several_answers: Literal["", "all", "any"] = ""
    texts_from_labels: int = 0
    views: list[str] = field(default_factory=list)
