"""Metrics, declared where they are computed: how to name, read, order and resample each number."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Unit = Literal["share", "loss", "error", "ratio", "rank", "count"]
"""``share`` lies in 0 to 1 and is shown in per cent; ``ratio`` has no unit; ``count`` is neither good nor bad."""
PerSample = Literal["mean", "auroc"]


@dataclass(frozen=True)
class Metric:
    """What a number means; the same object serves logging, checkpoint choice, result records, reports and search.

    Attributes:
        name: as logged after the stage: ``auroc`` in ``test/auroc``.
        higher_is_better: None for numbers that are neither good nor bad, such as counts.
        unit: see :data:`Unit`.
        headline: whether tables and the end of a run show it unasked.
        per_sample: how the columns of ``samples_test.parquet`` give it: ``mean`` of the column of its name; ``auroc``,
            the macro AUROC of columns ``<name>@<class>`` (scores) beside ``label/<class>``. None: they do not.
    """

    name: str
    higher_is_better: bool | None = True
    unit: Unit = "share"
    headline: bool = False
    per_sample: PerSample | None = None

    def of(self, part: str) -> "Metric":
        """The same metric of one class or subgroup: ``auroc/Edema``. Not a headline."""
        return replace(self, name=f"{self.name}/{part}", headline=False, per_sample=None)

    def under(self, prefix: str) -> "Metric":
        """The same metric in one setting: ``rerank/i2t_r10``, ``fraction_0.1/auroc``."""
        return replace(self, name=f"{prefix}/{self.name}")

    def derived(self, suffix: str) -> "Metric":
        """A number about this one, in its unit: ``auroc_low``, ``auroc_sd``; neither good nor bad, not a headline."""
        return replace(self, name=f"{self.name}_{suffix}", higher_is_better=None, headline=False, per_sample=None)

    @property
    def mode(self) -> Literal["min", "max"]:
        """The word of ``ModelCheckpoint`` and Optuna's direction, shortened."""
        return "min" if self.higher_is_better is False else "max"

    def declaration(self) -> dict[str, Any]:
        """Plain types, for a result record."""
        return {key: value for key, value in asdict(self).items() if key != "name"}


Scores = Mapping[Metric, float]
"""What an evaluator returns."""


def loss(name: str, headline: bool = False) -> Metric:
    """A loss that is logged under ``name``."""
    return Metric(name, higher_is_better=False, unit="loss", headline=headline)


def count(name: str) -> Metric:
    """How many there are of something."""
    return Metric(name, higher_is_better=None, unit="count")


def reference(name: str, unit: Unit = "share", headline: bool = False) -> Metric:
    """What a prediction without the model reaches, to be read beside a metric: neither good nor bad."""
    return Metric(name, higher_is_better=None, unit=unit, headline=headline)


def with_interval(metric: Metric, interval: tuple[float, float]) -> dict[Metric, float]:
    """The ends of a 95 % interval of ``metric``: ``<name>_low`` and ``<name>_high``."""
    return {metric.derived("low"): interval[0], metric.derived("high"): interval[1]}


def by_name(scores: Scores) -> dict[str, float]:
    """Values by name, without what they mean."""
    return {metric.name: value for metric, value in scores.items()}


def declared(name: str, declaration: Mapping[str, Any]) -> Metric:
    """The metric that a result record declares under ``name``. Raises TypeError on other keys."""
    return Metric(name, **declaration)
