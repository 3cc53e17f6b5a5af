"""Grounding metrics: pointing game, signed contrast-to-noise ratio, IoU, and baselines that do not read the image."""

import re

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from mpma_lightning.backbones import Backbone, Features
from mpma_lightning.evaluation.metric import Metric, count, reference
from mpma_lightning.objectives.words import whole_words
from mpma_lightning.precision import full
from mpma_lightning.protocols import GroundingProtocol

POINTING_GAME = Metric("pointing_game", unit="share", headline=True, per_sample="mean", baseline="random_patch")
SIGNED_CNR = Metric("signed_cnr", unit="ratio", headline=True, per_sample="mean")
ABSOLUTE_CNR = Metric("absolute_cnr", unit="ratio", headline=True, per_sample="mean")
IOU = Metric("iou", unit="share", per_sample="mean")
BORDER_MAXIMA = Metric("border_maxima", higher_is_better=False, unit="share")
RANDOM_PATCH = reference("random_patch", headline=True)
CENTRE_OF_LUNG = reference("centre_of_lung")
CENTRE_OF_NAMED_LUNG = reference("centre_of_named_lung", headline=True)
CONSTANT_PATCH = reference("constant_patch", headline=True)
PHRASES = count("phrases")

OURS = GroundingProtocol("")
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
LUNGS = {"right": (0.3, 0.45), "left": (0.7, 0.45)}
"""Centre of each lung in a frontal image, as shares of width and height; the right lung is on the left."""
Film = tuple[slice, slice]
"""Rows and columns of the crop that show the image; the rest, the bars of a letterbox, is not evaluated."""
WHOLE: Film = (slice(None), slice(None))


