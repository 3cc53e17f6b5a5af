"""Detection: Faster R-CNN on the frozen or fine-tuned image encoder."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mpma_lightning.evaluation.detection import MAP, MAP_50, MAP_75, MAR_100, PUBLISHED, Boxes, detection_scores, on_cpu
from mpma_lightning.evaluation.detection_interval import map_interval
from mpma_lightning.evaluation.metric import Scores, with_interval
from mpma_lightning.figures import dense
from mpma_lightning.heads.detection_head import DetectionHead, in_training_mode
from mpma_lightning.predictions.boxes import BoxWriter
from mpma_lightning.protocols import DetectionProtocol, protocol_named
from mpma_lightning.tasks.base import Step
from mpma_lightning.tasks.dense import DenseTask


class DetectionTask(DenseTask):
    """Detects the data's ``box_classes``. Names for ``optim.scale``: ``head``, ``backbone.image``.

    Args:
        protocol: ``det-frozen`` (frozen encoder) or ``det-coco`` (fine-tuned). Both report COCO mAP over all
            images, and the published mAP@.40-.75 as ``map_40_75_mgca``. MGCA's detector is YOLOv3, here it
            is Faster R-CNN: the metric is computed in the same way, but with another detector.
        head_width: channels of the feature pyramid.
    """

    annotations = ("boxes",)
    outputs = "boxes"
    monitor = MAP
    selectable = (MAP_50, MAP_75, MAR_100, PUBLISHED)

    def __init__(self, *, protocol: str = "det-coco", head_width: int = 256, **common: Any) -> None:
        super().__init__(**common)
        self.protocol, self.head_width = protocol, head_width
        self.frozen = protocol_named(protocol, DetectionProtocol).frozen

    def annotated(self) -> list[str]:
        return list(self.data_spec.box_classes)

    def build_head(self) -> None:
        side = self.data_spec.image_size
        self.head = DetectionHead(self.backbone.image, len(self.classes), side, self.head_width)

    def targets(self, batch: dict[str, Any]) -> list[Boxes]:
        """Annotated boxes of the head's classes, with the labels of the head."""
        places = self.shared()
        targets = []
        for boxes, labels in zip(batch["boxes"], batch["box_labels"], strict=True):
            known = [(i, places[k]) for i, k in enumerate(labels.tolist()) if k in places]
            classes = torch.tensor([place for _, place in known], dtype=torch.int64, device=boxes.device)
            targets.append({"boxes": boxes[[i for i, _ in known]], "labels": classes})
        return targets

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        image = self.images(batch)
        inputs = (self.maps(image, self.head.levels.indices), image, self.targets(batch))
        outcome: Step = {}
        if stage == "train":
            _, losses = self.head(*inputs)
        else:
            losses = in_training_mode(self.head, *inputs)
            outcome["found"] = found = self._detect(*inputs[:2])
            self.keep(
                batch,
                found=[on_cpu(self._of_shared_classes(one)) for one in found],
                truth=[on_cpu(one) for one in inputs[2]],
            )
        for name, count in self.head.counts().items():
            outcome[f"{name.removeprefix('loss_')}_loss"] = (losses[name] * count, count)
        return outcome

    def _of_shared_classes(self, found: Boxes) -> Boxes:
        """Detections of classes that the data have."""
        keep = torch.isin(found["labels"], torch.tensor(list(self.shared().values()), device=found["labels"].device))
        return {name: values[keep] for name, values in found.items()}

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        found, truth = list(rows["found"]), list(rows["truth"])
        scores = detection_scores(found, truth, self.classes)
        if stage == "test" and MAP in scores:
            scores |= with_interval(MAP, map_interval(found, truth, rows["patient"]))
        return scores

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ids, detections in pixels of the crop, and the size of each image."""
        image = self.images(batch)
        found = self._detect(self.maps(image, self.head.levels.indices), image)
        return {"id": batch["id"], "found": found, "size": batch["size"]}

    def _detect(self, maps: list[Tensor], image: Tensor) -> list[Boxes]:
        found, _ = self.head(maps, image)
        self.check_finite(outputs=self.head.largest)
        return found

    def prediction_writer(self) -> BoxWriter:
        return BoxWriter(self.classes, self.data_spec.image_size, self.data_spec.fit)

    def figures(self, batch: dict[str, Any], outcome: Step, stage: str, count: int) -> dict[str, Figure]:
        """Films with boxes: the annotated and the predicted ones."""
        targets = self.targets(batch)
        rows = [i for i, truth in enumerate(targets) if len(truth["boxes"])][:count]
        found, truth = ([each[i] for i in rows] for each in (outcome["found"], targets))
        return {f"{stage}_overlay": dense.boxes(batch["image"][rows], truth, found, self.classes)}

    def shows_annotation(self, batch: dict[str, Any]) -> bool:
        """Whether a film has a box of the head's classes."""
        return any(len(truth["boxes"]) for truth in self.targets(batch))

    def result_entries(self) -> dict[str, Any]:
        return {**super().result_entries(), "detector": "Faster R-CNN"}
