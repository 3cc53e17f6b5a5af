"""Figures of visual question answering: film, attention, question, answer and most likely predictions."""

from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from data_modules.text.answers import split_answers
from mpma_lightning.figures.canvas import PLAIN, RIGHT, WRONG, canvas, headline, shortened, show
from mpma_lightning.figures.sheet import letters, sheet

WIDTH, WIDTHS = 46, [2.2, 2.2, 4.4]
"""Letters of a line of text, and inches of the film, its map and the text."""


def with_failures(right: list[bool], count: int) -> list[int]:
    """Up to ``count`` places, half of them failures where there are as many; each half is spread evenly."""
    wrong, correct = ([i for i, each in enumerate(right) if each is kind] for kind in (False, True))
    failed = _spread(wrong, max(count // 2, count - len(correct)))
    return sorted(failed + _spread(correct, count - len(failed)))


def _spread(places: list[int], count: int) -> list[int]:
    """Up to ``count`` of ``places``, evenly spread."""
    count = min(count, len(places))
    return [places[k * len(places) // count] for k in range(count)]


def said(joined: str) -> str:
    """Answers as they are read."""
    return " / ".join(split_answers(joined)) or "none"


def answer_cards(
    batch: dict[str, Any], predicted: list[tuple[str, bool]], probabilities: Tensor, answers: list[str],
    attention: Tensor | None, of_all: str,
) -> Figure:  # fmt: skip
    """One row per question: film, attention map over it, and text; ✓ and blue for a correct prediction, ✗ and orange
    for a wrong one.

    Args:
        batch: image (B, C, H, W), text and answer of B questions.
        predicted: of each question the prediction, and whether it is correct.
        probabilities: (B, answers).
        answers: the vocabulary.
        attention: (B, H', W'); None: fusion has no attention.
        of_all: a line about the batch that they are taken from.
    """
    count = len(batch["text"])
    widths = WIDTHS[attention is None :]
    figure, axes = canvas(count, len(widths), height=2.3, widths=widths)
    longest = letters(WIDTH, widths)
    for row in range(count):
        show(axes[row, 0], batch["image"][row])
        if attention is not None:
            show(axes[row, 1], batch["image"][row], attention[row])
        best = probabilities[row].topk(min(3, len(answers)))
        ranked = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        likeliest = ", ".join(f"{answers[i]} ({p:.2f})" for p, i in ranked)
        found, right = predicted[row]
        outside = "" if set(split_answers(batch["answer"][row])) & set(answers) else " (not among the known answers)"
        lines = (
            (shortened(batch["text"][row], longest, 4), "black", "bold"),
            (shortened(f"answer: {said(batch['answer'][row])}{outside}", longest, 2), "black", "normal"),
            (shortened(f"{'✓' if right else '✗'} model: {said(found)}", longest, 2), RIGHT if right else WRONG, "bold"),
            (shortened(f"most likely: {likeliest}", longest, 3), PLAIN, "normal"),
        )
        y, ax = 0.95, axes[row, -1]
        for text, colour, weight in lines:
            ax.text(
                0.02, y, text, color=colour, weight=weight, fontsize=sheet().text + 1, va="top", transform=ax.transAxes
            )
            y -= 0.09 * (1.35 + text.count("\n"))
    titles = ("film", "attention of the question", "question and answers")
    for ax, title in zip(axes[0], titles if attention is not None else titles[::2], strict=True):
        ax.set_title(title, fontsize=sheet().text + 1)
    headline(figure, of_all)
    return figure
