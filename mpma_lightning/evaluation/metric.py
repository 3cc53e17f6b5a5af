"""Metric: the declaration of a metric, made where it is computed."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from typing import Any, Literal

Unit = Literal["share", "loss", "error", "ratio", "rank", "count"]
"""``share``: a share or mean of 0 to 1, such as Dice, the one unit that reports show in per cent; ``loss``: the value
of a loss; ``error``: a difference in the unit of what is predicted, such as years; ``ratio``: any number without unit;
``rank``: a place in an order, from 1; ``count``: a number of items."""
PerSample = Literal["mean", "ratio", "auroc"]


@dataclass(frozen=True)
class Metric:
    """Declares a metric for logging, checkpoint choice, result records, reports and search.

    Attributes:
        name: as logged after the stage: ``auroc`` in ``test/auroc``.
        higher_is_better: None for numbers that are neither good nor bad, such as counts.
        unit: see :data:`Unit`; it has no default, as a wrong one shows wrong numbers.
        headline: whether tables and the end of a run show it by default.
        per_sample: how it follows from ``samples_test.parquet``: ``mean`` of the column of its name, ``ratio`` of the
            sums of ``<name>/part`` and ``<name>/whole``, or macro ``auroc`` of the scores ``<name>@<class>`` and the
            labels ``label/<class>``. None: it does not.
        baseline: what the value is read against: the name of another metric, or a constant, such as 0.5 for AUROC. It
            does not count where metrics are compared.
    """

    name: str
    higher_is_better: bool | None = True
    _: KW_ONLY
    unit: Unit
    headline: bool = False
    per_sample: PerSample | None = None
    baseline: str | float | None = field(default=None, compare=False)

    def of(self, part: str) -> "Metric":
        """This metric for one class or subgroup: ``auroc/Edema``. Not a headline."""
        return replace(self, name=f"{self.name}/{part}", headline=False, per_sample=None, baseline=None)

    def under(self, prefix: str) -> "Metric":
        """This metric in one setting: ``rerank/i2t_r10``, ``fraction_0.1/auroc``."""
        return replace(self, name=f"{prefix}/{self.name}")

    def derived(self, suffix: str) -> "Metric":
        """A statistic of this metric, in its unit: ``auroc_low``, ``auroc_sd``. Not a headline."""
        name = f"{self.name}_{suffix}"
        return replace(self, name=name, higher_is_better=None, headline=False, per_sample=None, baseline=None)

    @property
    def mode(self) -> Literal["min", "max"]:
        """``mode`` of ``ModelCheckpoint``."""
        return "min" if self.higher_is_better is False else "max"

    def declaration(self) -> dict[str, Any]:
        """Plain types, for a result record."""
        return {key: value for key, value in asdict(self).items() if key != "name"}


Scores = Mapping[Metric, float]
"""Values by metric, as evaluators return them."""


def loss(name: str, headline: bool = False, baseline: str | None = None) -> Metric:
    """A loss."""
    return Metric(name, higher_is_better=False, unit="loss", headline=headline, baseline=baseline)


def count(name: str) -> Metric:
    """A number of items."""
    return Metric(name, higher_is_better=None, unit="count")


def reference(name: str, unit: Unit = "share", headline: bool = False) -> Metric:
    """A baseline or setting, to be compared with a metric: neither good nor bad."""
    return Metric(name, higher_is_better=None, unit=unit, headline=headline)


def with_interval(metric: Metric, interval: tuple[float, float]) -> dict[Metric, float]:
    """The ends of a 95 % interval of ``metric``: ``<name>_low`` and ``<name>_high``."""
    return {metric.derived("low"): interval[0], metric.derived("high"): interval[1]}


def by_name(scores: Scores) -> dict[str, float]:
    """Values by the name of the metric."""
    return {metric.name: value for metric, value in scores.items()}


def declared(name: str, declaration: Mapping[str, Any]) -> Metric:
    """The metric that a result record declares under ``name``. Raises TypeError on other keys."""
    return Metric(name, **declaration)
