"""Linear probe: a frozen encoder encodes every image once; heads for all fractions and seeds train on the features."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.progress import track
from torch import Tensor, nn

from data_modules.errors import UserError, expect
from data_modules.index.draws import draw_fraction
from data_modules.index.manifest import ids_sha256
from mpma_lightning.evaluation.classification import AUROC, best_thresholds
from mpma_lightning.evaluation.epoch import Rows
from mpma_lightning.evaluation.finite import refuse_broken
from mpma_lightning.evaluation.head_training import ProbeOptions, train_head
from mpma_lightning.evaluation.metric import Metric, Scores
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.precision import full
from mpma_lightning.tasks.base import Step
from mpma_lightning.tasks.labelled import LabelledTask


class LinearProbeTask(LabelledTask):
    """In one epoch, ``fit`` encodes training and validation images, then trains ``fractions`` x ``seeds`` heads.

    Images are not augmented. Metrics are means over seeds for each fraction, with standard deviations (``_sd``); the
    result record lists every head. Ranks share the encoding; each rank trains all heads.

    Args:
        protocol: ``cls-linear-stored``, or ``cls-linear`` to set ``probe``.
        fractions: label fractions; training samples are chosen as by ``data.label_fraction``.
        seeds: of the choice of samples, of the initialisation and of the order of samples.
        probe: settings of the training of heads.
    """

    encodes_once = True
    frozen = True

    def __init__(
        self,
        *,
        protocol: str = "cls-linear-stored",
        fractions: tuple[float, ...] = (0.01, 0.1, 1.0),
        seeds: tuple[int, ...] = (0, 1, 2),
        probe: ProbeOptions | None = None,
        **common: Any,
    ) -> None:
        super().__init__(protocol=protocol, input="image", pool="mask", optim=None, **common)
        self.automatic_optimization = False
        self.probe = probe or ProbeOptions()
        if not self.fixed.own_probe and self.probe != ProbeOptions():
            raise UserError(
                f"model.protocol {protocol} trains heads as {ProbeOptions()} [MGCA], found {self.probe}; leave "
                "model.probe out, or take model.protocol cls-linear"
            )
        expect(all(0 < share <= 1 for share in fractions), "model.fractions", fractions, "shares above 0 and up to 1")
        self.records: list[dict[str, Any]] = [{"fraction": f, "seed": seed} for f, seed in product(fractions, seeds)]
        if not self.records:
            raise UserError("found no fraction or no seed; give model.fractions and model.seeds at least one each")
        self.seen = Rows()

    def build_head(self) -> None:
        heads = []
        for record in self.records:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(record["seed"])
                heads.append(self.new_head())
        self.heads = nn.ModuleList(heads)
        self.register_buffer("thresholds", torch.full((len(heads), len(self.classes)), 0.5))
        self.register_buffer("feature_mean", torch.zeros(self.feature_width))
        self.register_buffer("feature_std", torch.ones(self.feature_width))

    def on_fit_start(self) -> None:
        """UserError unless the run encodes all training samples exactly once before one validation."""
        trainer: Any = self.trainer
        if trainer.fast_dev_run:
            return
        expect(trainer.max_epochs == 1, "trainer.max_epochs", trainer.max_epochs, "1, as every image is encoded once")
        for name in ("val_check_interval", "limit_train_batches"):
            found = getattr(trainer, name)
            whole = isinstance(found, float) and found == 1
            expect(whole, f"trainer.{name}", found, "1.0, as heads train on the features of the whole epoch")
        share = self.data.label_fraction
        expect(share == 1, "data.label_fraction", share, "1, as model.fractions are drawn from all training samples")

    @torch.no_grad()
    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:  # type: ignore[override]
        """Store features; heads are trained at the end of the validation."""
        self.seen.add(id=batch["id"], labels=batch["labels"], features=full(self.features(batch)))

    def configure_optimizers(self) -> None:
        """None: each head has its own optimiser."""

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        labels, features = self.aligned(batch["labels"]), full(self.features(batch))
        self.check_finite(features=features)
        self.keep(batch, labels=labels, features=features)
        return {}

    def on_train_epoch_end(self) -> None:
        if not self.trained:
            raise UserError(
                "found no validation image, but the validation loss decides when the training of a head stops; choose "
                "data with a validation split, and leave trainer.limit_val_batches at 1.0"
            )

    @torch.enable_grad()
    def _train_heads(self, train: dict[str, np.ndarray], val: dict[str, np.ndarray]) -> None:
        order = np.argsort(train["id"].astype(str))  # the same whatever the number of ranks
        ids, labels = pd.Series(train["id"][order]), pd.DataFrame(train["labels"][order], columns=self.classes)
        studies = ids.map(self.training_rows.set_index("id")["study"])
        features = torch.tensor(train["features"][order], device=self.device)
        if self.probe.standardise:
            self.feature_mean, self.feature_std = features.mean(0), features.std(0).clamp(min=1e-6)
        x, y = self._standardised(features), torch.tensor(labels.to_numpy(np.float32), device=self.device)
        seen, val_y = (torch.from_numpy(val[name]).to(self.device) for name in ("features", "labels"))
        held_out = (self._standardised(seen), val_y)
        both = list(zip(self.heads, self.records, strict=True))
        for head, record in track(both, f"Training {len(both)} heads", disable=not self.trainer.is_global_zero):
            fraction, seed = record["fraction"], record["seed"]
            taken = draw_fraction(studies, labels, fraction, seed)
            positives = {str(name): int(count) for name, count in (labels[taken] == 1).sum().items()}
            self.refuse_without_positive(positives, int(taken.sum()), fraction, seed)
            chosen = torch.tensor(taken, device=self.device)
            epoch = train_head(head, (x[chosen], y[chosen]), held_out, self.probe, self.exclusive, seed)
            record |= {"samples": int(taken.sum()), "ids_sha256": ids_sha256(ids[taken]), "epoch": epoch}

    def _standardised(self, features: Tensor) -> Tensor:
        return (features - self.feature_mean) / self.feature_std

    @torch.no_grad()
    def _scores(self, features: Tensor) -> Tensor:
        """(heads, N, K) probabilities."""
        x = self._standardised(features.to(self.device))
        return self.likelihoods(torch.stack([head(x) for head in self.heads]))

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        """Mean and standard deviation over seeds for each fraction; in ``fit``, first train the heads."""
        if self.trainer.state.fn == "fit":
            seen = self.seen.gather()
            refuse_broken(seen["id"], features=seen["features"])
            self._train_heads(seen, rows)
            self.trained = True
        scores = self._scores(torch.from_numpy(rows["features"])).double().cpu().numpy()
        if stage == "val" and self.trainer.state.fn == "fit":
            best = [best_thresholds(rows["labels"], values, default=0.5) for values in scores]
            self.thresholds = torch.as_tensor(np.stack(best), dtype=torch.float32, device=self.device)
        if stage == "test":
            table = SampleTable(rows["id"], rows["patient"], classes=self.classes, labels=rows["labels"])
            for record, values in zip(self.records, scores, strict=True):
                table.scores[AUROC.under(_name(record["fraction"])), str(record["seed"])] = values
            self.samples = table
        found: dict[float, list[dict[Metric, float]]] = {}
        cuts = self.thresholds.cpu().double().numpy()
        for record, values, thresholds in zip(self.records, scores, cuts, strict=True):
            metrics = self.class_metrics(rows["labels"], values, thresholds)
            record |= {f"{stage}/{metric.name}": value for metric, value in metrics.items() if _of_all_classes(metric)}
            found.setdefault(record["fraction"], []).append(metrics)
        return {metric: v for fraction, runs in found.items() for metric, v in _summary(fraction, runs).items()}

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ids and a score for each class, the mean over the seeds of the largest fraction."""
        largest = max(record["fraction"] for record in self.records)
        heads = [i for i, record in enumerate(self.records) if record["fraction"] == largest]
        scores = self._scores(full(self.features(batch)))[heads].mean(0)
        return self.named_scores(batch["id"], scores)

    def result_entries(self) -> dict[str, Any]:
        """Classes, fractions, seeds, and of every head its training samples, epoch and metrics."""
        fractions, seeds = (list(dict.fromkeys(record[n] for record in self.records)) for n in ("fraction", "seed"))
        return {**super().result_entries(), "label_fraction": fractions, "seed": seeds, "heads": self.records}

    def head_entries(self) -> dict[str, Any]:
        kept = [{k: v for k, v in record.items() if "/" not in k} for record in self.records]
        return {**super().head_entries(), "heads": kept}

    def take_head(self, known: dict[str, Any]) -> None:
        self.records = known["heads"]
        self.exclusive, self.classes = known["exclusive"], list(known["names"])
        self.build_head()


def _of_all_classes(metric: Metric) -> bool:
    """Whether it has a direction and is not of one class alone."""
    return metric.higher_is_better is not None and "/" not in metric.name


def _name(fraction: float) -> str:
    return f"fraction_{fraction:g}"


def _summary(fraction: float, runs: list[dict[Metric, float]]) -> dict[Metric, float]:
    """Of every metric with a direction: ``fraction_0.1/auroc``, ``…/auroc/<class>`` and, for several seeds, the sample
    deviation ``…/auroc_sd``."""
    summary = {}
    for metric in runs[0]:
        values = [run[metric] for run in runs if metric in run]
        if metric.higher_is_better is not None:
            mean = metric.under(_name(fraction))
            summary[mean] = float(np.mean(values))
            if _of_all_classes(metric) and len(values) > 1:
                summary[mean.derived("sd")] = float(np.std(values, ddof=1))
    return summary
