"""The evaluation protocols: what each id fixes, and its source.

Experiments fix the rest: data, optimiser and steps. Results under different ids are not compared.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

from data_modules.errors import UserError, suggest


@dataclass(frozen=True)
class Protocol:
    """One evaluation protocol.

    Attributes:
        about: one line about it.
        source: publication that it follows, or ``ours``.
    """

    about: str
    source: str = "ours"


@dataclass(frozen=True)
class LabelProtocol(Protocol):
    """How a classification head is initialised and trained.

    Attributes:
        norm: LayerNorm before the linear layer.
        init: of the linear layer: truncated normal with zero bias, or torch's default.
        init_std: standard deviation of the truncated normal.
        encoder_lr: learning rate of the backbone divided by that of the head.
        drop_path: stochastic depth of the image encoder.
        frozen: only the head is trained (``LinearProbeTask``); otherwise all weights (``ClassificationTask``).
        inputs: values that ``model.input`` may have.
        own_probe: ``model.probe`` may differ from its defaults, which are MGCA's.
    """

    norm: bool = True
    init: Literal["truncated_normal", "default"] = "truncated_normal"
    init_std: float = 0.02
    encoder_lr: float = 1.0
    drop_path: float = 0.0
    frozen: bool = False
    inputs: tuple[str, ...] = ("image",)
    own_probe: bool = False


@dataclass(frozen=True)
class SegmentationProtocol(Protocol):
    """Decoder and loss of segmentation.

    The loss is ``focal`` · focal(γ = 2) plus a Dice term over the pixels of a batch: 1 - Dice, or -log Dice [MGCA's
    code; its paper says focal and Dice].

    Attributes:
        frozen: the encoder is not trained.
        decoder: SETR-PUP on a ViT and U-Net on a CNN, or UPerNet.
        focal: weight of the focal loss.
        dice: form of the Dice term.
        layer_decay: learning rate of a block of the encoder divided by that of the next block.
    """

    frozen: bool = False
    decoder: Literal["progressive", "upernet"] = "upernet"
    focal: float = 1.0
    dice: Literal["linear", "log"] = "linear"
    layer_decay: float = 1.0


@dataclass(frozen=True)
class DetectionProtocol(Protocol):
    """Detector.

    Attributes:
        frozen: the encoder is not trained.
    """

    frozen: bool = False


@dataclass(frozen=True)
class RetrievalProtocol(Protocol):
    """Retrieval; ``model.multiclass`` decides what counts as a hit."""


PROTOCOLS: dict[str, Protocol] = {
    "pretraining": Protocol("metrics of a pre-training, on its own data"),
    "cls-finetune-benchx": LabelProtocol("fine-tuning, encoder at a tenth of the rate", "BenchX", encoder_lr=0.1),
    "cls-finetune-mrm": LabelProtocol(
        "fine-tuning, head near zero, drop-path 0.1", "MRM, its train.py", init_std=2e-5, drop_path=0.1
    ),
    "cls-multimodal": LabelProtocol(
        "as cls-finetune-benchx, from image, text or both", encoder_lr=0.1, inputs=("image", "text", "both")
    ),
    "cls-linear-mgca": LabelProtocol(
        "linear probe on 1, 10, 100 % of the labels", "MGCA", norm=False, init="default", frozen=True
    ),
    "cls-linear": LabelProtocol("linear probe, trained as model.probe says", norm=False, frozen=True, own_probe=True),
    "seg-frozen-mgca": SegmentationProtocol(
        "frozen encoder, SETR-PUP or U-Net", "MGCA", frozen=True, decoder="progressive", focal=10.0, dice="log"
    ),
    "seg-finetune-mrm": SegmentationProtocol(
        "fine-tuned encoder, UPerNet, layer decay 0.65", "MRM", focal=2.0, layer_decay=0.65
    ),
    "det-frozen-mgca": DetectionProtocol("frozen encoder; MGCA's YOLOv3 is a Faster R-CNN here", "MGCA", frozen=True),
    "det-coco": DetectionProtocol("fine-tuned encoder, COCO mAP over all images"),
    "zs-prompt": Protocol("zero-shot by ensembles of prompts", "GLoRIA"),
    "ret-pairs": RetrievalProtocol("retrieval on one's own pairs; same study or same text is a hit"),
    "ret-roco-2k": RetrievalProtocol("retrieval among 2,000 test pairs of ROCO", "M3AE"),
    "ret-mimic-5x200": RetrievalProtocol("five classes of 200; the same class is a hit", "PTUnifier"),
    "ground-pointing": Protocol("pointing game on MS-CXR", "BioViL"),
    "ground-cnr": Protocol("contrast-to-noise ratio on MS-CXR", "BioViL"),
    "vqa-rad": Protocol("no frame questions, vocabulary and held-out images from training"),
    "vqa-rad-disjoint": Protocol("as vqa-rad, with no image in two splits"),
    "vqa-rad-legacy": Protocol("all questions, vocabulary of all splits", "M3AE"),
    "slake-en": Protocol("official splits, English questions", "SLAKE"),
    "slake-zh": Protocol("official splits, Chinese questions", "SLAKE"),
}

P = TypeVar("P", bound=Protocol)


def protocol_named(name: str, kind: type[P]) -> P:
    """The protocol of an id; UserError for an id that is unknown or of another kind than ``kind``."""
    known = _protocols_of(kind)
    if name not in known:
        raise UserError(f"model.protocol {name!r} is unknown{suggest(name, known)}")
    return known[name]


def _protocols_of(kind: type[P]) -> dict[str, P]:
    return {name: protocol for name, protocol in PROTOCOLS.items() if isinstance(protocol, kind)}


def label_protocol(name: str, frozen: bool, reads: str) -> LabelProtocol:
    """The protocol of an id for a classification task.

    Args:
        name: ``model.protocol``.
        frozen: whether the task trains only the head.
        reads: ``model.input``.

    Raises:
        UserError: the id is unknown, or requires another training or input.
    """
    protocol = protocol_named(name, LabelProtocol)
    if protocol.frozen != frozen or reads not in protocol.inputs:
        known = _protocols_of(LabelProtocol)
        fitting = [other for other, its in known.items() if its.frozen == frozen and reads in its.inputs]
        trains = {True: "only the head (LinearProbeTask)", False: "all weights (ClassificationTask)"}
        raise UserError(
            f"model.protocol {name} trains {trains[protocol.frozen]} and reads {' or '.join(protocol.inputs)}; this "
            f"task trains {trains[frozen]} and reads {reads}: use {' or '.join(fitting)}, or the other task"
        )
    return protocol
