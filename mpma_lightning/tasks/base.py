"""Task: the LightningModule every task derives from; it owns the skeleton so that a task is its loss and its head."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from data_modules.contract import DataRequest
from mpma_lightning.distributed import global_mean, sum_over_ranks
from mpma_lightning.evaluation.epoch import Rows, RunningMeans
from mpma_lightning.evaluation.finite import refuse_broken
from mpma_lightning.evaluation.metric import Metric, Scores, loss
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.predictions import PredictionWriter
from mpma_lightning.predictions.table import TableWriter
from mpma_lightning.tasks.module import BackboneModule

Step = dict[str, Any]


class Task(BackboneModule):
    """Losses, metrics, predictions and figures of a backbone and what is built on it.

    A subclass names the backbone ``parts`` it needs, builds its heads in :meth:`build_heads`, and returns
    from :meth:`step` a dictionary: ``<name>_loss`` entries as (sum, count), weighted by ``loss_weights``,
    and any further (sum, count) means to log.
    """

    protocol: str
    """Id of the evaluation protocol, such as ``cls-finetune-mrm``; results of different ids are never compared."""
    monitor: Metric | None = None
    """The validation metric by which ``fit`` chooses the best checkpoint; None: it chooses none."""
    figure_samples = 6
    """Samples in each figure, at most."""
    annotations: tuple[str, ...] = ()
    """``mask``, ``boxes``: what the data should read beside image and text."""
    reads_labels = False
    """Whether its metrics are about the labels: labels that were taken from the text are then worth a note."""
    encodes_once = False
    """Whether training reads every sample once, without augmentation, to cache its features."""
    step_metrics: tuple[Metric, ...] = ()
    """What the (sum, count) entries of :meth:`step` mean; a loss that is not here is no headline, anything else that is
    not here is neither good nor bad."""
    declared: dict[str, Metric]
    """What every number means that was logged of a validation or a test, by its name after the stage."""
    samples: SampleTable | None
    """What ``test`` measured of each sample."""

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.means = RunningMeans()
        self.rank_losses: dict[str, Tensor] = {}  # of the last step, for guards
        self.gradient_norms: dict[str, Tensor] = {}  # "<loss>/<encoder>" where the task knows it, for guards
        self.rows = Rows()
        self.in_evaluation_step = False  # callbacks run the backbone too, outside of it
        self.declared = {}
        self.samples = None

    # what a subclass says

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weight of each ``<name>_loss``; 1 where absent."""
        return {}

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        """Losses and further means of one batch as (sum, count); ``stage`` is train, val or test."""
        raise NotImplementedError

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        """Metrics of an epoch of validation or test; not called while Lightning checks for errors.

        Args:
            rows: columns that :meth:`step` added to ``self.rows``, of all ranks.
            stage: val or test.
        """
        return {}

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """``id`` and what is predicted of each sample, for :meth:`prediction_writer`."""
        raise NotImplementedError

    def result_entries(self) -> dict[str, Any]:
        """Entries of the result record that only this task knows, such as ``classes``; plain types."""
        return {}

    def figures(self, batch: dict[str, Any], outcome: Step, stage: str, count: int) -> dict[str, Figure]:
        """Figures by file name of at most ``count`` samples of an evaluation batch and of what :meth:`step` returned
        for it; called on rank 0 alone, so nothing here may wait for other ranks."""
        return {}

    def epoch_figures(self, stage: str, count: int) -> dict[str, Figure]:
        """Figures by file name of a whole validation or test; on rank 0 alone."""
        return {}

    def prediction_writer(self) -> PredictionWriter:
        """What writes the batches of :meth:`predict`: a table of features, where a task says no other."""
        return TableWriter("features.parquet")

    # skeleton

    def data_request(self) -> DataRequest:
        """What this task asks of the data."""
        return DataRequest(
            modalities=self.modalities,
            annotations=self.annotations,
            crop_size=self.crop_size,
            tokenizer=self.tokenizer_json,
            needs_tokenizer=self.needs_tokenizer,
            reads_labels=self.reads_labels,
            encodes_once=self.encodes_once,
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
        """Losses and further means over all ranks, which name the same ones."""
        names = [name for name, value in outcome.items() if isinstance(value, tuple)]
        pairs = sum_over_ranks(torch.stack([torch.stack([x.detach().float() for x in outcome[n]]) for n in names]))
        values = dict(zip(names, pairs[:, 0] / pairs[:, 1].clamp(min=1), strict=True))
        for name, value in values.items():
            self.log(f"train/{name}", value)
        losses = [self._weight(name) * value for name, value in values.items() if name.endswith("_loss")]
        self.log("train/loss", torch.stack(losses).sum(), prog_bar=True)

    def _evaluate(self, batch: dict[str, Any], stage: str) -> Step:
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
        """:meth:`predict`; UserError where a number is not finite. Masks, boxes and words are checked before."""
        found = self.predict(batch)
        numbers = {name: values for name, values in found.items() if torch.is_tensor(values)}
        refuse_broken(found["id"], **{name: values.float().cpu().numpy() for name, values in numbers.items()})
        return found

    def _log_epoch(self, stage: str) -> None:
        """Means over all batches and ranks, then the metrics of all rows; a collective."""
        means = self.means.compute()
        self.log_scores(stage, {self._declare(name): value for name, value in means.items()})
        if losses := [self._weight(name) * value for name, value in means.items() if name.endswith("_loss")]:
            self.log_scores(stage, {loss("loss"): sum(losses)}, prog_bar=True)
        rows = self.rows.gather()
        if rows and not self.trainer.sanity_checking:
            self.log_scores(stage, self.score(rows, stage))

    def _declare(self, name: str) -> Metric:
        known = {metric.name: metric for metric in self.step_metrics}
        plain = loss(name) if name.endswith("_loss") else Metric(name, higher_is_better=None, unit="ratio")
        return known.get(name, plain)

    def log_scores(self, stage: str, scores: Scores, prog_bar: bool = False) -> None:
        """Log each value as ``<stage>/<name>`` and remember what it means."""
        self.declared |= {metric.name: metric for metric in scores}
        self.log_dict({f"{stage}/{metric.name}": value for metric, value in scores.items()}, prog_bar=prog_bar)

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test")
