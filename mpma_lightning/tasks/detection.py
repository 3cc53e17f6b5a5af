"""Detection: Faster R-CNN on the frozen or fine-tuned image encoder, scored by COCO mAP over all images."""

from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mpma_lightning import pictures
from mpma_lightning.backbones import BackboneSpec
from mpma_lightning.errors import UserError
from mpma_lightning.evaluation.detection import Boxes, detection_scores, on_cpu
from mpma_lightning.heads.detection_head import DetectionHead, in_training_mode, protocol_named
from mpma_lightning.metrics import gather_objects
from mpma_lightning.optim import Optim
from mpma_lightning.tasks.base import GRAY_MEAN, GRAY_STD, Step
from mpma_lightning.tasks.dense import DenseTask


class DetectionTask(DenseTask):
    """Boxes of the data's ``box_classes``.

    Args:
        backbone: see :class:`Task`.
        checkpoint: see :class:`Task`.
        checkpoint_parts: see :class:`Task`.
        protocol: ``det-frozen-mgca`` (frozen encoder) or ``det-coco`` (fine-tuned). Both report COCO mAP over all
            images, and the published mAP@.40-.75 as ``det-frozen-mgca/map_40_75``. MGCA's detector is YOLOv3; here it
            is Faster R-CNN, so that figure is comparable in how it is computed, not in the detector.
        optim: see :class:`Task`. Names for ``scale``: ``head``, ``backbone.image``.
        mean: see :class:`Task`.
        std: see :class:`Task`.
    """

    annotations = ("boxes",)

    def __init__(
        self,
        backbone: BackboneSpec | str | None = None,
        checkpoint: str | None = None,
        checkpoint_parts: list[str] | None = None,
        protocol: str = "det-coco",
        optim: Optim | None = None,
        mean: float = GRAY_MEAN,
        std: float = GRAY_STD,
    ) -> None:
        super().__init__(backbone, checkpoint, checkpoint_parts, optim, mean, std)
        self.protocol = protocol
        self.frozen = protocol_named(protocol).frozen
        self.seen: list[tuple[Boxes, Boxes]] = []

    def build_heads(self) -> None:
        spec: Any = self.trainer.datamodule.spec  # type: ignore[attr-defined]
        self.classes = list(spec.box_classes)
        if not self.classes:
            raise UserError(f"{spec.name} has no boxes; detection needs a data set with boxes")
        self.head = DetectionHead(self.backbone.image, len(self.classes), spec.image_size)
        self.freeze_encoder()

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        image = self.encoder_input(self.normalise(batch["image"]))
        inputs = (self.maps(image, self.head.levels.indices), image, batch["boxes"], batch["box_labels"])
        outcome: Step = {}
        if stage == "train":
            _, losses = self.head(*inputs)
        else:
            losses = in_training_mode(self.head, *inputs)
            found, _ = self.head(*inputs[:2])
            for one, boxes, labels in zip(found, batch["boxes"], batch["box_labels"], strict=True):
                self.seen.append((on_cpu(one), on_cpu({"boxes": boxes, "labels": labels})))
            outcome["found"] = found
        count = torch.tensor(float(len(image)), device=image.device)
        names = {name if name.startswith("loss_") else f"loss_{name}": value for name, value in losses.items()}
        return {**outcome, **{f"{name[5:]}_loss": (value * count, count) for name, value in names.items()}}

    def _log_epoch(self, stage: str) -> None:
        super()._log_epoch(stage)
        pairs = [pair for rank in gather_objects(self.seen) for pair in rank]
        self.seen = []
        if pairs and not self.trainer.sanity_checking:
            scores = detection_scores([found for found, _ in pairs], [truth for _, truth in pairs], self.classes)
            self.log_dict({f"{stage}/{name}": value for name, value in scores.items()})

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Ids, detections in pixels of the crop, and the size of each image; a callback writes them."""
        image = self.encoder_input(self.normalise(batch["image"]))
        found, _ = self.head(self.maps(image, self.head.levels.indices), image)
        return {"id": batch["id"], "found": found, "size": batch["size"]}

    def overlay(self, batch: dict[str, Any], outcome: Step, count: int) -> Figure:
        """Boxes of the data and those found."""
        found: list[dict[str, Tensor]] = outcome["found"][:count]
        return pictures.boxes(batch["image"][:count], batch["boxes"], batch["box_labels"], found, self.classes)

    def result_entries(self) -> dict[str, Any]:
        return {"protocol": self.protocol, "classes": self.classes, "detector": "Faster R-CNN"}
