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
        norm_eps: its epsilon.
        norm_after_pool: the mean of a plain ViT's patches is taken before the encoder's last norm, whose place the
            LayerNorm of the head takes.
        init: of the linear layer: truncated normal, or torch's default.
        init_std: standard deviation of the truncated normal.
        zero_bias: zero bias beside the truncated normal; otherwise torch's default.
        two_outputs: where the data have one class, there are two outputs with a cross-entropy, one for its absence, and
            F1 is that of the likelier output; otherwise one output a class with a binary cross-entropy.
        encoder_lr: learning rate of the backbone divided by that of the head.
        drop_path: stochastic depth of the image encoder.
        frozen: only the head is trained (``LinearProbeTask``); otherwise all weights (``ClassificationTask``).
        inputs: values that ``model.input`` may have.
        own_probe: ``model.probe`` may differ from its defaults, which are MGCA's.
        long_tail: classes whose positives are more than the first share of the training samples are the head, less than
            the second the tail, and AUROC and AP are also reported for head, medium and tail; None: they are not.
    """

    norm: bool = True
    norm_eps: float = 1e-5
    norm_after_pool: bool = False
    init: Literal["truncated_normal", "default"] = "truncated_normal"
    init_std: float = 0.02
    zero_bias: bool = True
    two_outputs: bool = False
    encoder_lr: float = 1.0
    drop_path: float = 0.0
    frozen: bool = False
    inputs: tuple[str, ...] = ("image",)
    own_probe: bool = False
    long_tail: tuple[float, float] | None = None


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
class GroundingProtocol(Protocol):
    """How the map of a phrase is scored against its boxes.

    Attributes:
        smoothing: standard deviation in patches of the Gaussian that smooths the map; 0: none.
        point: of the pointing game: the centre of the most similar ``patch``, or the most similar ``pixel`` of the map
            resized to the image, whose maximum in a border patch lies at the very edge.
        first_box: only the first box of a phrase counts; otherwise all.
        scaled: IoU thresholds apply to the map scaled to 0..1; otherwise to the cosine.
    """

    smoothing: float = 0.0
    point: Literal["patch", "pixel"] = "patch"
    first_box: bool = False
    scaled: bool = True


@dataclass(frozen=True)
class ZeroShotProtocol(Protocol):
    """Zero-shot classification.

    Attributes:
        positives_only: a class scores what the best of its positive prompts scores, and negative prompts are not read;
            otherwise the mean of the positive less that of the negative prompts.
        data: class of the data module whose test images and labels it is defined on; empty: any.
        core: classes whose mean AUROC, ``auroc_core``, is reported beside that of all classes.
    """

    positives_only: bool = False
    data: str = ""
    core: tuple[str, ...] = ()


@dataclass(frozen=True)
class RetrievalProtocol(Protocol):
    """Retrieval; ``model.multiclass`` decides what counts as a hit."""


@dataclass(frozen=True)
class ReportProtocol(Protocol):
    """Report generation.

    Attributes:
        tokens: what counts as a word for BLEU, ROUGE-L and CIDEr, which differ by it: those of the Penn Treebank
            (``ptb``), or of R2Gen, which also cleans the references (``r2gen``).
        sections: of the reports that are drafted, where the data set has sections; None: any.
    """

    tokens: Literal["ptb", "r2gen"] = "ptb"
    sections: str | None = None


PROTOCOLS: dict[str, Protocol] = {
    "pretraining": Protocol("metrics of a pre-training, on its own data"),
    "cls-finetune": LabelProtocol("fine-tuning, encoder at a tenth of the rate", encoder_lr=0.1),
    "cls-finetune-benchx": LabelProtocol(
        "fine-tuning, head near zero after a norm of the mean, encoder at a tenth of the rate",
        "BenchX, its classifier.py and configs/classification",
        norm_eps=1e-6,
        norm_after_pool=True,
        init_std=2e-5,
        zero_bias=False,
        two_outputs=True,
        encoder_lr=0.1,
    ),
    "cls-finetune-mrm": LabelProtocol(
        "fine-tuning, head near zero after a norm of the mean, drop-path 0.1",
        "MRM, its train.py and models_vit.py",
        norm_eps=1e-6,
        norm_after_pool=True,
        init_std=2e-5,
        drop_path=0.1,
    ),
    "cls-multimodal": LabelProtocol(
        "as cls-finetune, from image, text or both", encoder_lr=0.1, inputs=("image", "text", "both")
    ),
    "cls-progression": LabelProtocol(
        "as cls-finetune: better, same or worse for each finding of two images; macro-accuracy, the mean recall of the "
        "three states [BioViL-T], trained on other images than theirs",
        encoder_lr=0.1,
    ),
    "cls-cxr-lt": LabelProtocol(
        "as cls-finetune; AUROC and AP of all classes, and of those positive in over 10 %, 1 to 10 % and under 1 % of "
        "the training images",
        encoder_lr=0.1,
        long_tail=(0.1, 0.01),
    ),
    "cls-linear-stored": LabelProtocol(
        "linear probe on stored features of 1, 10, 100 % of the labels: MGCA's optimiser, without its augmentation",
        norm=False,
        init="default",
        frozen=True,
    ),
    "cls-linear": LabelProtocol("linear probe, trained as model.probe says", norm=False, frozen=True, own_probe=True),
    "seg-frozen-mgca": SegmentationProtocol(
        "frozen encoder, SETR-PUP or U-Net", "MGCA", frozen=True, decoder="progressive", focal=10.0, dice="log"
    ),
    "seg-finetune": SegmentationProtocol(
        "fine-tuned encoder, UPerNet, layer decay 0.65: after MRM, whose UPerNet is of width 768 on levels before the "
        "norm, with an auxiliary head and a Dice of squares by image",
        focal=2.0,
        layer_decay=0.65,
    ),
    "det-frozen": DetectionProtocol("frozen encoder, Faster R-CNN: after MGCA, whose detector is YOLOv3", frozen=True),
    "det-coco": DetectionProtocol("fine-tuned encoder, COCO mAP over all images"),
    "zs-prompt": ZeroShotProtocol("zero-shot by positive less negative prompts"),
    "zs-5x200": ZeroShotProtocol(
        "zero-shot among exclusive classes by the best positive prompt: GLoRIA's rule, our prompts and word scores",
        positives_only=True,
    ),
    "zs-chexpert-500": ZeroShotProtocol(
        "zero-shot on CheXpert's 500 test studies, labels of five radiologists, first frontal image of each",
        "CheXzero, its run_preprocess.py",
        data="CheXpert500DataModule",
        core=("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"),
    ),
    "zs-mimic-expert": ZeroShotProtocol(
        "zero-shot on the 687 hand-labelled test studies of MIMIC-CXR-JPG 2.1.0, every frontal image",
        data="MIMICCXRExpertDataModule",
        core=("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"),
    ),
    "zs-nih-google": ZeroShotProtocol(
        "zero-shot on NIH's test images that radiologists adjudicated, four findings", data="NIHGoogleDataModule"
    ),
    "zs-openi-18": ZeroShotProtocol(
        "zero-shot on every frontal image of Open-i, 18 labels from its automatic MeSH terms", data="OpenIDataModule"
    ),
    "zs-padchest-physician": ZeroShotProtocol(
        "zero-shot on PadChest's images that physicians labelled, the classes of data.labels", data="PadChestDataModule"
    ),
    "ret-pairs": RetrievalProtocol("retrieval on one's own pairs; same study or same text is a hit"),
    "ret-roco-2k": RetrievalProtocol("retrieval among 2,000 test pairs of ROCO, those of M3AE, which fuses all pairs"),
    "ret-mimic-5x200": RetrievalProtocol("five classes of 200; the same class is a hit", "PTUnifier"),
    "ground-pointing": GroundingProtocol("pointing game: centre of the most similar patch, in any box of the phrase"),
    "ground-cnr": GroundingProtocol("contrast-to-noise ratio of the map, not smoothed"),
    "ground-biovil": GroundingProtocol(
        "word maps smoothed by 1.5 patches, IoU at cosines",
        "BioViL, hi-ml's vlp/inference_engine.py",
        smoothing=1.5,
        scaled=False,
    ),
    "ground-radzero": GroundingProtocol(
        "pointing game: most similar pixel, in the first box of the phrase",
        "RadZero, its grounding_utils.py",
        point="pixel",
        first_box=True,
    ),
    "rrg-pairs": ReportProtocol("reports of one's own pairs, words of the Penn Treebank, references as they are"),
    "rrg-mimic-findings": ReportProtocol("as rrg-pairs, the findings of a study", sections="findings"),
    "rrg-mimic-report": ReportProtocol(
        "as rrg-pairs, findings and impression of a study", sections="findings+impression"
    ),
    "rrg-iu-r2gen": ReportProtocol(
        "findings of both films of IU X-Ray, drafted from each; words and cleaned references of R2Gen",
        "R2Gen",
        tokens="r2gen",
        sections="findings",
    ),
    "vqa-rad": Protocol("no frame questions, vocabulary and held-out images from training"),
    "vqa-rad-disjoint": Protocol("as vqa-rad, with no image in two splits"),
    "vqa-rad-legacy": Protocol("all questions, vocabulary of all splits, selection on test", "M3AE"),
    "slake-en": Protocol("official splits, English questions", "SLAKE"),
    "slake-zh": Protocol("official splits, Chinese questions", "SLAKE"),
    "vqa-questions": Protocol(
        "one's own questions: the vocabulary of training; exact match, all of several answers, the likeliest of the "
        "choices, token F1 of open answers"
    ),
    "path-vqa": Protocol("official splits; exact match, token F1 of open answers", "PathVQA"),
    "pmc-vqa": Protocol("official test, a tenth of the training images validates; the likeliest of the choices"),
    "vqa-med-2019": Protocol(
        "official splits; any one of the reference answers, without parts in parentheses", "VQA-Med 2019"
    ),
    "mimic-cxr-vqa": Protocol("official splits; exact match of all answers", "MIMIC-CXR-VQA"),
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
