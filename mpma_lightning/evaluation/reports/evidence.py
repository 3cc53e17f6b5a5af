"""Where in the image a sentence of a draft has its evidence, and whether it has any."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from torch import Tensor

from data_modules.text.sentences import sentences
from mpma_lightning.evaluation.reports.findings import ABSENT, NO_FINDING, labeller

Box = tuple[float, float, float, float]
_PEAK = 0.6
"""Boxes enclose what exceeds this share of the map's range."""


@dataclass
class Sentence:
    """A sentence of a draft.

    Attributes:
        text: the sentence.
        findings: what it says of findings; see ``FindingLabeller.label``.
        map: (H', W') larger where the image supports it; None where nothing tells.
        score: agreement with the best matching patches, a cosine; None where words are not aligned with patches.
        supported: whether the score reaches the threshold; None for a sentence without a present or doubtful finding,
            which has no place in the image, and without a threshold.
    """

    text: str
    findings: dict[str, int]
    map: np.ndarray | None
    score: float | None
    supported: bool | None = None


def states_a_finding(text: str) -> bool:
    """Whether a text says that something is present or doubtful."""
    return any(state != ABSENT for name, state in labeller().label(text).items() if name != NO_FINDING)


def judged(texts: Sequence[str], maps: Tensor | None, scores: Tensor | None, threshold: float | None) -> list[Sentence]:
    """N sentences with their evidence.

    Args:
        texts: the sentences.
        maps: (N, H', W').
        scores: (N,).
        threshold: of the scores.
    """
    found = []
    for place, text in enumerate(texts):
        score = None if scores is None else float(scores[place])
        judge = score is not None and threshold is not None and states_a_finding(text)
        findings = {name: state for name, state in labeller().label(text).items() if name != NO_FINDING}
        supported = bool(score >= threshold) if judge else None  # type: ignore[operator]
        found.append(Sentence(text, findings, None if maps is None else maps[place].numpy(), score, supported))
    return found


def sentences_of(reports: Sequence[str]) -> tuple[list[str], list[int]]:
    """All sentences of reports, and the report that each is from."""
    split = [sentences(report) for report in reports]
    return [text for own in split for text in own], [place for place, own in enumerate(split) for _ in own]


def best_threshold(own: np.ndarray, other: np.ndarray) -> float | None:
    """The score that separates sentences at their own image from sentences at another patient's best: the largest sum
    of both shares on the right side; None without scores of both kinds."""
    if not len(own) or not len(other):
        return None
    candidates = np.unique(np.concatenate([own, other]))
    ranked_own, ranked_other = np.sort(own), np.sort(other)
    accepted = 1 - np.searchsorted(ranked_own, candidates) / len(own)
    refused = np.searchsorted(ranked_other, candidates) / len(other)
    return float(candidates[int((accepted + refused).argmax())])


def standardised(maps: np.ndarray) -> np.ndarray:
    """(N, H', W') maps of mean 0 and standard deviation 1 each."""
    flat = maps.reshape(len(maps), -1).astype(float)
    centred = flat - flat.mean(1, keepdims=True)
    return (centred / np.maximum(flat.std(1, keepdims=True), 1e-12)).reshape(maps.shape)


def boxes_of(heat: np.ndarray) -> list[Box]:
    """Boxes x1, y1, x2, y2 in cells around the regions that stand out of a map, the strongest first; at most three."""
    low, high = float(heat.min()), float(heat.max())
    if high <= low:
        return []
    regions, count = ndimage.label(heat >= low + _PEAK * (high - low))
    strength = ndimage.maximum(heat, regions, range(1, count + 1))
    slices = ndimage.find_objects(regions)
    order = np.argsort(-np.asarray(strength), kind="stable")[:3]
    return [(s[1].start, s[0].start, s[1].stop, s[0].stop) for s in (slices[place] for place in order)]


def boxes_in_pixels(heat: np.ndarray, size: Sequence[int]) -> list[list[float]]:
    """:func:`boxes_of` in pixels of an image of ``size`` = (H, W)."""
    across, down = size[1] / heat.shape[1], size[0] / heat.shape[0]
    return [[x1 * across, y1 * down, x2 * across, y2 * down] for x1, y1, x2, y2 in boxes_of(heat)]
