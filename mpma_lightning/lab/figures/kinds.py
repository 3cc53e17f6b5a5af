"""The kinds of figures; nothing heavy is imported until one is drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

_OPENED = ("ids", "samples", "split", "ckpt_path", "trust")
_PRE = "a pre-training"


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes:
        shows: its line in the help.
        of: what it is drawn from.
        function: "module:name" of what draws it, in this package; see :meth:`draw`.
        takes: the options that it reads, without ``--``.
        single: whether it is legible in one column of a journal.
        needs: options without which there is nothing to draw.
        several: whether it takes several runs.
    """

    shows: str
    of: str
    function: str
    takes: tuple[str, ...] = _OPENED
    single: bool = True
    needs: tuple[str, ...] = ()
    several: bool = False

    def draw(self, wanted: Any) -> Any:
        """The :class:`~mpma_lightning.lab.figures.wanted.Drawn` of a ``Wanted``."""
        module, _, name = self.function.partition(":")
        function: Callable[[Any], Any] = getattr(import_module(f"{__package__}.{module}"), name)
        return function(wanted)


KINDS = {
    "mask_ratios": Kind(
        "films with more and more patches hidden, and the model's guess", _PRE, "panels:ratios", (*_OPENED, "ratios")
    ),
    "reconstruction": Kind(
        "hidden patches: guessed and interpolated, with errors", _PRE, "panels:reconstruction", single=False
    ),
    "masked_report": Kind("hidden words of reports: right, or wrong with the truth", _PRE, "panels:masked_report"),
    "similarity": Kind("cosine of every film with every report of a batch", _PRE, "panels:similarity"),
    "word_maps": Kind(
        "where each word that names a finding has its place, with boxes", _PRE, "panels:word_maps", single=False
    ),
    "slots": Kind(
        "words and regions that each memory slot serves most", _PRE, "panels:slots", (*_OPENED, "layer"), single=False
    ),
    "phrase": Kind(
        "one image, one sentence, and its map", "any checkpoint", "phrase:phrase", ("image", "text", "tokenizer"),
        needs=("image", "text"),
    ),
    "embedding": Kind(
        "image embeddings in the plane, coloured by finding", "any task with images", "embedding:embedding",
        ("samples", "split", "ckpt_path", "trust"),
    ),
    "overlay": Kind(
        "masks, boxes or phrase maps on films", "segmentation, detection, grounding", "panels:overlay"
    ),
    "retrieval_i2t": Kind(
        "films with the texts most similar to them", "retrieval", "panels:texts_of_images", single=False
    ),
    "retrieval_t2i": Kind(
        "texts with the films most similar to them", "retrieval", "panels:images_of_texts", single=False
    ),
    "answers": Kind("questions, answers and where the model looked", "VQA", "panels:answers", single=False),
    "drafts": Kind("drafted reports, references and evidence", "report generation", "panels:drafts", single=False),
    "curves": Kind("a logged value over the steps", "one or several runs", "lines:curves", ("metric",), several=True),
    "label_efficiency": Kind(
        "a metric by the share of labels, a line a method", "the folder of a sweep", "lines:efficiency",
        ("metric", "protocol"),
    ),
}  # fmt: skip
