"""Writes the boxes that ``predict`` gives: one COCO file with images, categories and scored annotations."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities import rank_zero_info

from data_modules.base import attached_data
from data_modules.images.transforms import Placement
from mpma_lightning.evaluation.epoch import gather_objects


class BoxWriter(BasePredictionWriter):
    """``boxes.json`` in the run folder, boxes in pixels of the images; ``file_name`` is the sample's id. What of a
    detection lies on the bars of a letterbox is cut off, and left out where nothing remains.

    Args:
        least_score: detections below are left out.
    """

    def __init__(self, least_score: float = 0.05) -> None:
        super().__init__("epoch")
        self.least_score = least_score

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        spec: Any = attached_data(trainer).spec
        mine = [
            (name, size, self._rows(one, size, spec))
            for batch in predictions
            for name, size, one in zip(batch["id"], batch["size"].tolist(), batch["found"], strict=True)
        ]
        everything = [row for rank in gather_objects(mine) for row in rank]
        if not trainer.is_global_zero:
            return
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for name, (height, width), rows in everything:
            images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
            annotations += [{"id": len(annotations) + i + 1, "image_id": len(images), **r} for i, r in enumerate(rows)]
        classes: list[str] = pl_module.classes  # type: ignore[assignment]
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(classes)]
        path = Path(trainer.default_root_dir) / "boxes.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}) + "\n")
        rank_zero_info(f"{len(annotations)} boxes on {len(images)} images in {path}")

    def _rows(self, found: dict[str, Any], size: list[int], spec: Any) -> list[dict[str, Any]]:
        keep = found["scores"] >= self.least_score
        boxes, scores, labels = (found[name][keep].cpu().numpy() for name in ("boxes", "scores", "labels"))
        corners = Placement.of(size[0], size[1], spec.image_size, spec.fit).boxes_back(boxes)
        rows = []
        for (x1, y1, x2, y2), score, label in zip(corners.tolist(), scores.tolist(), labels.tolist(), strict=True):
            box = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
            if min(box[2:]) <= 0:
                continue
            rows.append(
                {
                    "category_id": label + 1,
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "iscrowd": 0,
                    "score": round(score, 4),
                }
            )
        return rows
