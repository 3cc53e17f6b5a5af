"""Task: the base class of all tasks, with their training, evaluation and prediction steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from data_modules.contract import DataRequest
from data_modules.errors import UserError, suggest
from mpma_lightning.distributed import global_mean, sum_over_ranks
from mpma_lightning.evaluation.epoch import Rows, RunningMeans
from mpma_lightning.evaluation.finite import largest, refuse_broken, refuse_broken_losses
from mpma_lightning.evaluation.metric import Metric, Scores, loss
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.predictions import PredictionWriter
from mpma_lightning.predictions.table import TableWriter
from mpma_lightning.tasks.module import BackboneModule

Step = dict[str, Any]
OUTPUT = "output/"
"""Prefix of the columns of :meth:`Task.check_finite` among the rows of an evaluation."""


class Task(BackboneModule):
    """Losses, metrics, predictions and figures of a backbone with heads.

    A subclass names the ``parts`` of the backbone, builds its heads in :meth:`build_heads`, and returns from
    :meth:`step` the losses ``<name>_loss`` as (sum, count), weighted by ``loss_weights``, and further means to log.

    Args:
        monitor: name of the validation metric by which ``fit`` keeps the best checkpoint, such as ``loss``; its
            declaration says which direction is better. Default: the task's own.
    """

    protocol: str
    """Id of the evaluation protocol, such as ``cls-finetune-mrm``; different ones are not compared."""
    monitor: Metric | None = None
    """Validation metric by which ``fit`` keeps the best checkpoint; None: it keeps none."""
    selectable: tuple[Metric, ...] = ()
    """Metrics of :meth:`score` that the argument ``monitor`` may name, besides ``loss`` and ``step_metrics``."""
    figure_samples = 6
    """Maximal number of samples in a figure."""
    extra_figures: tuple[str, ...] = ()
    """Names of the figures that :meth:`extra_figure` draws when they are asked for."""
    figure_ids: Sequence[str] | None = None
    """Samples that :meth:`epoch_figures` shows; None: it chooses."""
    annotations: tuple[str, ...] = ()
    """Annotations that the data should read: ``mask``, ``boxes``."""
    reads_labels = False
    """Whether it evaluates labels; the data then note labels that were extracted from the text."""
    encodes_once = False
    """Whether training reads every sample once, without augmentation, to store its features."""
    completes_drafts = False
    """Whether ``predict`` completes the drafts that ``data.draft`` names."""
    prediction_formats: tuple[str, ...] = ()
    """Files of other programs that ``predict --to`` may name; :meth:`exporter` writes them."""
    step_metrics: tuple[Metric, ...] = ()
    """Declarations of the (sum, count) entries of :meth:`step`. By default a loss is no headline, and any other entry
    is neither good nor bad."""
    declared: dict[str, Metric]
    """Every metric that was logged in validation or test, by name without the stage."""
    samples: SampleTable | None
    """Measurements of each test sample; None before the end of ``test``."""

    def __init__(self, *, monitor: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        if monitor is not None:
            self.monitor = self._selected(monitor)
        self.means = RunningMeans()
        self.rank_losses: dict[str, Tensor] = {}  # of the last step, for NonFinite
        self.gradient_norms: dict[str, Tensor] = {}  # by "<loss>/<encoder>", for Liveness
        self.rows = Rows()
        self._outputs: dict[str, Tensor] = {}  # of the current batch, from check_finite
        self.in_evaluation_step = False  # callbacks run the backbone too, outside of it
        self.declared = {}
        self.samples = None

    def _selected(self, name: str) -> Metric:
        own = () if self.monitor is None else (self.monitor,)
        known = {metric.name: metric for metric in (*own, loss("loss"), *self.step_metrics, *self.selectable)}
        directed = {name: metric for name, metric in known.items() if metric.higher_is_better is not None}
        if name not in directed:
            expected = f"expected a metric that {type(self).__name__} declares for it{suggest(name, directed)}"
            raise UserError(f"found model.monitor {name!r}, {expected}")
        return directed[name]

    # to be overridden

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weight of ``<name>_loss`` by name; 1 if absent."""
        return {}

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        """Losses and further means of a batch as (sum, count); ``stage`` is train, val or test."""
        raise NotImplementedError

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        """Metrics of a validation or test; not called in Lightning's sanity check.

        Args:
            rows: ``id``, ``patient`` and the columns that :meth:`step` passed to :meth:`keep`, of all ranks.
            stage: val or test.
        """
        return {}

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Predictions of a batch, with ``id``, for :meth:`prediction_writer`."""
        raise NotImplementedError

    def result_entries(self) -> dict[str, Any]:
        """Further entries of the result record, such as ``classes``; plain types."""
        return {}

    def figures(self, batch: dict[str, Any], outcome: Step, stage: str, count: int) -> dict[str, Figure]:
        """Figures of an evaluation batch by file name. Called on rank 0 only: no collectives.

        Args:
            batch: the batch.
            outcome: what :meth:`step` returned for it.
            stage: val or test.
            count: maximal number of samples.
        """
        return {}

    def shows_annotation(self, batch: dict[str, Any]) -> bool:
        """Whether :meth:`figures` has something to show of a batch; those of the first such batch are drawn."""
        return True

    def extra_figure(self, name: str, batch: dict[str, Any], outcome: Step, count: int) -> dict[str, Figure]:
        """One of ``extra_figures``, by file name; arguments as of :meth:`figures`."""
        raise NotImplementedError

    def epoch_figures(self, stage: str, count: int) -> dict[str, Figure]:
        """Figures by file name of a whole validation or test. Called on rank 0 only: no collectives."""
        return {}

    def prediction_writer(self) -> PredictionWriter:
        """A new writer of the batches of :meth:`predict`; by default a table of features."""
        return TableWriter("features.parquet")

    def exporter(self, form: str) -> PredictionWriter:
        """A new writer of one of ``prediction_formats``."""
        raise NotImplementedError

    # common to all tasks

    def check_finite(self, **outputs: Tensor) -> None:
        """Refuse ``outputs`` (B, ...) of the model that are not finite, in ``validate``, ``test`` and ``predict``.

        Call it before outputs are thresholded, ranked or rounded, in :meth:`step` before :meth:`keep`. Tensors that
        :meth:`predict` returns are checked without it. An evaluation stops at its end, on all ranks.
        """
        self._outputs |= {name: largest(values) for name, values in outputs.items()}

    def keep(self, batch: dict[str, Any], **columns: Tensor | Sequence[Any]) -> None:
        """Keep ``id``, ``patient`` and ``columns`` (B, ...) of an evaluation batch for :meth:`score`."""
        outputs = {OUTPUT + name: values for name, values in self._outputs.items()}
        self.rows.add(id=batch["id"], patient=batch["patient"], **columns, **outputs)

    def gather_rows(self) -> dict[str, np.ndarray]:
        """The kept rows of all ranks; UserError if an output is not finite. A collective."""
        rows = self.rows.gather()
        outputs = {name: rows.pop(name) for name in [*rows] if name.startswith(OUTPUT)}
        if outputs:
            refuse_broken(rows["id"], **{name.removeprefix(OUTPUT): values for name, values in outputs.items()})
        return rows

    def data_request(self) -> DataRequest:
        """What this task needs from the data."""
        return DataRequest(
            modalities=self.modalities,
            annotations=self.annotations,
            crop_size=self.crop_size,
            tokenizer=self.tokenizer_json,
            needs_tokenizer=self.needs_tokenizer,
            reads_labels=self.reads_labels,
            encodes_once=self.encodes_once,
            completes_drafts=self.completes_drafts,
            views=self.reads_views,
        )

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        outcome = self.step(batch, "train")
        losses = {name: global_mean(*outcome[name]) for name in outcome if name.endswith("_loss")}
        total = torch.stack([self._weight(name) * value for name, value in losses.items()]).sum()
        self.rank_losses = {name: value.detach() for name, value in losses.items()}
        self._log_step(outcome)
        return total

    def _weight(self, name: str) -> float:
        return self.loss_weights.get(name.removesuffix("_loss"), 1.0)

    def _log_step(self, outcome: Step) -> None:
        """Log losses and further means over all ranks, which have the same names; a collective."""
        names = [name for name, value in outcome.items() if isinstance(value, tuple)]
        pairs = sum_over_ranks(torch.stack([torch.stack([x.detach().float() for x in outcome[n]]) for n in names]))
        values = dict(zip(names, pairs[:, 0] / pairs[:, 1].clamp(min=1), strict=True))
        for name, value in values.items():
            self.log(f"train/{name}", value)
        losses = [self._weight(name) * value for name, value in values.items() if name.endswith("_loss")]
        self.log("train/loss", torch.stack(losses).sum(), prog_bar=True)

    def _evaluate(self, batch: dict[str, Any], stage: str) -> Step:
        self._outputs = {}
        self.in_evaluation_step = True
        outcome = self.step(batch, stage)
        self.in_evaluation_step = False
        for name, value in outcome.items():
            if isinstance(value, tuple):
                self.means.update(name, *value)
        return outcome

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Step:
        return self._evaluate(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Step:
        return self._evaluate(batch, "test")

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """:meth:`predict`; UserError for numbers that are not finite."""
        self._outputs = {}
        found = self.predict(batch)
        tensors = {name: values for name, values in found.items() if isinstance(values, Tensor)}
        refuse_broken(found["id"], **(self._outputs | tensors))
        return found

    def _log_epoch(self, stage: str) -> None:
        """Log the means over all batches and ranks, then the metrics of all rows, unless in Lightning's sanity check.
        UserError for outputs or losses that are not finite. A collective."""
        if self.trainer.sanity_checking:
            self.means, self.rows = RunningMeans(), Rows()
            return
        means, rows = self.means.compute(), self.gather_rows()
        scores = self.score(rows, stage) if rows else {}
        refuse_broken_losses({name: value for name, value in means.items() if name.endswith("_loss")}, stage)
        self.log_scores(stage, {self._declare(name): value for name, value in means.items()})
        if losses := [self._weight(name) * value for name, value in means.items() if name.endswith("_loss")]:
            self.log_scores(stage, {loss("loss"): sum(losses)}, prog_bar=True)
        self.log_scores(stage, scores)

    def _declare(self, name: str) -> Metric:
        known = {metric.name: metric for metric in self.step_metrics}
        plain = loss(name) if name.endswith("_loss") else Metric(name, higher_is_better=None, unit="ratio")
        return known.get(name, plain)

    def log_scores(self, stage: str, scores: Scores, prog_bar: bool = False) -> None:
        """Log each value as ``<stage>/<name>`` and add its metric to ``declared``."""
        self.declared |= {metric.name: metric for metric in scores}
        self.log_dict({f"{stage}/{metric.name}": value for metric, value in scores.items()}, prog_bar=prog_bar)

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test")
