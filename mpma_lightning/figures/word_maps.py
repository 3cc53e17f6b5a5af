"""Where the words that name findings have their place on the film."""

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from data_modules.text.sentences import sentences
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.evaluation.reports.evidence import boxes_in_pixels
from mpma_lightning.evaluation.sentences import is_negated
from mpma_lightning.figures.canvas import (
    FOUND,
    PLAIN,
    RIGHT,
    TRUTH,
    canvas,
    headline,
    rectangle,
    scale_bar,
    scale_of,
    show,
    write,
)
from mpma_lightning.figures.sheet import sheet, shrunk

WORDS = 4
"""Largest number of words of a film."""
SENTENCES, LINES = 2.9, 11
"""Width in inches and lines of the sentences beside the film."""


@dataclass
class Named:
    """What a report says to be there.

    Attributes:
        sentences: those that name a finding and are not negated.
        places: of every word that names a finding there, once each: its place among the words of the report.
    """

    sentences: str
    places: dict[str, int]


def named_findings(report: str, tokenizer: Tokenizer, names: frozenset[str], most: int) -> Named:
    """The words of ``names`` in sentences that are not negated.

    Args:
        report: the text.
        tokenizer: which counts its words.
        names: words that name findings, lower case.
        most: words of the report that the model reads.
    """
    told: list[str] = []
    places: dict[str, int] = {}
    start = 0
    for sentence in sentences(report):
        ids, _, owners = tokenizer.encode(sentence, 2 + len(sentence))
        count = max(owners) + 1
        spelled = [
            tokenizer.decode([i for i, o in zip(ids, owners, strict=True) if o == k]).lower() for k in range(count)
        ]
        found = {word: start + k for k, word in enumerate(spelled) if word in names and start + k < most}
        if found and not is_negated(sentence):
            told.append(sentence)
            places |= {word: place for word, place in found.items() if word not in places}
        start += count
    return Named(" ".join(told), places)


def word_maps(
    images: list[Tensor], reports: list[Named], maps: list[Tensor], truth: list[Tensor] | None = None
) -> Figure:
    """A row a film: the sentences that name its findings, the film, and the similarity of each word to every patch,
    with a box around the region that stands out.

    Args:
        images: (C, H, W) each.
        reports: what the report of each says to be there.
        maps: (W, H', W') each, in the order of the words; the first ``WORDS`` are drawn.
        truth: annotated boxes (n, 4) of each film in pixels; None: there are none.
    """
    columns = min(WORDS, max(map(len, maps)))
    widths = [SENTENCES, *[2.1] * (1 + columns)]
    figure, axes = canvas(len(images), 2 + columns, height=2.35, widths=widths, square=2.1, lines=LINES)
    boxes = truth or [torch.zeros(0, 4)] * len(images)
    for row, image, told, values, known in zip(axes, images, reports, maps, boxes, strict=True):
        said = told.sentences.split()
        words = [(word, RIGHT if word.lower().strip(".,;:") in told.places else PLAIN) for word in said]
        write(row[0], words, 0.86 * SENTENCES * shrunk(widths), LINES)
        show(row[1], image)
        row[1].set_title("film", fontsize=sheet().text + 1)
        scale = scale_of(values)
        for ax, word, heat in zip(row[2:], told.places, values, strict=False):
            show(ax, image, heat, scale)
            for box in boxes_in_pixels(heat.float().cpu().numpy(), image.shape[-2:])[:1]:
                rectangle(ax, box, FOUND)
            for box in known.tolist():
                rectangle(ax, box, TRUTH)
            ax.set_title(f"“{word}”", fontsize=sheet().text + 1)
        scale_bar(figure, row[1:], scale, "cosine")
    headline(
        figure,
        "Where each word has its place: cosine of the word and every patch, brighter is more alike; dashed: box around "
        f"what is above 60 % of the map's range{'; solid: annotated' if any(map(len, boxes)) else ''}",
    )
    return figure
