"""Segmentation of one structure: a decoder on the frozen or fine-tuned image encoder."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from data_modules.errors import expect
from mpma_lightning.evaluation.bootstrap import mean_interval
from mpma_lightning.evaluation.metric import Scores, with_interval
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.evaluation.segmentation import (
    DICE,
    DICE_POSITIVE,
    IOU,
    IOU_POSITIVE,
    MEAN_MASK,
    mean_mask,
    per_image,
    segmentation_scores,
)
from mpma_lightning.figures import dense
from mpma_lightning.heads.segmentation_head import segmentation_head, segmentation_loss
from mpma_lightning.optim import layer_scales, multiplied
from mpma_lightning.predictions.masks import MaskWriter
from mpma_lightning.protocols import SegmentationProtocol, protocol_named
from mpma_lightning.tasks.base import Step
from mpma_lightning.tasks.dense import DenseTask

BASELINE_MASKS = 200
"""Training masks of the mean-mask baseline."""


class SegmentationTask(DenseTask):
    """Segments one structure; baselines are the empty prediction and the mean training mask. Names for
    ``optim.scale``: ``head``, ``backbone.image``.

    Args:
        protocol: ``seg-frozen-mgca`` (SETR-PUP on a ViT, U-Net on a CNN) or ``seg-finetune`` (UPerNet).
        threshold: probability from which a pixel belongs to the structure; published: 0.5.
        head_width: channels of UPerNet; the other decoders have the published widths.
    """

    annotations = ("mask",)
    outputs = "masks"
    monitor = DICE_POSITIVE
    selectable = (DICE, IOU, IOU_POSITIVE)

    def __init__(
        self,
        *,
        protocol: str = "seg-finetune",
        threshold: float = 0.5,
        head_width: int = 256,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.protocol, self.fixed, self.threshold = protocol, protocol_named(protocol, SegmentationProtocol), threshold
        expect(0 < threshold < 1, "model.threshold", threshold, "a probability between 0 and 1, both excluded")
        self.head_width = head_width
        self.frozen = self.fixed.frozen

    def annotated(self) -> list[str]:
        name: str = self.data_spec.mask_class
        return [name] if name else []

    def build_head(self) -> None:
        self.head = segmentation_head(self.backbone.image, self.fixed, self.head_width)

    def build_heads(self) -> None:
        super().build_heads()
        side = self.data_spec.image_size
        self.register_buffer("mean_mask", torch.zeros(side, side, dtype=torch.bool))
        if self.fixed.layer_decay < 1:
            scales = layer_scales(self.backbone.image, self.fixed.layer_decay, "backbone.image")
            self.optim = replace(self.optim, scale=multiplied(scales, self.optim.scale))

    def on_fit_start(self) -> None:
        """Compute the mean mask of training samples without augmentation; the same on every rank."""
        samples = self.data.probe_samples(BASELINE_MASKS)
        masks = np.stack([samples[i]["mask"][0].numpy() for i in range(len(samples))])
        self.mean_mask = torch.from_numpy(mean_mask(masks)).to(self.device)

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """(B, 1, S, S)."""
        image = self.images(batch)
        logits = self.head(self.maps(image, self.head.levels.indices), image.shape[-1])
        self.check_finite(logits=logits)
        return logits

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        logits, mask = self.logits(batch), batch["mask"]
        count = torch.tensor(float(len(mask)), device=mask.device)
        outcome: Step = {"mask_loss": (segmentation_loss(logits, mask, self.fixed, stage == "train") * count, count)}
        if stage != "train":
            predicted, true = logits.sigmoid() >= self.threshold, mask > 0
            mean = F.interpolate(self.mean_mask[None, None].float(), true.shape[-2:]) > 0
            self.keep(batch, **_pixels(predicted, true, "model"), **_pixels(mean.expand_as(true), true, "mean"))
            outcome["mask"] = predicted
        return outcome

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        model, mean = (
            [rows[f"{who}/{name}"] for name in ("overlap", "predicted", "truth")] for who in ("model", "mean")
        )
        scores = segmentation_scores(*model)
        baseline = segmentation_scores(*mean)
        scores |= {MEAN_MASK[metric]: value for metric, value in baseline.items() if metric in MEAN_MASK}
        if stage == "test":
            dice, iou = per_image(*model)
            positive = np.where(rows["model/truth"] > 0, dice, np.nan)
            self.samples = SampleTable(rows["id"], rows["patient"], {DICE: dice, IOU: iou, DICE_POSITIVE: positive})
            scores |= with_interval(DICE, mean_interval(dice, rows["patient"]))
        return scores

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ids, masks (B, 1, S, S) of 0 and 255, and the size of each image."""
        mask = (self.logits(batch).sigmoid() >= self.threshold).to(torch.uint8) * 255
        return {"id": batch["id"], "mask": mask, "size": batch["size"]}

    def prediction_writer(self) -> MaskWriter:
        return MaskWriter(self.data_spec.fit)

    def figures(self, batch: dict[str, Any], outcome: Step, stage: str, count: int) -> dict[str, Figure]:
        """Films with the structure, with annotated and predicted masks."""
        rows = batch["mask"].flatten(1).any(1).nonzero().flatten().tolist()[:count]
        image, truth, found = (values[rows] for values in (batch["image"], batch["mask"], outcome["mask"]))
        names = [batch["id"][row] for row in rows]
        return {f"{stage}_overlay": dense.masks(image, truth, found, names, self.classes[0])}

    def shows_annotation(self, batch: dict[str, Any]) -> bool:
        """Whether a film has the structure."""
        return bool(batch["mask"].any())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.mean_mask = torch.zeros_like(checkpoint["state_dict"]["mean_mask"])


def _pixels(predicted: Tensor, true: Tensor, who: str) -> dict[str, Tensor]:
    """(B,) numbers of pixels of (B, 1, S, S) masks; ``who``: model or mean."""
    sizes = {"overlap": predicted & true, "predicted": predicted, "truth": true}
    return {f"{who}/{name}": pixels.sum((1, 2, 3)) for name, pixels in sizes.items()}
