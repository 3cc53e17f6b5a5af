"""What passes between data and tasks: the keys of a batch, and what a task needs to know of the data set.

Batch keys (an absent modality is an absent key; B samples, C channels, crop S x S, T tokens, K classes)::

    id              list[str]        unique sample id (a DICOM id, a relative path, ...)
    patient         list[str]
    group           int64 (B,)       stable hash of the connected component "same study OR same normalised text"
    seed            int64 (B,)       stable_hash(run seed, epoch, id), epoch 0 outside training; masks and
                                     augmentation of a sample follow from it alone
    image           uint8 (B,C,S,S)  ONE crop at target resolution; the task normalises and down-samples on the device
    input_ids       int64 (B,T)      padded to the batch's longest text, a multiple of 8, at most max_tokens
    attention_mask  int64 (B,T)      1 on tokens, 0 on padding
    word_ids        int64 (B,T)      0..n-1: the word of a piece; -1 at [CLS], [SEP], [PAD] and bare punctuation
    labels          float32 (B,K)    NaN = unknown
    mask            uint8 (B,1,S,S)  1 on the structure, moved with the image
    boxes           list[float32 (n,4)]  x1, y1, x2, y2 in pixels of the crop; n may be 0
    box_labels      list[int64 (n,)] places in the data set's box classes
    size            int64 (B,2)      height and width of the image file, to which masks and boxes refer; for tasks
                                     with annotations
    text            list[str]        the cleaned report, caption or question that was tokenised
    answer          list[str]        normalised (VQA); so are the next three
    answer_type     list[str]        OPEN or CLOSED
    question_type   list[str]        as the data set has it
    contrasted      list[bool]       the same question has another answer on another image
    skipped         list[list[str]]  training under ``bad_samples.policy: skip``: the bad samples that this one replaces
"""

from dataclasses import dataclass, field

DEFAULT_IMAGE_SIZE = 224


@dataclass
class DataSpec:
    """What a task needs to know of the data: plain types only, so that it can live in a checkpoint.

    ``exclusive``: every sample has exactly one of ``classes``. ``mask_class`` is what ``mask`` shows, ``box_classes``
    what boxes hold; empty without them. ``fit`` is how evaluation images are fitted. ``train_positives`` and
    ``train_ids_sha256`` are those of the training samples, after ``label_fraction``.
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
