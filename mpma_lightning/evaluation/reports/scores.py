"""Scores of drafted reports: overlap of words, and what they say of findings, with intervals by patient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpma_lightning.evaluation.bootstrap import bootstrap, interval_of, mean_intervals
from mpma_lightning.evaluation.metric import Metric, with_interval
from mpma_lightning.evaluation.reports.findings import ABSENT, labeller
from mpma_lightning.evaluation.reports.overlap import bleu, bleu_counts, cider, rouge_l
from mpma_lightning.evaluation.reports.words import words
from mpma_lightning.evaluation.samples import weighted_ratio

FINDING_F1 = Metric("finding_f1", unit="share", headline=True, per_sample="ratio")
FINDING_F1_MACRO = Metric("finding_f1_macro", unit="share", headline=True)
BLEU = tuple(Metric(f"bleu_{n}", unit="share", headline=n == 4) for n in (1, 2, 3, 4))
ROUGE_L = Metric("rouge_l", unit="share", headline=True, per_sample="mean")
CIDER = Metric("cider", unit="ratio", headline=True, per_sample="mean")
PRESENT_AS_ABSENT = Metric("present_as_absent", higher_is_better=False, unit="share")
ABSENT_AS_PRESENT = Metric("absent_as_present", higher_is_better=False, unit="share")


@dataclass
class ReportScores:
    """Drafts against one reference each.

    ``finding_f1`` counts a finding of a report that is present or doubtful, over all findings but "No Finding" (micro);
    ``finding_f1_macro`` is the mean over the findings that some reference has. ``present_as_absent`` is the share of
    the references' present findings whose absence the draft states, ``absent_as_present`` that of absent ones which
    the draft says to be present. Where no text speaks of a finding, ``finding_f1`` is 0.

    Attributes:
        drafts, references: N texts.
        patients: (N,) names.
        split: a text into the words of BLEU, ROUGE-L and CIDEr.
    """

    drafts: Sequence[str]
    references: Sequence[str]
    patients: np.ndarray
    split: Callable[[str], list[str]] = words

    @cached_property
    def states(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, F) what drafts and references say; see ``FindingLabeller.states``."""
        return labeller().states(self.drafts), labeller().states(self.references)

    @cached_property
    def _words(self) -> tuple[list[list[str]], list[list[str]]]:
        return [self.split(text) for text in self.drafts], [self.split(text) for text in self.references]

    @cached_property
    def per_sample(self) -> dict[Metric, np.ndarray]:
        """(N,) values of metrics that are means over samples."""
        drafts, references = self._words
        overlap = np.array([rouge_l(*pair) for pair in zip(drafts, references, strict=True)])
        return {ROUGE_L: overlap, CIDER: cider(drafts, references)}

    @cached_property
    def f1_parts(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) twice the findings in common, and the findings of draft and reference together."""
        both, told = counts_of_findings(*self.states)
        return both.sum(1), told.sum(1)

    def scores(self) -> dict[Metric, float]:
        """Every metric, and ``finding_f1`` by finding."""
        both, told = counts_of_findings(*self.states)
        found = dict(zip(BLEU, bleu(bleu_counts(*self._words).sum(0)).tolist(), strict=True))
        found |= {metric: float(values.mean()) for metric, values in self.per_sample.items()}
        drafted, true = self.states
        by_finding = {
            name: float(both[:, place].sum() / told[:, place].sum())
            for place, name in enumerate(labeller().names)
            if (~np.isnan(true[:, place]) & (true[:, place] != ABSENT)).any()
        }
        found[FINDING_F1] = float(np.nan_to_num(weighted_ratio(*self.f1_parts)(np.ones(len(both)))))
        found[FINDING_F1_MACRO] = float(np.mean([*by_finding.values()])) if by_finding else float("nan")
        found |= {FINDING_F1.of(name): value for name, value in by_finding.items()}
        present, absent = true == 1, true == ABSENT
        for metric, of, said in (
            (PRESENT_AS_ABSENT, present, drafted == ABSENT),
            (ABSENT_AS_PRESENT, absent, drafted == 1),
        ):
            if of.any():
                found[metric] = float((of & said).sum() / of.sum())
        return {metric: value for metric, value in found.items() if not np.isnan(value)}

    def intervals(self) -> dict[Metric, float]:
        """95 % intervals of the headlines but the macro mean, over patients."""
        counts, ratio = bleu_counts(*self._words), weighted_ratio(*self.f1_parts)
        drawn = {
            FINDING_F1: bootstrap(self.patients, lambda draw: ratio(draw.weight)),
            BLEU[-1]: bootstrap(self.patients, lambda draw: float(bleu(draw.weight @ counts)[-1])),
        }
        found = dict(mean_intervals(self.per_sample, self.patients))
        for metric, values in drawn.items():
            found |= with_interval(metric, interval_of(values))
        return found


def counts_of_findings(drafted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, F) twice the positive findings in common, and the number of positive ones of both."""
    ours, theirs = ((~np.isnan(states)) & (states != ABSENT) for states in (drafted, true))
    return 2.0 * (ours & theirs), ours.astype(float) + theirs


def gain(ours: ReportScores, other: ReportScores, name: str) -> dict[Metric, float]:
    """``finding_f1`` of ``ours`` less that of ``other`` on the same samples, with its interval over patients."""
    metric = Metric(name, unit="share")
    mine, theirs = weighted_ratio(*ours.f1_parts), weighted_ratio(*other.f1_parts)
    once = np.ones(len(ours.patients))
    drawn = bootstrap(ours.patients, lambda draw: mine(draw.weight) - theirs(draw.weight))
    return {metric: mine(once) - theirs(once), **with_interval(metric, interval_of(drawn))}
