"""Visual question answering: the fused representation, an answer head, and the baselines beside it."""

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from data_modules.errors import UserError
from mpma_lightning.backbones import Backbone, BackboneSpec
from mpma_lightning.backbones.weights import load_weights
from mpma_lightning.evaluation.answers import ACCURACY, Answered, accuracies, answer_samples
from mpma_lightning.evaluation.bootstrap import mean_intervals
from mpma_lightning.evaluation.finite import largest, refuse_broken
from mpma_lightning.evaluation.metric import Scores
from mpma_lightning.figures.answers import answer_cards
from mpma_lightning.heads.answer_head import AnswerHead
from mpma_lightning.optim import Optim
from mpma_lightning.precision import full
from mpma_lightning.predictions.answers import AnswerWriter
from mpma_lightning.tasks.base import GRAY_MEAN, GRAY_STD, Step, Task

ANSWERS = "answers"
"""Key of the answer vocabulary in a checkpoint."""


class VQATask(Task):
    """Answers as classes: binary cross-entropy summed over answers, the likeliest one counts [M3AE].

    Args:
        backbone: see :class:`Task`.
        checkpoint: see :class:`Task`.
        checkpoint_parts: see :class:`Task`.
        pool: where the fused question is read; see ``Backbone.fused_representation``.
        question_only: also train the baseline that sees no image: a second text encoder of the same start, with the
            same head. It shares no weight with the model, only the norm that gradient clipping looks at.
        optim: see :class:`Task`. Names for ``scale``: ``head``, ``backbone.fusion``, ``blind_head``, ``blind``.
        mean: see :class:`Task`.
        std: see :class:`Task`.
    """

    monitor = ACCURACY

    def __init__(
        self,
        backbone: BackboneSpec | str | None = None,
        checkpoint: str | None = None,
        checkpoint_parts: list[str] | None = None,
        pool: Literal["mask", "mean", "cls"] = "mask",
        question_only: bool = True,
        optim: Optim | None = None,
        mean: float = GRAY_MEAN,
        std: float = GRAY_STD,
    ) -> None:
        super().__init__(backbone, checkpoint, checkpoint_parts, optim, mean, std)
        self.pool, self.question_only = pool, question_only
        self.trained = False

    @property
    def parts(self) -> tuple[str, ...]:
        return ("fusion",)

    def build_heads(self) -> None:
        spec = self.data_spec
        if not spec.answers:
            raise UserError(
                f"{spec.name} has no answers; VQATask needs a data set of questions, such as VQARADDataModule"
            )
        self.protocol = spec.protocol
        self.answers: list[str] = list(spec.answers)
        self.majority: dict[str, str] = dict(spec.majority_answers)
        self.number = {answer: i for i, answer in enumerate(self.answers)}
        text = self.backbone.text.width
        width = text + self.backbone.image.width
        self.head = AnswerHead(width, width, len(self.answers))
        if self.question_only:
            self.blind = Backbone(self.spec, ("text",), self.backbone.vocabulary)
            self.blind_head = AnswerHead(text, width, len(self.answers))
            if self.source is not None and (self.checkpoint_parts is None or "text" in self.checkpoint_parts):
                load_weights(self.blind, self.source, self.tokenizer_json)
            else:
                self.blind.load_state_dict(
                    {n: v for n, v in self.backbone.state_dict().items() if n.startswith("text.")}
                )

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """(B, answers)."""
        image = self.backbone.image(self.encoder_input(self.normalise(batch["image"])))
        fused = self.backbone.fused_representation(image, batch["input_ids"], batch["attention_mask"], self.pool)
        return full(self.head(fused))

    def attention(self, batch: dict[str, Any]) -> Tensor | None:
        """(B, H', W') where the fused question looks; see ``Backbone.fused_attention``."""
        image = self.backbone.image(self.encoder_input(self.normalise(batch["image"])))
        return self.backbone.fused_attention(image, batch["input_ids"], batch["attention_mask"], self.pool)

    def blind_logits(self, batch: dict[str, Any]) -> Tensor:
        """(B, answers) from the question alone."""
        return full(self.blind_head(self.blind.text(batch["input_ids"], batch["attention_mask"]).pooled))

    def targets(self, answers: list[str]) -> Tensor:
        """(B, answers) of 0 and 1; a row of zeros for an answer outside the vocabulary."""
        rows = torch.zeros(len(answers), len(self.answers), device=self.device)
        for row, answer in enumerate(answers):
            if answer in self.number:
                rows[row, self.number[answer]] = 1
        return rows

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        target, logits = self.targets(batch["answer"]), self.logits(batch)
        count = torch.tensor(float(len(target)), device=self.device)
        outcome: Step = {"answer_loss": (F.binary_cross_entropy_with_logits(logits, target, reduction="sum"), count)}
        blind = self.blind_logits(batch) if self.question_only else None
        if blind is not None:
            outcome["question_only_loss"] = (
                F.binary_cross_entropy_with_logits(blind, target, reduction="sum"),
                count,
            )
        outcome["logits"] = logits.detach()
        if stage != "train":
            keys = ("answer", "answer_type", "question_type", "contrasted", "id", "patient")
            self.rows.add(
                **{key: batch[key] for key in keys},
                logits=largest(logits),
                predicted=self._likeliest(logits),
                question_only_logits=largest(logits if blind is None else blind),
                question_only=self._likeliest(blind) if blind is not None else [None] * len(logits),
            )
        return outcome

    def _likeliest(self, logits: Tensor) -> list[str]:
        return [self.answers[i] for i in logits.argmax(1).tolist()]

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        refuse_broken(rows["id"], logits=rows["logits"], question_only_logits=rows["question_only_logits"])
        answered = [Answered(*row) for row in zip(*(rows[name] for name in Answered._fields), strict=True)]
        scores = accuracies(answered, set(self.answers), self.majority)
        if stage == "test":
            self.samples = answer_samples(answered)
            scores |= mean_intervals(self.samples.values, self.samples.patients)
        return scores

    def on_validation_start(self) -> None:
        if self.trainer.state.fn != "fit":
            self._refuse_untrained()

    def on_test_start(self) -> None:
        self._refuse_untrained()

    def on_predict_start(self) -> None:
        self._refuse_untrained()

    def _refuse_untrained(self) -> None:
        if not self.trained:
            raise UserError(
                f"{self.trainer.state.fn}: the answer head is not trained; give --ckpt_path best, last or a file of a "
                "fit (model.checkpoint brings the backbone only)"
            )

    def figures(self, batch: dict[str, Any], outcome: Step, stage: str, count: int) -> dict[str, Figure]:
        some = {name: values[:count] for name, values in batch.items()}
        likelihoods = outcome["logits"].sigmoid()
        return {"answers": answer_cards(some, likelihoods, self.answers, self.attention(some))}

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Id, question, likeliest answer and the five likeliest with their probabilities."""
        logits = self.logits(batch)
        refuse_broken(batch["id"], logits=largest(logits).cpu().numpy())
        best = logits.sigmoid().topk(min(5, len(self.answers)), dim=1)
        ranked = [
            {self.answers[i]: round(p, 4) for i, p in zip(places, values, strict=True)}
            for places, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        likeliest = [next(iter(row)) for row in ranked]
        return {"id": batch["id"], "question": batch["text"], "prediction": likeliest, "probabilities": ranked}

    def prediction_writer(self) -> AnswerWriter:
        return AnswerWriter()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint[ANSWERS] = self.answers

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if ANSWERS not in checkpoint:
            path = self.trainer.ckpt_path
            raise UserError(
                f"ckpt_path {path} has no answer head; fit one first, starting from --model.checkpoint {path}"
            )
        known, self.trained = checkpoint[ANSWERS], True
        if known != self.answers:
            first = next(iter(sorted(set(known) ^ set(self.answers))), "their order")
            raise UserError(
                f"ckpt_path {self.trainer.ckpt_path} answers with another vocabulary ({len(known)} answers, the data "
                f"have {len(self.answers)}; first difference: {first!r}); use the data and protocol it was trained "
                "with, or start a new run with model.checkpoint"
            )
