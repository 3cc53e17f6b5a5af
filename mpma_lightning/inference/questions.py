"""The head of a VQA checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from mpma_lightning.backbones.checkpoint import CARGO, Checkpoint
from mpma_lightning.backbones.tensor_files import read_file
from mpma_lightning.heads.answer_head import answer_head
from mpma_lightning.heads.carried import head_of


@dataclass
class AnswerHead:
    """``module`` gives a logit for each of ``answers`` from the fused question, pooled by ``pool``."""

    module: nn.Module
    answers: list[str]
    pool: Literal["mask", "mean", "cls"]

    def likeliest(self, fused: Tensor, count: int) -> dict[str, float]:
        """The ``count`` likeliest answers to one question (1, D), best first."""
        best = self.module(fused).float().sigmoid()[0].topk(min(count, len(self.answers)))
        return {self.answers[i]: p for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)}


def answer_head_of(checkpoint: Checkpoint, config: Mapping[str, Any]) -> AnswerHead | None:
    """The head for answers in a checkpoint of a ``VQATask``; ``None`` in others.

    Args:
        checkpoint: of this project.
        config: the record of its run, which says how the question is pooled; default: as the task does by default.
    """
    if not checkpoint.heads:
        return None
    content = read_file(checkpoint.path, mmap=True)
    if content[CARGO].get("task") != "VQATask":
        return None
    state, answers = checkpoint.head("head"), list(head_of(content)["names"])
    hidden, width = state["0.weight"].shape
    module = answer_head(width, hidden, len(answers))
    module.load_state_dict(state)
    model = config.get("model") or {}
    return AnswerHead(module, answers, model.get("init_args", model).get("pool", "mask"))
