"""Visual question answering: classification of answers from the fused representation, with baselines."""

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from data_modules.errors import UserError
from data_modules.text.answers import join_answers, split_answers
from mpma_lightning.backbones import Backbone
from mpma_lightning.backbones.weights import load_weights
from mpma_lightning.evaluation.answers import ACCURACY, accuracies, answer_samples, right_answers
from mpma_lightning.evaluation.bootstrap import mean_intervals
from mpma_lightning.evaluation.metric import Scores
from mpma_lightning.figures.answers import answer_cards, with_failures
from mpma_lightning.heads.answer_head import answer_head
from mpma_lightning.precision import full
from mpma_lightning.predictions.answers import AnswerWriter
from mpma_lightning.tasks.base import Step
from mpma_lightning.tasks.named_outputs import NamedOutputsTask


class VQATask(NamedOutputsTask):
    """Predicts the most likely answer of a vocabulary; binary cross-entropy summed over answers [M3AE]. Names for
    ``optim.scale``: ``head``, ``backbone.fusion``, ``blind_head``, ``blind``.

    Of a question with choices, the most likely choice that the vocabulary has. Where the data ask for all of several
    answers, every answer of a probability of a half or more: none, one or several.

    Args:
        pool: how the fused question is pooled: at the ``mask`` token, by the ``mean``, or at ``cls``.
        question_only: also train a baseline without image: a second text encoder with the same initial weights and a
            head of the same kind. It shares no weights with the model; gradient clipping uses the norm over both.
    """

    monitor = ACCURACY
    outputs = "answers"
    head_title = "answer head"

    def __init__(
        self, *, pool: Literal["mask", "mean", "cls"] = "mask", question_only: bool = True, **common: Any
    ) -> None:
        super().__init__(**common)
        self.pool, self.question_only = pool, question_only

    @property
    def parts(self) -> tuple[str, ...]:
        return ("fusion",)

    def build_heads(self) -> None:
        self.protocol = self.data_spec.protocol
        self.majority = dict(self.data_spec.majority_answers)
        self.several = self.data_spec.several_answers
        super().build_heads()

    def annotated(self) -> list[str]:
        return list(self.data_spec.answers)

    @property
    def answers(self) -> list[str]:
        """The vocabulary, in the order of the outputs."""
        return self.classes

    def build_head(self) -> None:
        self.number = {answer: i for i, answer in enumerate(self.answers)}
        text = self.backbone.text.width
        width = text + self.backbone.image.width
        self.head = self._new_head(width, width)
        if self.question_only:
            self.blind = Backbone(self.spec, ("text",), self.backbone.vocabulary, self.backbone.text_config)
            self.blind_head = self._new_head(text, width)
            if self.source is not None and (self.checkpoint_parts is None or "text" in self.checkpoint_parts):
                load_weights(self.blind, self.source, self.tokenizer_json)
            else:
                self.blind.load_state_dict(
                    {n: v for n, v in self.backbone.state_dict().items() if n.startswith("text.")}
                )

    def _new_head(self, width: int, hidden: int) -> nn.Sequential:
        """(B, width) to (B, answers) logits [M3AE, ViLT]."""
        return answer_head(width, hidden, len(self.answers))

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """(B, answers)."""
        image = self.backbone.image(self.images(batch))
        fused = self.backbone.fused_representation(image, batch["input_ids"], batch["attention_mask"], self.pool)
        logits = full(self.head(fused))
        self.check_finite(logits=logits)
        return logits

    def attention(self, batch: dict[str, Any]) -> Tensor | None:
        """(B, H', W') attention of the fused question to patches; see ``Backbone.fused_attention``."""
        image = self.backbone.image(self.images(batch))
        return self.backbone.fused_attention(image, batch["input_ids"], batch["attention_mask"], self.pool)

    def blind_logits(self, batch: dict[str, Any]) -> Tensor:
        """(B, answers) from the question alone."""
        logits = full(self.blind_head(self.blind.text(batch["input_ids"], batch["attention_mask"]).pooled))
        self.check_finite(question_only_logits=logits)
        return logits

    def targets(self, answers: list[str]) -> Tensor:
        """(B, answers) of 0 and 1; all zeros for an answer outside the vocabulary."""
        rows = torch.zeros(len(answers), len(self.answers), device=self.device)
        for row, several in enumerate(answers):
            for answer in split_answers(several):
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
            self.keep(
                batch,
                **{key: batch[key] for key in ("answer", "answer_type", "question_type", "contrasted")},
                predicted=self.chosen(logits, batch),
                question_only=self.chosen(blind, batch) if blind is not None else [None] * len(logits),
            )
        return outcome

    def chosen(self, logits: Tensor, batch: dict[str, Any]) -> list[str]:
        """The predicted answer of each question, several joined as ``batch["answer"]`` has them."""
        if "choices" in batch:
            among = self.targets(batch["choices"]).bool()
            among |= ~among.any(1, keepdim=True)  # no choice, or none that the vocabulary has
            logits = logits.masked_fill(~among, -torch.inf)
        likeliest = [self.answers[i] for i in logits.argmax(1).tolist()]
        if self.several != "all":
            return likeliest
        return [join_answers(self.answers[i] for i in row.nonzero().flatten().tolist()) for row in logits >= 0]

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        any_one = self.several == "any"
        scores = accuracies(rows, set(self.answers), self.majority, any_one)
        if stage == "test":
            self.samples = answer_samples(rows, any_one)
            scores |= mean_intervals(self.samples.values, self.samples.patients)
        return scores

    def figures(self, batch: dict[str, Any], outcome: Step, stage: str, count: int) -> dict[str, Figure]:
        """Questions and their answers, half of them failures where there are as many."""
        chosen = self.chosen(outcome["logits"], batch)
        right = right_answers(chosen, batch["answer"], self.several == "any").tolist()
        rows = with_failures(right, count)
        some = {name: batch[name][rows] for name in ("image", "input_ids", "attention_mask")}
        some |= {name: [batch[name][i] for i in rows] for name in ("text", "answer")}
        told = f"{sum(right)} of the {len(right)} questions of this batch are answered correctly; {len(rows)} of them:"
        predicted, likelihoods = [(chosen[i], right[i]) for i in rows], outcome["logits"][rows].sigmoid()
        return {"answers": answer_cards(some, predicted, likelihoods, self.answers, self.attention(some), told)}

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Id, question, predicted answer, and the five most likely answers with their probabilities."""
        logits = self.logits(batch)
        best = logits.sigmoid().topk(min(5, len(self.answers)), dim=1)
        ranked = [
            {self.answers[i]: round(p, 4) for i, p in zip(places, values, strict=True)}
            for places, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        chosen = self.chosen(logits, batch)
        return {"id": batch["id"], "question": batch["text"], "prediction": chosen, "probabilities": ranked}

    def prediction_writer(self) -> AnswerWriter:
        return AnswerWriter("answers.jsonl")

    def take_head(self, known: dict[str, Any]) -> None:
        """UserError unless the vocabulary is the same."""
        if known["names"] != self.classes:
            first = next(iter(sorted(set(known["names"]) ^ set(self.classes))), "their order")
            raise UserError(
                f"ckpt_path {self.trainer.ckpt_path} answers with another vocabulary ({len(known['names'])} answers, "
                f"the data have {len(self.classes)}; first difference: {first!r}); use the data and protocol it was "
                "trained with, or start a new run with model.checkpoint"
            )
