"""Linear probe: logistic regression on frozen features, or on thumbnails, from few labelled studies."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mpma_lightning.evaluation.classification import auroc_by_class, macro
from mpma_lightning.evaluation.metric import Metric, Scores


def linear_probe(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    classes: list[str],
    strength: float = 0.01,
) -> dict[str, float]:
    """AUROC by class of L2-regularised logistic regressions on standardised features.

    Args:
        train, test: (N, D) and (M, D) features.
        train_labels, test_labels: (N, K) and (M, K); NaN is unknown and not used.
        classes: K names.
        strength: scikit-learn's C; fixed, as choosing it would need more labels.

    Returns:
        AUROC of the classes that have positives and negatives in train and test.
    """
    scores = np.full(test_labels.shape, np.nan)
    for k in range(len(classes)):
        known = ~np.isnan(train_labels[:, k])
        truth = train_labels[known, k]
        if 0 < truth.sum() < len(truth):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                scores[:, k] = model.fit(train[known], truth).decision_function(test)
    fitted = [k for k in range(len(classes)) if not np.isnan(scores[:, k]).any()]
    return auroc_by_class(test_labels[:, fitted], scores[:, fitted], [classes[k] for k in fitted])


@dataclass
class ProbeEvaluator:
    """Linear probes on few labelled samples.

    Attributes:
        shots: training samples of one probe.
        draws: number of disjoint sets of ``shots`` samples, in the given order, over which the AUROC is averaged.
    """

    shots: int = 100
    draws: int = 5

    def evaluate(
        self, train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, classes: list[str]
    ) -> Scores:
        """Macro AUROC; empty with fewer than ``shots`` samples. Arguments as in :func:`linear_probe`."""
        draws = (slice(d * self.shots, (d + 1) * self.shots) for d in range(min(self.draws, len(train) // self.shots)))
        found = [macro(linear_probe(train[d], train_labels[d], test, test_labels, classes)) for d in draws]
        mean = float(np.mean(found)) if found else float("nan")
        return (
            {}
            if np.isnan(mean)
            else {Metric(f"probe{self.shots}_auroc", unit="share", headline=True, baseline=0.5): mean}
        )


def thumbnails(images: Tensor, side: int = 16) -> np.ndarray:
    """Features without a network: (B, C, S, S) uint8 crops to (B, side²) means over areas and channels, in [0, 1]."""
    small = torch.nn.functional.adaptive_avg_pool2d(images.to(torch.float32).mean(1, keepdim=True) / 255, side)
    return small.flatten(1).numpy()
