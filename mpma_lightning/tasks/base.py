"""Task: the LightningModule every task derives from; it owns the skeleton so that a task is its loss and its head."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from matplotlib.figure import Figure
from torch import Tensor, nn

from data_modules.base import DataModule, attached_data
from data_modules.contract import DataRequest, DataSpec
from data_modules.errors import UserError, expect
from mpma_lightning.backbones import Backbone, BackboneSpec, Vocabulary, resolve
from mpma_lightning.backbones.backbone import with_encoders
from mpma_lightning.backbones.carried import carried_spec, refuse_foreign_sources
from mpma_lightning.backbones.checkpoint import CARGO, Checkpoint, read_checkpoint
from mpma_lightning.backbones.weights import load_weights
from mpma_lightning.distributed import global_mean, sum_over_ranks
from mpma_lightning.evaluation.epoch import Rows, RunningMeans
from mpma_lightning.evaluation.finite import refuse_broken
from mpma_lightning.evaluation.metric import Metric, Scores, loss
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.optim import Optim
from mpma_lightning.predictions import PredictionWriter
from mpma_lightning.predictions.table import TableWriter

GRAY_MEAN, GRAY_STD = 0.4978, 0.2449  # MIMIC-CXR [MRM]
Step = dict[str, Any]


class Task(LightningModule):
    """Backbone, optimiser, logging and checkpoint cargo.

    A subclass names the backbone ``parts`` it needs, builds its heads in :meth:`build_heads`, and returns
    from :meth:`step` a dictionary: ``<name>_loss`` entries as (sum, count), weighted by ``loss_weights``,
    and any further (sum, count) means to log.

    Args:
        backbone: a name, a spec, or ``None`` for the checkpoint's (default preset without a checkpoint).
        checkpoint: start from these weights: a ``.ckpt`` of any task, a ``.safetensors`` file or a run folder.
            The backbone's spec, the tokeniser and the normalisation come with it.
        checkpoint_parts: take only these parts of the backbone from it, such as ``[text]``; the others start at random
            and may be others than the checkpoint's.
        optim: optimiser and schedule.
        mean: mean of the gray values in [0, 1], MIMIC-CXR's by default.
        std: standard deviation of the gray values, MIMIC-CXR's by default.
    """

    protocol: str
    """Id of the evaluation protocol, such as ``cls-finetune-mrm``; results of different ids are never compared."""
    monitor: Metric | None = None
    """The validation metric by which ``fit`` chooses the best checkpoint; None: it chooses none."""
    figure_samples = 6
    """Samples in each figure, at most."""
    target_scale = 1
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

    def __init__(
        self,
        backbone: BackboneSpec | str | None = None,
        checkpoint: str | None = None,
        checkpoint_parts: list[str] | None = None,
        optim: Optim | None = None,
        mean: float = GRAY_MEAN,
        std: float = GRAY_STD,
    ) -> None:
        super().__init__()
        expect(std > 0, "model.std", std, "more than 0")
        self.optim = optim or Optim()
        self.source: Checkpoint | None = read_checkpoint(checkpoint) if checkpoint else None
        self.checkpoint_parts = checkpoint_parts
        self.spec = self._agree(backbone)
        self._spec_is_carried = backbone is None and self.source is not None and self.source.spec is not None
        self.normalisation = (self.source and self.source.normalisation) or (mean, std)
        self.tokenizer_json: str | None = self.source.tokenizer if self.source else None
        self.means = RunningMeans()
        self.rank_losses: dict[str, Tensor] = {}  # of the last step, for guards
        self.gradient_norms: dict[str, Tensor] = {}  # "<loss>/<encoder>" where the task knows it, for guards
        self.rows = Rows()
        self.declared = {}
        self.samples = None
        self._built = False

    def _agree(self, backbone: BackboneSpec | str | None) -> BackboneSpec:
        carried = self.source.spec if self.source else None
        if backbone is None:
            return carried or resolve("mpma_vit_b16")
        given = BackboneSpec(name=backbone) if isinstance(backbone, str) else backbone
        if carried is None:
            return resolve(given)
        assert self.source is not None
        if differences := resolve(given).differences(carried, self.checkpoint_parts):
            raise UserError(
                f"model.backbone disagrees with checkpoint {self.source.path}: {'; '.join(differences[:4])}. "
                "Leave model.backbone out to take the checkpoint's, or train without model.checkpoint"
            )
        return carried if self.checkpoint_parts is None else resolve(given)

    # what a subclass says

    @property
    def parts(self) -> tuple[str, ...]:
        """Backbone parts this task needs."""
        raise NotImplementedError

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weight of each ``<name>_loss``; 1 where absent."""
        return {}

    def build_heads(self) -> None:
        """Build what depends on the backbone and on ``data_spec``."""

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

    @property
    def data(self) -> DataModule:
        """The data module of this run; its ``spec`` is filled before :meth:`configure_model`."""
        return attached_data(self.trainer)

    @property
    def data_spec(self) -> DataSpec:
        """What the data tell this task; filled before :meth:`configure_model`."""
        return self.data.spec

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

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the data must supply; fusion and the alignment heads bring both encoders."""
        alone = [part for part in self.parts if part in ("image", "text")]
        return tuple(alone) if len(alone) == len(self.parts) else ("image", "text")

    @property
    def needs_tokenizer(self) -> bool:
        """Whether the data must supply the tokeniser, none having come with a checkpoint."""
        return self.tokenizer_json is None and "text" in self.modalities

    @property
    def crop_size(self) -> int:
        """Side of the crops the data module should deliver."""
        return (self.spec.image.size or 224) * self.target_scale

    def configure_model(self) -> None:
        """Build the backbone's parts and the heads, then fill the backbone from ``checkpoint``."""
        if self._built:
            return
        if self.tokenizer_json is None:
            self.tokenizer_json = self.data_spec.tokenizer
        spec, text_config = self.spec, None
        if self.source is not None:  # what it fills is not fetched again: those files may be on another machine
            filled = ("image", "text") if self.checkpoint_parts is None else self.checkpoint_parts
            spec = replace(spec, image=replace(spec.image, weights=None)) if "image" in filled else spec
            text_config = self.source.text_config if "text" in filled else None
            if self._spec_is_carried:
                refuse_foreign_sources(self.source.path, spec, with_encoders(self.parts), filled, text_config)
        self.backbone = Backbone(spec, self.parts, self._vocabulary(), text_config)
        self.build_heads()
        if self.source is not None:
            load_weights(self.backbone, self.source, self.tokenizer_json, self.checkpoint_parts)
            self.source.state = self.source.heads = {}
        self._built = True

    def _vocabulary(self) -> Vocabulary | None:
        from data_modules.text.tokenizer import Tokenizer

        if self.tokenizer_json is None:
            return None
        tokenizer = Tokenizer.from_json(self.tokenizer_json)
        return Vocabulary(len(tokenizer), tokenizer.pad_id, tokenizer.mask_id)

    def normalise(self, image: Tensor) -> Tensor:
        """uint8 (B, C, S, S) crop to floats with zero mean and unit variance, on the device."""
        mean, std = self.normalisation
        kind = torch.promote_types(torch.float32, torch.get_default_dtype())
        return (image.to(kind) / 255 - mean) / std

    def encoder_input(self, normalised: Tensor) -> Tensor:
        """Antialiased down-sampling of the crop by ``target_scale``, gray repeated to three channels."""
        if self.target_scale != 1:
            side, rest = divmod(normalised.shape[-1], self.target_scale)
            expect(
                not rest, "data.image_size", normalised.shape[-1], f"a multiple of target_scale, {self.target_scale}"
            )
            normalised = nn.functional.interpolate(normalised, (side, side), mode="bicubic", antialias=True)
        return normalised.expand(-1, 3, -1, -1) if normalised.shape[1] == 1 else normalised

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
        outcome = self.step(batch, stage)
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

    def configure_optimizers(self) -> Any:
        trainer = self.trainer
        batch = self.data.batch_size * trainer.world_size * trainer.accumulate_grad_batches
        optimizer, scheduler = self.optim.build(self, batch, trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Dropout follows from (seed, step, rank) alone, so a resumed run draws what the undisturbed one drew."""
        from data_modules.index.hashing import stable_hash

        seed = stable_hash(self.data.seed, self.global_step, batch_idx, self.global_rank)
        torch.manual_seed(seed % (1 << 63))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the cargo; refuse weights that are not finite, so that a good checkpoint is never replaced by them."""
        self._stop_at_broken_weights(checkpoint["state_dict"])
        checkpoint[CARGO] = {
            "task": type(self).__name__,
            "spec": asdict(self.spec),
            "tokenizer": self.tokenizer_json,
            "normalisation": list(self.normalisation),
            "text_config": self.backbone.text_config,
        }

    def _stop_at_broken_weights(self, weights: dict[str, Tensor]) -> None:
        broken = [name for name, value in weights.items() if not torch.isfinite(value).all()]
        if broken:
            raise UserError(
                f"{len(broken)} of {len(weights)} weights are not finite at step {self.global_step} (first: "
                f"{broken[0]}); they are not saved, an earlier checkpoint stays. Lower model.optim.lr, or add "
                f"--config experiments/debug/anomaly.yaml --trainer.default_root_dir {self.trainer.default_root_dir} "
                "to find the operation"
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        cargo, path = checkpoint.get(CARGO), self.trainer.ckpt_path
        if cargo is None:
            raise UserError(
                f"ckpt_path {path} was not written by this project; use model.checkpoint to start from its weights"
            )
        if differences := carried_spec(cargo, str(path)).differences(self.spec):
            raise UserError(
                f"ckpt_path {path} holds another backbone ({'; '.join(differences[:4])}); ckpt_path resumes the same "
                "run, model.checkpoint starts a new one from weights"
            )
        if "text" in self.modalities and cargo["tokenizer"] != self.tokenizer_json:
            raise UserError(
                f"ckpt_path {path} was trained with another tokeniser than the data give now; evaluate it with "
                f"--model.checkpoint {path} --ckpt_path null, which brings its own tokeniser"
            )
