"""Detections as one COCO file: images, categories and scored annotations."""

import json
from typing import Any

from torch import Tensor

from data_modules.files import write_whole
from data_modules.images.transforms import Placement
from mpma_lightning.predictions.writer import PredictionWriter

MIN_SCORE = 0.05
"""Detections with a lower score are not written."""
Detected = tuple[str, list[int], list[dict[str, Any]]]
"""Id, height and width, annotations of one image."""


class BoxWriter(PredictionWriter):
    """Writes boxes in pixels of the original images; ``file_name`` is the sample's id. Boxes are clipped to the image
    (they may reach into the bars of a letterbox); a box outside of it is not written.

    Args:
        classes: names of the detections' labels.
        image_size: side of the crop.
        fit: how images were fitted into it.
        file: name in the run folder.
    """

    def __init__(self, classes: list[str], image_size: int, fit: str, file: str = "boxes.json") -> None:
        super().__init__(file)
        self.classes, self.image_size, self.fit = classes, image_size, fit

    def add(self, prediction: dict[str, Any]) -> None:
        rows = zip(prediction["id"], prediction["size"].tolist(), prediction["found"], strict=True)
        self.rows += [(name, size, self.annotations(found, size)) for name, size, found in rows]

    def annotations(self, found: dict[str, Tensor], size: list[int]) -> list[dict[str, Any]]:
        """COCO annotations of one image, without ids.

        Args:
            found: boxes (n, 4) in pixels of the crop, scores (n,), labels (n,) from 0.
            size: [height, width] of the original image.
        """
        keep = found["scores"] >= MIN_SCORE
        boxes, scores, labels = (found[name][keep].cpu().numpy() for name in ("boxes", "scores", "labels"))
        corners = Placement.of(size[0], size[1], self.image_size, self.fit).boxes_back(boxes)
        rows = []
        for (x1, y1, x2, y2), score, label in zip(corners.tolist(), scores.tolist(), labels.tolist(), strict=True):
            box = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
            if min(box[2:]) > 0:
                area = round(box[2] * box[3], 2)
                row = {"category_id": label + 1, "bbox": box, "area": area, "iscrowd": 0, "score": round(score, 4)}
                rows.append(row)
        return rows

    def write(self, rows: list[Detected]) -> str:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for name, (height, width), found in rows:
            images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
            annotations += [{"id": len(annotations) + i + 1, "image_id": len(images), **r} for i, r in enumerate(found)]
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(self.classes)]
        content = {"images": images, "categories": categories, "annotations": annotations}
        write_whole(self.path, json.dumps(content) + "\n")
        return f"{len(annotations)} boxes on {len(images)} images in {self.path}"