def inside(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool (height, width): pixels whose centre is in one of (n, 4) boxes."""
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    region = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in boxes:
        region |= ((y >= y1) & (y < y2))[:, None] & ((x >= x1) & (x < x2))[None]
    return region


def patches_on(film: slice, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and centre pixels of the patches, ``count`` along ``length`` pixels, whose centre is in the image; of the
    nearest patch if there is none."""
    start, stop, _ = film.indices(length)
    centres = ((np.arange(count) + 0.5) * length / count).astype(int)
    found = np.flatnonzero((centres >= start) & (centres < stop))
    if not len(found):
        found = np.array([np.abs(centres - (start + stop) / 2).argmin()])
    return found, centres[found]


def pointed_at(similarity: np.ndarray, height: int, width: int, film: Film = WHOLE) -> tuple[int, int]:
    """Row and column of the pixel at the centre of the most similar patch of (h, w) in the image."""
    return _maximum(similarity, height, width, film)[0]


def _maximum(similarity: np.ndarray, height: int, width: int, film: Film) -> tuple[tuple[int, int], bool]:
    """The centre of the most similar patch, and whether that patch is at the border of the image."""
    rows, y = patches_on(film[0], similarity.shape[0], height)
    columns, x = patches_on(film[1], similarity.shape[1], width)
    row, column = np.unravel_index(similarity[np.ix_(rows, columns)].argmax(), (len(rows), len(columns)))
    return (int(y[row]), int(x[column])), bool(row in (0, len(rows) - 1) or column in (0, len(columns) - 1))


def phrase_maps(backbone: Backbone, image: Features, phrases: dict[str, Tensor]) -> Tensor:
    """(B, H', W') mean cosine of the words of each phrase with every patch.

    Args:
        backbone: with local alignment.
        image: of the B images, as ``Backbone.local_image`` gave them.
        phrases: ``input_ids``, ``attention_mask`` and ``word_ids`` (B, T).
    """
    ids = phrases["input_ids"]
    text = backbone.text(ids, phrases["attention_mask"])
    words = whole_words(backbone, text.tokens, ids, phrases["word_ids"])
    patches = full(backbone.embed_patches(image))
    cosine = (words.embeddings @ patches.transpose(1, 2)) * words.valid.unsqueeze(-1)
    mean = cosine.sum(1) / words.valid.sum(1).clamp(min=1).unsqueeze(-1)
    return mean.unflatten(-1, backbone.local_grid(image))


def resized_maps(maps: Tensor, films: list[Film], side: int) -> Tensor:
    """Maps (B, H', W') resized to (B, side, side).

    Patches outside of the image, on the bars of a letterbox, first take the value of the nearest patch inside.
    """
    filled = []
    for one, film in zip(maps.float(), films, strict=True):
        places = []
        for along, cells in zip(film, one.shape, strict=True):
            found, _ = patches_on(along, cells, side)
            places.append(torch.arange(cells, device=one.device).clamp(int(found[0]), int(found[-1])))
        filled.append(one[places[0]][:, places[1]])
    return F.interpolate(torch.stack(filled).unsqueeze(1), (side, side), mode="bilinear")[:, 0]


def smoothed(maps: np.ndarray, deviation: float) -> np.ndarray:
    """(B, h, w) maps under a Gaussian of ``deviation`` patches, mirrored at the borders [BioViL]; 0: as they are."""
    return gaussian_filter(maps, (0, deviation, deviation)) if deviation else maps


def map_scores(
    patches: np.ndarray,
    similarity: np.ndarray,
    region: np.ndarray,
    film: Film = WHOLE,
    rule: GroundingProtocol = OURS,
) -> dict[Metric, float]:
    """Metrics of one phrase.

    ``pointing_game``: whether the point that ``rule`` says is in the region. ``signed_cnr``: mean inside less mean
    outside, over the root of the summed variances, below 0 where the map is inverted; ``absolute_cnr``: its magnitude
    [BioViL]; both are absent if the region or its complement is empty. ``border_maxima``: whether the most similar
    patch is at the border of the image. ``iou``: mean over thresholds 0.1 to 0.5 [BioViL], on the map scaled to 0..1
    or, by ``rule``, on the cosine.

    Args:
        patches: (h, w) similarities.
        similarity: (H, W) the same, resized to the crop.
        region: (H, W) bool.
        film: part of the crop that is evaluated.
        rule: point and IoU.
    """
    height, width = region.shape
    point, at_border = _maximum(patches, height, width, film)
    similarity, region, whole = similarity[film], region[film], region
    hit = whole[point] if rule.point == "patch" else region.flat[similarity.argmax()]
    scores = {POINTING_GAME: float(hit), BORDER_MAXIMA: float(at_border)}
    within, around = similarity[region], similarity[~region]
    if len(within) and len(around):
        noise = np.sqrt(within.var() + around.var())
        scores[SIGNED_CNR] = float((within.mean() - around.mean()) / max(noise, 1e-12))
        scores[ABSOLUTE_CNR] = abs(scores[SIGNED_CNR])
    span = similarity.max() - similarity.min()
    scaled = (similarity - similarity.min()) / max(span, 1e-12) if rule.scaled else similarity
    overlaps = [(region & (scaled > t)).sum() / max((region | (scaled > t)).sum(), 1) for t in THRESHOLDS]
    scores[IOU] = float(np.mean(overlaps))
    return scores


def guess_scores(region: np.ndarray, phrase: str, grid: tuple[int, int], film: Film = WHOLE) -> dict[Metric, float]:
    """Expected pointing game of baselines.

    ``random_patch``: the centre of a uniformly random patch. ``centre_of_lung``: the centre of a random lung.
    ``centre_of_named_lung``: of the lung that the phrase names; of a random one if it names none or both.

    Args:
        region: (H, W) bool.
        phrase: the text.
        grid: patches (rows, columns).
        film: part of the crop that is evaluated.
    """
    (_, rows), (_, columns) = (patches_on(*along) for along in zip(film, grid, region.shape, strict=True))
    shown = region[film]
    height, width = shown.shape
    named = [side for side in LUNGS if re.search(rf"\b{side}\b", phrase.lower())]
    hits = {side: float(shown[int(y * height), int(x * width)]) for side, (x, y) in LUNGS.items()}
    either = sum(hits.values()) / len(hits)
    return {
        RANDOM_PATCH: float(region[np.ix_(rows, columns)].mean()),
        CENTRE_OF_LUNG: either,
        CENTRE_OF_NAMED_LUNG: hits[named[0]] if len(named) == 1 else either,
    }


def most_often_right(phrases: list[np.ndarray], grid: tuple[int, int], side: int) -> tuple[int, int] | None:
    """The pixel at the centre of the patch that lies in the boxes of most phrases; None without boxes.

    Args:
        phrases: (n, 4) boxes of each training phrase, in pixels of the crop.
        grid: patches (rows, columns).
        side: of the crop.
    """
    (_, y), (_, x) = (patches_on(slice(None), count, side) for count in grid)
    hits = np.zeros(grid, int)
    for boxes in phrases:
        within = np.zeros(grid, bool)
        for x1, y1, x2, y2 in boxes:
            within |= ((y + 0.5 >= y1) & (y + 0.5 < y2))[:, None] & ((x + 0.5 >= x1) & (x + 0.5 < x2))[None]
        hits += within
    if not hits.any():
        return None
    row, column = np.unravel_index(hits.argmax(), grid)
    return int(y[row]), int(x[column])
