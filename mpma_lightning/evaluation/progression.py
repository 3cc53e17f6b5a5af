"""Scores of progression: for each finding, which of several states a sample is in."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mpma_lightning.evaluation.bootstrap import Draw, bootstrap, interval_of
from mpma_lightning.evaluation.metric import Metric, Scores, reference, with_interval

MACRO_ACCURACY = Metric("macro_accuracy", unit="share", headline=True, baseline="majority_macro_accuracy")
PROGRESSION_ACCURACY = Metric("accuracy", unit="share", headline=True, per_sample="ratio", baseline="majority_accuracy")


@dataclass
class ProgressionScores:
    """Truth and prediction of N samples, F findings and S states.

    Attributes:
        findings: F names.
        truth: (N, F) the state, -1 where it is unknown.
        predicted: (N, F).
        majority: (F,) the most frequent state of each finding in training.
        patients: (N,) names.
    """

    findings: list[str]
    truth: np.ndarray
    predicted: np.ndarray
    majority: np.ndarray
    patients: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """(N, F) bool."""
        return self.truth >= 0

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) correct and (N,) known findings of each sample, for ``accuracy``."""
        return (self.known & (self.predicted == self.truth)).sum(1).astype(float), self.known.sum(1).astype(float)

    def by_finding(self, predicted: np.ndarray, weight: np.ndarray) -> dict[str, float]:
        """Macro-accuracy of each finding: the mean, over the states that occur, of the share of their samples that is
        predicted right [BioViL-T]. Without findings of which no state is known. ``weight`` (N,) counts samples."""
        found = {}
        for place, name in enumerate(self.findings):
            truth, right = self.truth[:, place], predicted[:, place] == self.truth[:, place]
            totals = {state: weight[truth == state].sum() for state in np.unique(truth[truth >= 0])}
            shares = [weight[(truth == state) & right].sum() / total for state, total in totals.items() if total]
            if shares:
                found[name] = float(np.mean(shares))
        return found

    def scores(self, interval: bool) -> Scores:
        """Macro-accuracy, its mean over findings and by finding, accuracy over all known findings of all samples, and
        both of the majority; with ``interval`` 95 % intervals over patients."""
        whole, constant = np.ones(len(self.truth)), np.broadcast_to(self.majority, self.truth.shape)
        own, of_majority = self.by_finding(self.predicted, whole), self.by_finding(constant, whole)
        if not own:
            return {}
        right, known = self.parts
        found: dict[Metric, float] = {MACRO_ACCURACY: float(np.mean([*own.values()]))}
        found |= {MACRO_ACCURACY.of(name): value for name, value in own.items()}
        found[reference("majority_macro_accuracy")] = float(np.mean([*of_majority.values()]))
        found[PROGRESSION_ACCURACY] = float(right.sum() / known.sum())
        found[reference("majority_accuracy")] = float((self.truth == constant)[self.known].mean())
        if interval:
            found |= with_interval(MACRO_ACCURACY, self._interval(self._macro))
            found |= with_interval(
                PROGRESSION_ACCURACY,
                self._interval(lambda draw: (right * draw.weight).sum() / max((known * draw.weight).sum(), 1)),
            )
        return found

    def _macro(self, draw: Draw) -> float:
        values = [*self.by_finding(self.predicted, draw.weight).values()]
        return float(np.mean(values)) if values else float("nan")

    def _interval(self, statistic: Callable[[Draw], float]) -> tuple[float, float]:
        return interval_of(bootstrap(self.patients, statistic))
