"""Figures of visual question answering: image, attention map, question, answer and most likely predictions."""

import textwrap
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from data_modules.text.answers import split_answers
from mpma_lightning.figures.canvas import PLAIN, RIGHT, WRONG, canvas, show


def answer_cards(batch: dict[str, Any], probabilities: Tensor, answers: list[str], attention: Tensor | None) -> Figure:
    """One row per question: image, attention map over the image, and text, in green for a correct prediction.

    Args:
        batch: image (B, C, H, W), text and answer of B questions.
        probabilities: (at least B, answers).
        answers: the vocabulary.
        attention: (B, H', W'); None: fusion has no attention.
    """
    count = len(batch["text"])
    figure, axes = canvas(count, 3, 2.4, 2.4)
    for row in range(count):
        show(axes[row, 0], batch["image"][row])
        show(axes[row, 1], batch["image"][row], None if attention is None else attention[row])
        best = probabilities[row].topk(min(3, len(answers)))
        ranked = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        predicted = [f"{answers[i]} ({p:.2f})" for p, i in ranked]
        right = answers[int(best.indices[0])] in split_answers(batch["answer"][row])
        lines = (
            (textwrap.fill(batch["text"][row][:160], 30), "black"),
            (f"answer: {batch['answer'][row]}", PLAIN),
            (f"prediction: {predicted[0]}", RIGHT if right else WRONG),
            *((f"          {other}", PLAIN) for other in predicted[1:]),
        )
        y = 0.95
        for text, colour in lines:
            axes[row, 2].text(0, y, text, color=colour, fontsize=7, va="top", transform=axes[row, 2].transAxes)
            y -= 0.1 * (2 + text.count("\n"))
    for ax, title in zip(axes[0], ("image", "attention of the fused question", "question"), strict=True):
        ax.set_title(title, fontsize=8)
    return figure
