"""Zero-shot classification by global, local and combined similarity of images to prompt ensembles."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from data_modules.errors import UserError, expect
from mpma_lightning.evaluation.classification import (
    AUROC,
    AUROC_CORE,
    auroc_interval,
    classification_scores,
    exclusive_scores,
    one_class_each,
)
from mpma_lightning.evaluation.metric import Metric, Scores, with_interval
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.evaluation.zero_shot import (
    ZeroShotEvaluator,
    ZeroShotScorer,
    combine,
    load_prompts,
    standardise,
)
from mpma_lightning.predictions.table import TableWriter
from mpma_lightning.protocols import ZeroShotProtocol, protocol_named
from mpma_lightning.tasks.base import Step
from mpma_lightning.tasks.training_free import TrainingFreeTask


class ZeroShotTask(TrainingFreeTask):
    """Classification without training: ``test`` and ``predict`` only.

    The score of a finding is the similarity to its positive prompts less that to its negative ones. ``global``: to the
    mean embedding of each ensemble. ``local``: mean over prompts of the word-aggregated similarity, which pre-training
    trains only with ``local_alignment.negatives: batch``. ``combined``: the mean of both after z-normalisation over the
    images.

    Args:
        protocol: ``zs-prompt``, or ``zs-5x200`` with ``multiclass``: the largest similarity to one of the positive
            prompts; ``combined`` is that of the mean of both similarities [GLoRIA]. The ids of expert-labelled test
            sets, such as ``zs-chexpert-500``, are tied to their data modules.
        prompts: a shipped prompt file (``chest_xray``; ``names``: the class and "no" before it) or a path.
        similarities: ``global``, ``local`` or both.
        temperature: of the attention of words over patches; as in local alignment of the pre-training.
        multiclass: classes of which every test image has exactly one, such as the five of CheXpert 5x200. Also reports
            accuracy and macro F1 of the class with the highest score, z-normalised over the images [GLoRIA].
    """

    reads_views = True

    def __init__(
        self,
        *,
        protocol: str = "zs-prompt",
        prompts: str = "chest_xray",
        similarities: Sequence[Literal["global", "local"]] = ("global", "local"),
        temperature: float = 0.1,
        multiclass: Sequence[str] = (),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if not similarities:
            raise UserError("model.similarities is empty; expected global, local or both")
        expect(temperature > 0, "model.temperature", temperature, "more than 0")
        self.protocol, self.rule = protocol, protocol_named(protocol, ZeroShotProtocol)
        expect(bool(multiclass) or not self.rule.positives_only, "model.multiclass", list(multiclass),
               f"the exclusive classes that {protocol} compares; or take model.protocol zs-prompt")  # fmt: skip
        self.prompts, self.temperature = load_prompts(prompts), temperature
        self.similarities, self.multiclass = list(similarities), list(multiclass)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(f"align_{name}" for name in self.similarities)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Images only: the texts are the prompts."""
        return ("image",)

    @property
    def needs_tokenizer(self) -> bool:
        return self.tokenizer_json is None

    @property
    def classes(self) -> list[str]:
        """Names of the K scored classes."""
        return self.evaluator.classes

    def configure_model(self) -> None:
        if self.tokenizer_json is None and self.data_spec.tokenizer is None:
            raise UserError("zero-shot needs the tokeniser of a pre-training: give --model.checkpoint")
        super().configure_model()

    def build_heads(self) -> None:
        """Choose the classes: those of the data that have prompts; all findings where the data have no classes."""
        spec = self.data_spec
        if self.rule.data not in ("", spec.name):
            raise UserError(f"model.protocol {self.protocol} is defined on {self.rule.data}, the data are {spec.name}; "
                            "take zs-prompt, or that data set")  # fmt: skip
        self.evaluator = ZeroShotEvaluator(self.prompts, spec.classes, self.rule.positives_only)
        if not self.classes:
            raise UserError(f"no class of {spec.name} ({', '.join(spec.classes)}) has prompts; model.prompts has "
                            f"{', '.join(self.prompts.positive)}")  # fmt: skip
        if without := [name for name in spec.classes if name not in self.classes]:
            rank_zero_info(f"not scored, without prompts: {', '.join(without)}")
        if unknown := [name for name in self.multiclass if name not in self.classes]:
            raise UserError(
                f"model.multiclass names {unknown[0]!r}, which is not scored; scored: {', '.join(self.classes)}"
            )

    def on_validation_start(self) -> None:
        self._embed_prompts()

    def on_test_start(self) -> None:
        self._embed_prompts()

    def on_predict_start(self) -> None:
        self._embed_prompts()

    def _embed_prompts(self) -> None:
        prompts = self.tokenised(self.evaluator.texts)
        self._scorer = ZeroShotScorer(
            self.backbone, self.evaluator, prompts, self.similarities, self.temperature, self.rule.positives_only
        )

    def similarity(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """(B, K) scores by similarity: ``global``, ``local``."""
        return self._scorer(self.with_views(self.backbone.local_image(self.images(batch)), batch))

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        if "labels" not in batch:
            raise UserError("the data have no labels, which metrics need; run `predict`, which writes scores")
        labels = batch["labels"][:, self.evaluator.columns]
        scores = self.similarity(batch)
        self.check_finite(**{f"{name}_scores": values for name, values in scores.items()})
        self.keep(batch, labels=labels, **scores)
        return {}

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        labels = rows["labels"]
        names = [name for name in (*self.similarities, "combined") if name in rows]
        scores: dict[str, np.ndarray] = {name: rows[name].astype(np.float64) for name in names}
        if len(scores) > 1 and "combined" not in scores:
            scores["combined"] = combine(list(scores.values()))
        found: dict[Metric, float] = {}
        for name, values in scores.items():
            metrics = classification_scores(labels, values, self.classes)
            if core := [metrics[AUROC.of(name)] for name in self.rule.core if AUROC.of(name) in metrics]:
                metrics[AUROC_CORE] = float(np.mean(core))
            if self.multiclass:
                metrics |= self._accuracy(rows["id"], labels, values)
            if AUROC in metrics:
                metrics |= with_interval(AUROC, auroc_interval(labels, values, rows["patient"]))
            found |= {metric.under(name): value for metric, value in metrics.items()}
        if stage == "test":
            self.samples = SampleTable(
                rows["id"],
                rows["patient"],
                classes=self.classes,
                labels=labels,
                scores={(AUROC.under(name), ""): values for name, values in scores.items()},
            )
        return found

    def _accuracy(self, ids: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> dict[Metric, float]:
        chosen = one_class_each(ids, labels, self.classes, self.multiclass)
        columns = [self.classes.index(name) for name in self.multiclass]
        return exclusive_scores(chosen, standardise(scores[:, columns]))

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ids and a score for each class and similarity."""
        scores = self.similarity(batch)
        columns = {f"{kind}/{c}": values[:, k] for kind, values in scores.items() for k, c in enumerate(self.classes)}
        return {"id": batch["id"], **columns}

    def prediction_writer(self) -> TableWriter:
        return TableWriter("scores.parquet")

    def result_entries(self) -> dict[str, Any]:
        return {"classes": self.classes, **super().result_entries()}
