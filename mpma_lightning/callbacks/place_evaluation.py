"""Online evaluation of place: whether sentences find their image by its patches, and what a corner patch knows."""

from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from data_modules.loading.loader import collate
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.evaluation.epoch import Rows
from mpma_lightning.evaluation.leak import corner_features, leak_scores
from mpma_lightning.evaluation.metric import Scores
from mpma_lightning.evaluation.sentence_choice import SentenceChoiceEvaluator
from mpma_lightning.evaluation.sentences import Sentences
from mpma_lightning.evaluation.word_recovery import other_patient
from mpma_lightning.objectives import PretrainingState
from mpma_lightning.tasks.pretraining import PretrainingTask


class PlaceEvaluation(Callback):
    """Scores the local features of a :class:`PretrainingTask` at the end of every validation and test epoch.

    ``sentence_choice`` is the share of sentences that find their own image by the patches they attend to, positive and
    negated ones apart. ``leak`` is the AUROC of a linear probe of the findings on the top left patch alone: the pixels
    that its token depends on before attention, and its token at every level that local alignment may read. A level is
    local where it knows no more than these pixels. What the data or the objectives do not allow is left out.

    Args:
        train_samples: labelled training samples on which the probes of ``leak`` are fitted.
        batches: batches of each process that are read.
    """

    def __init__(self, train_samples: int = 500, batches: int = 16) -> None:
        self.train_samples, self.batches = train_samples, batches

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.corners, self.choice = Rows(), SentenceChoiceEvaluator()

    @torch.no_grad()
    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        assert isinstance(pl_module, PretrainingTask)
        if batch_idx >= self.batches or "image" not in batch or "image" not in pl_module.backbone.parts:
            return
        if "labels" in batch:
            self.corners.add(labels=batch["labels"], **_corners(pl_module, batch))
        if "text" in batch and "align_local" in pl_module.backbone.parts:
            self._choose(pl_module, outputs["state"], batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        assert isinstance(pl_module, PretrainingTask)
        scores = {**self._leak(pl_module, self.corners.gather()), **self.choice.compute()}
        pl_module.log_scores("test" if trainer.testing else "val", scores)

    on_test_epoch_start, on_test_epoch_end = on_validation_epoch_start, on_validation_epoch_end
    on_test_batch_end = on_validation_batch_end

    def _choose(self, task: PretrainingTask, state: PretrainingState, batch: dict[str, Any]) -> None:
        partner = other_patient(batch["patient"])
        if partner is None:
            return
        assert task.tokenizer_json is not None
        longest = batch["input_ids"].shape[1]
        sentences = Sentences.of(batch["text"], Tokenizer.from_json(task.tokenizer_json), longest, task.device)
        patches = task.backbone.embed_patches(PretrainingState(task.backbone, image=state.image).whole_image)
        self.choice.add(sentences, sentences.queries(task.backbone), patches, partner.to(task.device))

    @torch.no_grad()
    def _leak(self, task: PretrainingTask, test: dict[str, np.ndarray]) -> Scores:
        """Probes fitted on the first training studies in hash order, one image a study, without augmentation."""
        if set(test) <= {"labels"}:
            return {}
        samples, train = task.data.probe_samples(self.train_samples), Rows()
        for chosen in torch.arange(len(samples)).split(task.data.batch_size):
            batch = collate([samples[i] for i in chosen.tolist()])
            train.add(labels=batch["labels"], **_corners(task, {"image": batch["image"].to(task.device)}))
        known = train.columns()
        return leak_scores(known, known.pop("labels"), test, test.pop("labels"), task.data_spec.classes)


def _corners(task: PretrainingTask, batch: dict[str, Any]) -> dict[str, Tensor]:
    return corner_features(task.backbone.image, task.images(batch))
