"""Online evaluation: zero-shot, retrieval, linear probe, reconstruction, and whether the report sees the image."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from data_modules.errors import UserError
from data_modules.loading.loader import collate
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.evaluation.both_directions import RetrievalEvaluator
from mpma_lightning.evaluation.classification import AUROC, classification_scores
from mpma_lightning.evaluation.epoch import Rows
from mpma_lightning.evaluation.interpolation import InterpolationEvaluator, interpolate_hidden
from mpma_lightning.evaluation.linear_probe import ProbeEvaluator
from mpma_lightning.evaluation.metric import Metric, Scores
from mpma_lightning.evaluation.word_recovery import WordRecoveryEvaluator, finding_word_pieces, other_patient
from mpma_lightning.evaluation.zero_shot import ZeroShotEvaluator, load_prompts
from mpma_lightning.objectives import PretrainingState
from mpma_lightning.tasks.pretraining import PretrainingTask


class PairedEvaluation(Callback):
    """Scores a :class:`PretrainingTask` at the end of every validation and test epoch.

    Of a memory with slots, at masked finding words and over the layers of fusion: ``memory_contribution`` is the mean
    norm of what memory adds divided by that of what the image adds; ``slot_entropy`` is the mean entropy of the
    attention to the slots as a share of its maximum: near 1, the slots are not told apart.

    Features come from the whole image and the whole report; reconstruction and word recovery from the masks of the
    loss. Metrics that the data or the objectives do not allow are left out: without labels there is no probe.

    Args:
        prompts: a shipped prompt file (``chest_xray``) or a path.
        probe_shots: labelled training samples on which one probe is fitted.
        probe_draws: disjoint sets of ``probe_shots`` samples; the probes' AUROC is averaged over them.
        word_batches: batches of each process used for reconstruction and word recovery, the costly part.
    """

    def __init__(
        self, prompts: str = "chest_xray", probe_shots: int = 100, probe_draws: int = 5, word_batches: int = 16
    ) -> None:
        self.prompts, self.probe = load_prompts(prompts), ProbeEvaluator(probe_shots, probe_draws)
        self.word_batches = word_batches

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rows = Rows()
        self.words, self.interpolation = WordRecoveryEvaluator(), InterpolationEvaluator()

    @torch.no_grad()
    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        task = pl_module
        assert isinstance(task, PretrainingTask)
        self.rows.add(**{name: values.float() for name, values in task.encode(batch).items()})
        self.rows.add(**{name: batch[name] for name in ("group", "labels") if name in batch})
        if batch_idx < self.word_batches:
            self._reconstruction(outputs["state"])
            self._word_recovery(task, outputs["state"], batch["patient"])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        task = pl_module
        assert isinstance(task, PretrainingTask)
        rows = self.rows.gather()
        _refuse_non_finite(rows, trainer.global_step)
        scores = {**_retrieval(rows), **self._zero_shot(task, rows), **self._probe(task, rows)}
        scores |= {**self.interpolation.compute(), **self.words.compute()}
        task.log_scores("test" if trainer.testing else "val", scores)

    on_test_epoch_start, on_test_epoch_end = on_validation_epoch_start, on_validation_epoch_end
    on_test_batch_end = on_validation_batch_end

    def _reconstruction(self, state: PretrainingState) -> None:
        if "image_prediction" not in state.outputs or state.image_features.grid is None:
            return
        assert state.target is not None and state.image_mask is not None
        grid, masked, target = state.image_features.grid, state.image_mask.masked, state.target.float()
        patch = target.shape[-1] // grid[1]
        self.interpolation.add(interpolate_hidden(target, masked, grid), target, masked, patch)

    def _word_recovery(self, task: PretrainingTask, state: PretrainingState, patients: list[str]) -> None:
        """Both images are whole, so that only whose image it is differs."""
        fused = "report_reconstruction" in task.options and "fusion" in task.backbone.parts
        partner = other_patient(patients)
        if not fused or task.tokenizer_json is None or partner is None:
            return
        image, ids, mask = state.image, state.input_ids, state.attention_mask
        assert image is not None and ids is not None and mask is not None
        assert state.word_ids is not None and state.report_mask is not None
        tokenizer = Tokenizer.from_json(task.tokenizer_json)
        pieces = finding_word_pieces(ids, state.word_ids, tokenizer, self.prompts.finding_words)
        places = pieces.to(task.device) & state.report_mask.masked
        own, other = (
            task.recover_report(one, state.report_mask.input_ids, mask, places)
            for one in (image, image[partner.to(task.device)])
        )
        layers = task.backbone.fusion.memory_use(state.whole_image, state.text_features, mask)
        memory: dict[str, tuple[Tensor, Tensor]] = {}
        if layers:
            of_image, of_memory, entropy = (
                torch.stack([of(use)[places] for use in layers])
                for of in (lambda use: use.of_image, lambda use: use.of_memory, lambda use: use.entropy)
            )
            memory["memory_contribution"] = of_memory.sum(), of_image.sum()
            memory["slot_entropy"] = entropy.sum(), torch.tensor(entropy.numel())
        self.words.add(ids[places], own, other, memory)

    def _zero_shot(self, task: PretrainingTask, rows: dict[str, np.ndarray]) -> Scores:
        if "labels" not in rows or "image_embedding" not in rows:
            return {}
        evaluator = ZeroShotEvaluator(self.prompts, task.data_spec.classes)
        if not evaluator.classes:
            return {}
        directions = evaluator.directions(task.encode_texts(evaluator.texts)).cpu().numpy()
        labels, scores = rows["labels"][:, evaluator.columns], rows["image_embedding"] @ directions.T
        found = classification_scores(labels, scores, evaluator.classes)
        names = {AUROC.of(name): Metric(f"zero_shot/{name}", unit="share") for name in evaluator.classes}
        names[AUROC] = Metric("zero_shot_auroc", unit="share", headline=True, baseline=0.5)
        return {metric: found[auroc] for auroc, metric in names.items() if auroc in found}

    @torch.no_grad()
    def _probe(self, task: PretrainingTask, rows: dict[str, np.ndarray]) -> Scores:
        """On the first training studies in hash order, one image a study, without augmentation."""
        if "labels" not in rows or "image" not in rows:
            return {}
        samples = task.data.probe_samples(self.probe.shots * self.probe.draws)
        features: list[Tensor] = []
        labels: list[Tensor] = []
        for chosen in torch.arange(len(samples)).split(task.data.batch_size):
            batch = collate([samples[i] for i in chosen.tolist()])
            seen: dict[str, Any] = {
                name: batch[name].to(task.device) for name in ("image", "views", "view_kinds") if name in batch
            }
            features.append(task.encode(seen)["image"].float().cpu())
            labels.append(batch["labels"])
        train = (torch.cat(features).numpy(), torch.cat(labels).numpy())
        return self.probe.evaluate(*train, rows["image"], rows["labels"], task.data_spec.classes)


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
    return {replace(metric, headline=False): value for metric, value in RetrievalEvaluator(pairs).evaluate().items()}
