"""Zero-shot classification by prompt ensembles."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_modules.errors import UserError
from data_modules.index.labels import same_class
from data_modules.yaml_files import read_yaml
from mpma_lightning.backbones import Backbone, Features
from mpma_lightning.objectives.local_scores import pair_scores
from mpma_lightning.objectives.words import whole_words
from mpma_lightning.precision import full

PROMPTS = Path(__file__).with_name("prompts")
CHUNK = 16
"""Images compared at once with all prompts; limits memory."""


@dataclass
class Prompts:
    """Positive and negative prompts by finding.

    Attributes:
        positive, negative: prompts that say that a finding is there, or is not.
        finding_words: words that describe findings: what, where, how large.
        named_findings: words that name a finding, of which pictures show where they have their place.
    """

    positive: dict[str, list[str]]
    negative: dict[str, list[str]]
    finding_words: frozenset[str]
    named_findings: frozenset[str]


def load_prompts(name: str | Path) -> Prompts:
    """Read a prompt file: a shipped name (``chest_xray``) or a path.

    Raises:
        UserError: no such file, or an entry without positive and negative prompts.
    """
    path = Path(name) if Path(name).suffix in (".yaml", ".yml") else PROMPTS / f"{name}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in PROMPTS.glob("*.yaml")))
        raise UserError(f"prompt file {path} does not exist; give a path or one of: {shipped}")
    content = read_yaml(path)
    findings = content.get("findings") if isinstance(content, dict) else None
    if not isinstance(findings, dict) or not all(isinstance(entry, dict) for entry in findings.values()):
        raise UserError(f"{path}: expected `findings:`, each with 'positive' and 'negative' prompts")
    for finding, entry in findings.items():
        if not entry.get("positive") or not entry.get("negative"):
            raise UserError(f"{path}: finding '{finding}' needs both 'positive' and 'negative' prompts")
    return Prompts(
        {f: list(e["positive"]) for f, e in findings.items()},
        {f: list(e["negative"]) for f, e in findings.items()},
        frozenset(content.get("finding_words", [])),
        frozenset(content.get("named_findings", [])),
    )


class ZeroShotEvaluator:
    """Findings as directions between prompt ensembles: in the zero-shot task, and online during pre-training.

    Args:
        prompts: of every finding.
        classes: of the data; those without prompts are not scored. Empty: every finding that has prompts.
        positives_only: leave the negative prompts out.

    Attributes:
        classes: names of the K scored classes.
        columns: their columns among the labels of the data.
        texts: all P prompts: those of the first class that mean present, those that mean absent, the next class.
        sizes: number of prompts in each of these 2 K ensembles; K with ``positives_only``.
    """

    def __init__(self, prompts: Prompts, classes: list[str], positives_only: bool = False) -> None:
        known = list(prompts.positive)
        names = classes or known
        findings = [same_class(name, known) for name in names]
        self.columns = [k for k, finding in enumerate(findings) if finding]
        self.classes = [names[k] for k in self.columns]
        sides = (prompts.positive,) if positives_only else (prompts.positive, prompts.negative)
        ensembles = [side[finding] for finding in findings if finding for side in sides]
        self.texts = [text for ensemble in ensembles for text in ensemble]
        self.sizes = [len(ensemble) for ensemble in ensembles]

    def directions(self, prompts: Tensor) -> Tensor:
        """(P, e) prompt embeddings to (K, e): mean positive less mean negative embedding, each normalised."""
        means = torch.stack([ensemble.mean(0) for ensemble in prompts.split(self.sizes)])
        means = torch.nn.functional.normalize(means, dim=-1)
        return means[0::2] - means[1::2]

    def best(self, similarities: Tensor) -> Tensor:
        """(B, P) similarities to positive prompts to (B, K): the largest of each class [GLoRIA]."""
        return torch.stack([ensemble.amax(1) for ensemble in similarities.split(self.sizes, dim=1)], dim=1)


class ZeroShotScorer:
    """Scores of images against prompts.

    Args:
        backbone: with the alignment heads that ``similarities`` name.
        evaluator: the classes and their prompts.
        prompts: ``input_ids``, ``attention_mask`` and ``word_ids`` (P, T) of ``evaluator.texts``.
        similarities: ``global``, ``local`` or both.
        temperature: of the attention of words over patches.
        positives_only: the largest similarity to one of the positive prompts, not positive less negative.
    """

    def __init__(
        self,
        backbone: Backbone,
        evaluator: ZeroShotEvaluator,
        prompts: dict[str, Tensor],
        similarities: Sequence[str],
        temperature: float,
        positives_only: bool = False,
    ) -> None:
        self.backbone, self.evaluator, self.temperature = backbone, evaluator, temperature
        self.similarities, self.positives_only = similarities, positives_only
        device, count = prompts["input_ids"].device, len(evaluator.texts)
        with torch.no_grad():
            features = backbone.text(prompts["input_ids"], prompts["attention_mask"])
            contrast = torch.eye(count) if positives_only else ensemble_directions(evaluator.sizes)
            self._contrast = contrast.to(device)
            if "global" in similarities:
                embedded = full(backbone.embed_text(features))
                self._directions = embedded if positives_only else evaluator.directions(embedded)
            if "local" in similarities:
                self._words = whole_words(backbone, features.tokens, prompts["input_ids"], prompts["word_ids"])

    def __call__(self, image: Features) -> dict[str, Tensor]:
        """(B, K) scores by similarity, of the features that ``Backbone.local_image`` gave."""
        scores: dict[str, Tensor] = {}
        if "global" in self.similarities:
            scores["global"] = full(self.backbone.embed_image(image)) @ self._directions.T
        if "local" in self.similarities:
            patches = full(self.backbone.embed_patches(image))
            similarity = pair_scores(self._words, patches, self.temperature, CHUNK)
            scores["local"] = similarity @ self._contrast
        return self._best(scores) if self.positives_only else scores

    def _best(self, prompts: dict[str, Tensor]) -> dict[str, Tensor]:
        """(B, K) scores from (B, P) similarities to prompts."""
        if len(prompts) > 1:
            prompts = {**prompts, "combined": torch.stack(list(prompts.values())).mean(0)}
        return {name: self.evaluator.best(values) for name, values in prompts.items()}


def ensemble_directions(sizes: list[int]) -> Tensor:
    """(P, K) matrix from similarities to P prompts to K scores: mean over positive less mean over negative prompts.

    Args:
        sizes: prompts of each ensemble, positive and negative of the first finding, then of the next; their sum is P.
    """
    matrix = torch.zeros(sum(sizes), len(sizes) // 2)
    start = 0
    for place, size in enumerate(sizes):
        matrix[start : start + size, place // 2] = (1 if place % 2 == 0 else -1) / size
        start += size
    return matrix


def standardise(scores: np.ndarray) -> np.ndarray:
    """(N, K) with zero mean and unit variance over the images; a constant column becomes 0."""
    deviation = scores.std(0)
    return (scores - scores.mean(0)) / np.where(deviation > 0, deviation, 1)


def combine(scores: list[np.ndarray]) -> np.ndarray:
    """(N, K) mean of z-normalised (N, K) scores [GLoRIA]."""
    return np.mean([standardise(values) for values in scores], axis=0)
