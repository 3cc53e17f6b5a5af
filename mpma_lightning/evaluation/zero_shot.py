"""Zero-shot classification by prompt ensembles (protocol ``zs-prompt``)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from data_modules.errors import UserError
from data_modules.yaml_files import read_yaml

PROMPTS = Path(__file__).with_name("prompts")


@dataclass
class Prompts:
    """Positive and negative prompts of each finding, and the words that tell findings apart."""

    positive: dict[str, list[str]]
    negative: dict[str, list[str]]
    finding_words: frozenset[str]


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
    )


def zero_shot_scores(image: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Similarity to the mean positive prompt less similarity to the mean negative one.

    Args:
        image: (N, e) normalised.
        positive, negative: (P, e) and (Q, e) normalised prompt embeddings.

    Returns:
        (N,) scores.
    """
    return image @ (_ensemble(positive) - _ensemble(negative))


def _ensemble(prompts: np.ndarray) -> np.ndarray:
    mean = prompts.mean(0)
    return mean / np.linalg.norm(mean)


def ensemble_directions(sizes: list[int]) -> Tensor:
    """(P, K) matrix that turns similarities to P prompts into K scores: mean over positive less mean over negative.

    Args:
        sizes: prompts of each ensemble, in the order positive, negative of one finding after the other; their sum is P.
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


def auroc_by_class(labels: np.ndarray, scores: np.ndarray, classes: list[str]) -> dict[str, float]:
    """AUROC of every class that has both a positive and a negative; NaN labels are left out.

    Args:
        labels: (N, K) 0, 1 or NaN.
        scores: (N, K).
    """
    result = {}
    for k, name in enumerate(classes):
        known = ~np.isnan(labels[:, k])
        truth = labels[known, k]
        if 0 < truth.sum() < len(truth):
            result[name] = float(roc_auc_score(truth, scores[known, k]))
    return result


def macro(values: dict[str, float]) -> float:
    """Mean over classes; NaN without any."""
    return float(np.mean(list(values.values()))) if values else float("nan")
