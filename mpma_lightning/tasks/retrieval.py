"""Image–text retrieval by global embeddings (`dual`): zero-shot with `test`, fine-tuned by InfoNCE with `fit`."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpma_lightning.backbones import BackboneSpec
from mpma_lightning.distributed import rank, world_size
from mpma_lightning.evaluation.retrieval import chance_recall, rank_queries, summarise
from mpma_lightning.masking import ReportMask
from mpma_lightning.metrics import gather_objects
from mpma_lightning.objectives.global_alignment import GlobalAlignment, GlobalAlignmentOptions
from mpma_lightning.objectives.state import PretrainingState
from mpma_lightning.optim import Optim
from mpma_lightning.tasks.base import GRAY_MEAN, GRAY_STD, Step, Task


class RetrievalTask(Task):
    """Every image and every text is encoded once; several positives: same study or same text is a hit.

    Args:
        backbone: see :class:`Task`.
        checkpoint: see :class:`Task`.
        checkpoint_parts: see :class:`Task`.
        contrast: InfoNCE of fine-tuning.
        optim: see :class:`Task`.
        mean: see :class:`Task`.
        std: see :class:`Task`.
    """

    def __init__(
        self,
        backbone: BackboneSpec | str | None = None,
        checkpoint: str | None = None,
        checkpoint_parts: list[str] | None = None,
        contrast: GlobalAlignmentOptions | None = None,
        optim: Optim | None = None,
        mean: float = GRAY_MEAN,
        std: float = GRAY_STD,
    ) -> None:
        super().__init__(backbone, checkpoint, checkpoint_parts, optim, mean, std)
        self.contrast = contrast or GlobalAlignmentOptions()
        self._rows: dict[str, list[np.ndarray]] = {"image": [], "text": [], "group": []}

    @property
    def parts(self) -> tuple[str, ...]:
        return ("align_global",)

    def build_heads(self) -> None:
        self.global_alignment = GlobalAlignment(self.contrast)

    def _state(self, batch: dict[str, Any], training: bool = False) -> PretrainingState:
        ids = batch["input_ids"]
        return PretrainingState(
            self.backbone,
            image=self.encoder_input(self.normalise(batch["image"])),
            input_ids=ids,
            attention_mask=batch["attention_mask"],
            report_mask=ReportMask(ids, torch.zeros_like(ids, dtype=torch.bool)),
            group=batch["group"],
            pairing="separate",
            across_ranks=training,
        )

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        state = self._state(batch, training=stage == "train")
        outcome: Step = {"contrast_loss": self.global_alignment(state)}
        if stage != "train":
            for name, value in (
                ("image", state.global_image.float()),
                ("text", state.global_text.float()),
                ("group", batch["group"]),
            ):
                self._rows[name].append(value.cpu().numpy())
        return outcome

    def _log_epoch(self, stage: str) -> None:
        super()._log_epoch(stage)
        ranks = gather_objects(self._rows)
        rows = {name: np.concatenate([part for held in ranks for part in held[name]]) for name in self._rows}
        self._rows = {name: [] for name in self._rows}
        if not self.trainer.sanity_checking:
            self.log_dict({f"{stage}/{name}": value for name, value in _scores(rows).items()})

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Ids and embeddings; a callback writes them."""
        found: dict[str, Any] = {"id": batch["id"]}
        if "image" in batch:
            image: Tensor = self.encoder_input(self.normalise(batch["image"]))
            found["image_embedding"] = self.backbone.embed_image(self.backbone.image(image))
        if "input_ids" in batch:
            text = self.backbone.text(batch["input_ids"], batch["attention_mask"])
            found["text_embedding"] = self.backbone.embed_text(text)
        return found


def _scores(rows: dict[str, np.ndarray]) -> dict[str, float]:
    """Each rank ranks its share of the queries against the whole gallery; ranks meet once."""
    group, mine = rows["group"], slice(rank(), None, world_size())
    own = {
        name: rank_queries(rows[query][mine], rows[gallery], group[mine], group)
        for name, query, gallery in (("i2t", "image", "text"), ("t2i", "text", "image"))
    }
    everywhere = gather_objects(own)
    scores = {"pairs": float(len(group))}
    for name in own:
        ranks, precisions = (
            np.concatenate(parts) for parts in zip(*(found[name] for found in everywhere), strict=True)
        )
        result = summarise(ranks, precisions)
        scores |= {f"{name}_r{k}": value for k, value in result.recall.items()}
        scores |= {f"{name}_median_rank": result.median_rank, f"{name}_map": result.mean_average_precision}
    return scores | {f"chance_r{k}": chance_recall(group, group, k) for k in (1, 5, 10)}
