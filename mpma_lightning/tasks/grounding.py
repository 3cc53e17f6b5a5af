"""Phrase grounding: the region of the image that a phrase describes, from local alignment."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from data_modules.errors import UserError
from data_modules.images.transforms import Placement
from mpma_lightning.evaluation.bootstrap import mean_interval
from mpma_lightning.evaluation.grounding import (
    ABSOLUTE_CNR,
    BORDER_MAXIMA,
    CENTRE_OF_LUNG,
    CENTRE_OF_NAMED_LUNG,
    CONSTANT_PATCH,
    IOU,
    PHRASES,
    POINTING_GAME,
    RANDOM_PATCH,
    SIGNED_CNR,
    Film,
    guess_scores,
    inside,
    map_scores,
    most_often_right,
    phrase_maps,
    resized_maps,
    smoothed,
)
from mpma_lightning.evaluation.metric import Scores, with_interval
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.evaluation.sentences import is_negated
from mpma_lightning.figures import dense
from mpma_lightning.predictions.masks import MaskWriter
from mpma_lightning.protocols import GroundingProtocol, protocol_named
from mpma_lightning.tasks.base import Step
from mpma_lightning.tasks.training_free import TrainingFreeTask

SCORES = (POINTING_GAME, SIGNED_CNR, ABSOLUTE_CNR, IOU, BORDER_MAXIMA)
GUESSES = (RANDOM_PATCH, CENTRE_OF_LUNG, CENTRE_OF_NAMED_LUNG, CONSTANT_PATCH)
BY_FINDING = (POINTING_GAME, SIGNED_CNR, CENTRE_OF_NAMED_LUNG, CONSTANT_PATCH)


class GroundingTask(TrainingFreeTask):
    """Grounding without training: ``test`` and ``predict`` only.

    The map of a phrase is the mean over its words of the cosine between word and patch, resized to the crop. Baselines
    of the pointing game: a random patch, the centre of a lung, the centre of the lung that the phrase names, and, if
    the data have training boxes, the one patch that is right most often in these. Phrases that say that something is
    absent are also scored apart.

    Args:
        protocol: how maps are scored: ``ground-pointing`` (with ``ground-cnr``), ``ground-biovil`` (smoothed maps) or
            ``ground-radzero`` (the most similar pixel, the first box).
    """

    annotations = ("boxes",)

    def __init__(self, *, protocol: str = "ground-pointing", **common: Any) -> None:
        super().__init__(**common)
        self.protocol, self.rule = protocol, protocol_named(protocol, GroundingProtocol)

    @property
    def parts(self) -> tuple[str, ...]:
        return ("align_local",)

    def build_heads(self) -> None:
        spec = self.data_spec
        if spec.tokenizer is None or not spec.box_classes:
            raise UserError(f"{spec.name} has no phrases with boxes; choose a data set with both, such as MS-CXR")
        self._constant: dict[tuple[int, int], tuple[int, int] | None] = {}

    def similarity(self, batch: dict[str, Any]) -> Tensor:
        """(B, H', W') mean cosine of a phrase's words with every patch."""
        maps = phrase_maps(self.backbone, self.backbone.local_image(self.images(batch)), batch)
        self.check_finite(similarity=maps)
        if not self.rule.smoothing:
            return maps
        return torch.from_numpy(smoothed(maps.float().cpu().numpy(), self.rule.smoothing)).to(maps.device)

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        if "boxes" not in batch:
            raise UserError("the data have no boxes, which metrics need; run `predict`, which writes maps")
        maps = self.similarity(batch)
        side = batch["image"].shape[-1]
        films = self.films(batch, side)
        patches, resized = maps.float().cpu().numpy(), resized_maps(maps, films, side).cpu().numpy()
        values = []
        for i, phrase in enumerate(batch["text"]):
            boxes = batch["boxes"][i].cpu().numpy()
            region = inside(boxes[:1] if self.rule.first_box else boxes, side, side)
            scores = map_scores(patches[i], resized[i], region, films[i], self.rule)
            scores |= guess_scores(region, phrase, patches[i].shape, films[i])
            if (place := self._constant_patch(patches[i].shape, side)) is not None:
                scores[CONSTANT_PATCH] = float(region[place])
            values.append([scores.get(metric, np.nan) for metric in (*SCORES, *GUESSES)])
        names = self.data_spec.box_classes
        first = [names[labels[0]] if labels else "" for labels in (each.tolist() for each in batch["box_labels"])]
        negated = torch.tensor([is_negated(phrase) for phrase in batch["text"]])
        self.keep(batch, values=torch.tensor(values, dtype=torch.float64), category=first, negated=negated)
        return {"maps": maps, "films": films, "hits": [bool(row[SCORES.index(POINTING_GAME)]) for row in values]}

    def _constant_patch(self, grid: tuple[int, int], side: int) -> tuple[int, int] | None:
        """The pixel of the patch that is right most often for the training phrases; None without training boxes."""
        if grid not in self._constant:
            rows, fit = self.training_rows, self.data_spec.fit
            known = rows[rows["box_frame"].notna()] if {"boxes", "box_frame"} <= set(rows) else rows.head(0)
            placed = [
                Placement.of(round(row["box_frame"][1]), round(row["box_frame"][0]), side, fit).boxes(
                    np.array(row["boxes"], float).reshape(-1, 4)
                )
                for row in known.to_dict("records")
            ]
            self._constant[grid] = most_often_right(placed, grid, side)
        return self._constant[grid]

    def films(self, batch: dict[str, Any], side: int) -> list[Film]:
        """The part of each crop that shows the image."""
        fit = self.data_spec.fit
        return [Placement.of(height, width, side, fit).film(side) for height, width in batch["size"].tolist()]

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        columns = dict(zip((*SCORES, *GUESSES), rows["values"].T, strict=True))
        category, negated, hits = rows["category"].astype(str), rows["negated"].astype(bool), columns[POINTING_GAME]
        parts = {name: category == name for name in sorted(set(category) - {""})}
        if negated.any():
            parts |= {"negated": negated, "positive": ~negated}
        found = {metric: mean for metric, values in columns.items() if (mean := _mean(values)) is not None}
        for name, chosen in parts.items():
            of_part = {metric.of(name): _mean(columns[metric][chosen]) for metric in BY_FINDING}
            found |= {metric: mean for metric, mean in of_part.items() if mean is not None}
        found |= with_interval(POINTING_GAME, mean_interval(hits, rows["patient"]))
        if stage == "test":
            own = {metric: columns[metric] for metric in SCORES if metric.per_sample}
            self.samples = SampleTable(rows["id"], rows["patient"], own)
        return found | {PHRASES: float(len(hits))}

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ids, maps (B, 1, S, S) scaled to 0..255 each, and the size of each image."""
        side = batch["image"].shape[-1]
        similarity = self.similarity(batch)
        maps = resized_maps(similarity, self.films(batch, side), side).flatten(1)
        low, high = maps.amin(1, keepdim=True), maps.amax(1, keepdim=True)
        scaled = (maps - low) / (high - low).clamp(min=1e-12) * 255
        return {
            "id": batch["id"],
            "mask": scaled.round().to(torch.uint8).unflatten(1, (1, side, side)),
            "size": batch["size"],
        }

    def prediction_writer(self) -> MaskWriter:
        return MaskWriter(self.data_spec.fit, "maps")

    def figures(self, batch: dict[str, Any], outcome: Step, stage: str, count: int) -> dict[str, Figure]:
        """Maps, annotated boxes and whether the map hits them, with the phrase below."""
        images, maps = batch["image"][:count], outcome["maps"][:count]
        figure = dense.grounding(images, maps, batch["boxes"], batch["text"], outcome["films"], outcome["hits"])
        return {f"{stage}_overlay": figure}

    def result_entries(self) -> dict[str, Any]:
        contrast = "ground-cnr" if self.protocol == "ground-pointing" else self.protocol
        return {"protocols": {"pointing_game": self.protocol, "absolute_cnr": contrast}, **super().result_entries()}


def _mean(values: np.ndarray) -> float | None:
    """Of those that are known; None without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
