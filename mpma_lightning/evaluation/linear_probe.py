"""Linear probe: logistic regression on frozen features, from few labelled studies."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mpma_lightning.evaluation.zero_shot import auroc_by_class, macro


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
        train_labels, test_labels: (N, K) and (M, K); NaN is unknown and enters neither fit nor metric.
        classes: K names.
        strength: scikit-learn's C, fixed so that no label is spent on choosing it.

    Returns:
        AUROC of the classes with both values in train and test.
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


def probe_from_few(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    classes: list[str],
    shots: int = 100,
    draws: int = 5,
    strength: float = 0.01,
) -> float:
    """Macro AUROC from ``shots`` labelled samples, mean over ``draws`` disjoint draws in the given order."""
    draws = min(draws, len(train) // shots)
    results = [
        macro(linear_probe(train[s], train_labels[s], test, test_labels, classes, strength))
        for s in (slice(d * shots, (d + 1) * shots) for d in range(draws))
    ]
    return float(np.mean(results)) if results else float("nan")
