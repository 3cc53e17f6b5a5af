"""VQA cards: image, where fusion looks, question, answer and the likeliest predictions; PNG and TensorBoard."""

import textwrap
from typing import Any

import torch
from lightning import LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor

from mpma_lightning.callbacks.evaluation_batches import EvaluationBatches
from mpma_lightning.callbacks.pictures import keep
from mpma_lightning.drawing import PLAIN, RIGHT, WRONG, canvas, gray
from mpma_lightning.tasks.vqa import VQATask


class AnswerCards(EvaluationBatches):
    """``pictures/answers.png`` of the first validation or test batch, one row a question; rank 0 only.

    The pictures show data in use: they stay under its terms of use.

    Args:
        samples: rows, at most.
    """

    def __init__(self, samples: int = 6) -> None:
        self.samples = samples

    def on_evaluation_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_idx: int, stage: str
    ) -> None:
        if batch_idx or not trainer.is_global_zero or trainer.sanity_checking:
            return
        assert isinstance(task, VQATask)
        some = {name: values[: self.samples] for name, values in batch.items()}
        keep(trainer, "answers", draw(some, outputs["logits"].sigmoid(), task.answers, task.attention(some)))


def draw(batch: dict[str, Any], probabilities: Tensor, answers: list[str], attention: Tensor | None) -> Figure:
    """One row a question: the image, the image under its attention map, and the text; green when answered rightly.

    Args:
        batch: image (B, C, H, W), text and answer of B questions.
        probabilities: (at least B, answers).
        answers: the vocabulary.
        attention: (B, H', W'), None for a fusion without attention.
    """
    count = len(batch["text"])
    figure, axes = canvas(count, 3, 2.4, 2.4)
    for row in range(count):
        image = gray(batch["image"][row])
        for ax in axes[row, :2]:
            ax.imshow(image, cmap="gray")
        if attention is not None:
            heat = torch.nn.functional.interpolate(attention[row][None, None].float(), image.shape, mode="bilinear")
            axes[row, 1].imshow(heat[0, 0].cpu().numpy(), cmap="inferno", alpha=0.5)
        best = probabilities[row].topk(min(3, len(answers)))
        said = [f"{answers[i]} ({p:.2f})" for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
        right = answers[int(best.indices[0])] == batch["answer"][row]
        lines = (
            (textwrap.fill(batch["text"][row][:160], 30), "black"),
            (f"answer: {batch['answer'][row]}", PLAIN),
            (f"said: {said[0]}", RIGHT if right else WRONG),
            *((f"          {other}", PLAIN) for other in said[1:]),
        )
        y = 0.95
        for text, colour in lines:
            axes[row, 2].text(0, y, text, color=colour, fontsize=7, va="top", transform=axes[row, 2].transAxes)
            y -= 0.1 * (2 + text.count("\n"))
    for ax, title in zip(axes[0], ("image", "attention of the fused question", "question"), strict=True):
        ax.set_title(title, fontsize=8)
    return figure
