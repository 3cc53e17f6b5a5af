"""Online evaluation: zero-shot, retrieval, linear probe, reconstruction, and whether the report sees the image."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from data_modules.base import attached_data
from data_modules.errors import UserError
from data_modules.loading.loader import collate
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.callbacks.evaluation_batches import EvaluationBatches
from mpma_lightning.evaluation.both_directions import ranked_everywhere, retrieval_scores
from mpma_lightning.evaluation.epoch import gather_objects
from mpma_lightning.evaluation.interpolation import interpolate_hidden, least_error, scaled_error
from mpma_lightning.evaluation.linear_probe import probe_from_few
from mpma_lightning.evaluation.metric import Metric, Scores, reference
from mpma_lightning.evaluation.word_recovery import finding_word_pieces, other_patient
from mpma_lightning.evaluation.zero_shot import auroc_by_class, load_prompts, macro, zero_shot_scores
from mpma_lightning.tasks.pretraining import PretrainingTask

Rows = dict[str, list[np.ndarray]]


class PairedEvaluation(EvaluationBatches):
    """Scores a :class:`PretrainingTask` at the end of every validation and test epoch.

    ``memory_attention`` is the share of the cross-attention at masked finding words that goes to memory and not to
    the image: near 1, the report has stopped reading the image.

    Features come from the whole image and the whole report; reconstruction and word recovery from the
    masks of the loss. What the data or the objectives do not allow is left out: no labels, no probe.

    Args:
        prompts: a shipped prompt file (``chest_xray``) or a path.
        probe_shots: labelled training samples a probe is fitted on.
        probe_draws: disjoint draws whose probes are averaged.
        word_batches: batches a process uses for reconstruction and word recovery; the costly part.
    """

    def __init__(
        self, prompts: str = "chest_xray", probe_shots: int = 100, probe_draws: int = 5, word_batches: int = 16
    ) -> None:
        self.prompts = load_prompts(prompts)
        self.probe_shots, self.probe_draws, self.word_batches = probe_shots, probe_draws, word_batches
        self._reset()

    def _reset(self) -> None:
        self._rows: Rows = {}
        self._counts: dict[str, float] = {}

    def _add(self, name: str, value: float) -> None:
        self._counts[name] = self._counts.get(name, 0.0) + value

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._reset()

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._reset()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish(trainer, pl_module, "test")

    @torch.no_grad()
    def on_evaluation_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_idx: int, stage: str
    ) -> None:
        assert isinstance(task, PretrainingTask)
        features = task.encode(batch)
        for name, value in features.items():
            self._rows.setdefault(name, []).append(value.float().cpu().numpy())
        for name in ("group", "labels"):
            if name in batch:
                self._rows.setdefault(name, []).append(batch[name].cpu().numpy())
        if batch_idx < self.word_batches:
            self._reconstruction(outputs["state"])
            self._word_recovery(task, outputs["state"], batch)

    def _reconstruction(self, state: Any) -> None:
        if "image_prediction" not in state.outputs or state.image_features.grid is None:
            return
        grid, masked, target = state.image_features.grid, state.image_mask.masked, state.target.float()
        patch = target.shape[-1] // grid[1]
        sums = scaled_error(interpolate_hidden(target, masked, grid), target, masked, patch)
        values = patch * patch * target.shape[1]
        for name, value in zip(("truth", "product", "guess"), sums, strict=True):
            self._add(name, value)
        self._add("values", float(masked.sum()) * values)

    def _word_recovery(self, task: PretrainingTask, state: Any, batch: dict[str, Any]) -> None:
        """Own and foreign image, both unmasked, so that only the image's identity differs."""
        fused = "report_reconstruction" in task.options and "fusion" in task.backbone.parts
        if not fused or task.tokenizer_json is None:
            return
        partner = other_patient(batch["patient"])
        if partner is None:
            return
        tokenizer = Tokenizer.from_json(task.tokenizer_json)
        pieces = finding_word_pieces(batch["input_ids"], batch["word_ids"], tokenizer, self.prompts.finding_words)
        asked = pieces.to(task.device) & state.report_mask.masked
        for name, image in (("own", state.image), ("other", state.image[partner.to(task.device)])):
            predicted = task.recover_report(image, state.report_mask.input_ids, state.attention_mask, asked)
            self._add(name, float((predicted == state.input_ids[asked]).sum()))
        share = task.backbone.fusion.memory_share(state.whole_image, state.text_features, state.attention_mask)
        if share is not None:
            self._add("memory", float(share[asked].sum()))
        self._add("asked", float(asked.sum()))

    def _finish(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        if trainer.sanity_checking:
            return
        assert isinstance(task, PretrainingTask)
        ranks = gather_objects((self._rows, self._counts))
        names = sorted({name for rows, _ in ranks for name in rows})
        rows = {n: np.concatenate([part for r, _ in ranks for part in r.get(n, [])]) for n in names}
        counts = {n: sum(c.get(n, 0.0) for _, c in ranks) for n in {n for _, c in ranks for n in c}}
        _refuse_non_finite(rows, trainer.global_step)
        task.log_scores(stage, {**_retrieval(rows), **self._labels(trainer, task, rows), **_ratios(counts)})

    def _labels(self, trainer: Trainer, task: PretrainingTask, rows: dict[str, np.ndarray]) -> Scores:
        if "labels" not in rows:
            return {}
        datamodule = attached_data(trainer)
        classes, labels = datamodule.spec.classes, rows["labels"]
        scores: dict[Metric, float] = {}
        if "image_embedding" in rows:
            auroc = self._zero_shot(task, rows["image_embedding"], labels, classes)
            scores |= {Metric(f"zero_shot/{name}"): value for name, value in auroc.items()}
            scores[Metric("zero_shot_auroc", headline=True)] = macro(auroc)
        if "image" in rows:
            train, train_labels = self._probe_set(datamodule, task)
            probe = (train, train_labels, rows["image"], labels, classes, self.probe_shots, self.probe_draws)
            scores[Metric(f"probe{self.probe_shots}_auroc", headline=True)] = probe_from_few(*probe)
        return {name: value for name, value in scores.items() if not np.isnan(value)}

    def _zero_shot(
        self, task: PretrainingTask, image: np.ndarray, labels: np.ndarray, classes: list[str]
    ) -> dict[str, float]:
        known = [name for name in classes if name in self.prompts.positive]
        columns = []
        for name in known:
            positive, negative = (
                task.encode_texts(side[name]) for side in (self.prompts.positive, self.prompts.negative)
            )
            columns.append(zero_shot_scores(image, positive.cpu().numpy(), negative.cpu().numpy()))
        if not known:
            return {}
        return auroc_by_class(labels[:, [classes.index(name) for name in known]], np.stack(columns, 1), known)

    @torch.no_grad()
    def _probe_set(self, datamodule: Any, task: PretrainingTask) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of the first training studies in hash order, one image a study, without augmentation."""
        samples = datamodule.probe_samples(self.probe_shots * self.probe_draws)
        features: list[Tensor] = []
        labels: list[Tensor] = []
        for start in range(0, len(samples), datamodule.batch_size):
            stop = min(start + datamodule.batch_size, len(samples))
            batch = collate([samples[i] for i in range(start, stop)])
            features.append(task.encode({"image": batch["image"].to(task.device)})["image"].float().cpu())
            labels.append(batch["labels"])
        return torch.cat(features).numpy(), torch.cat(labels).numpy()


def _refuse_non_finite(rows: dict[str, np.ndarray], step: int) -> None:
    for name in sorted(set(rows) - {"group", "labels"}):
        if not np.isfinite(rows[name]).all():
            raise UserError(
                f"the {name.replace('_', ' ')} features of the evaluation are not finite at step {step}: training has "
                "diverged; lower model.optim.lr, and start again in another --trainer.default_root_dir"
            )


def _retrieval(rows: dict[str, np.ndarray]) -> Scores:
    if "image_embedding" not in rows or "text_embedding" not in rows:
        return {}
    pairs = {"image": rows["image_embedding"], "text": rows["text_embedding"], "group": rows["group"]}
    scores = retrieval_scores(pairs, ranked_everywhere(pairs))
    return {replace(metric, headline=False): value for metric, value in scores.items()}


def _ratios(counts: dict[str, float]) -> Scores:
    scores: dict[Metric, float] = {}
    if counts.get("values"):
        scores[reference("interpolation_mse", unit="error")] = least_error(
            counts["truth"], counts["product"], counts["guess"], int(counts["values"])
        )
    if counts.get("asked"):
        scores[Metric("finding_word_accuracy")] = counts["own"] / counts["asked"]
        scores[reference("finding_word_accuracy_shuffled_image")] = counts["other"] / counts["asked"]
        scores[Metric("finding_word_gap", headline=True)] = (counts["own"] - counts["other"]) / counts["asked"]
    if "memory" in counts and counts.get("asked"):
        scores[reference("memory_attention")] = counts["memory"] / counts["asked"]
    return scores
