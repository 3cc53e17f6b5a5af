"""ExplainedReports: what report generation has beside its decoder: evidence of sentences, and baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from data_modules.index.words import normalise
from data_modules.text.sentences import sentences
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones import Backbone, Features
from mpma_lightning.backbones.weights import load_weights
from mpma_lightning.evaluation.epoch import Rows
from mpma_lightning.evaluation.metric import Metric, reference
from mpma_lightning.evaluation.reports.baselines import NearestReports, most_frequent
from mpma_lightning.evaluation.reports.evidence import (
    Sentence,
    best_threshold,
    judged,
    sentences_of,
    states_a_finding,
)
from mpma_lightning.evaluation.reports.scores import FINDING_F1, ReportScores, gain
from mpma_lightning.evaluation.reports.sentence_maps import SentenceMaps, sentence_maps
from mpma_lightning.evaluation.word_recovery import other_patient
from mpma_lightning.masking import ReportMask
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions
from mpma_lightning.objectives.state import PretrainingState
from mpma_lightning.tasks.supervised import SupervisedTask

_tokenizer = lru_cache(maxsize=2)(Tokenizer.from_json)


class ExplainedReports(SupervisedTask):
    """A task that writes reports from images.

    Args:
        evidence: local alignment of words and patches, trained beside the decoder; weight 0, or a ``checkpoint``
            without it: maps come from the attention of fusion alone, and no sentence is judged.
    """

    def __init__(self, *, evidence: LocalAlignmentOptions, **common: Any) -> None:
        super().__init__(**common)
        self.evidence = evidence
        self._held = {name.partition(".")[0] for name in self.source.state} if self.source else set()
        loaded = self.source is not None and self.checkpoint_parts is None
        self.aligns = evidence.weight > 0 and (not loaded or self.holds("align_local"))
        self.threshold: float | None = None
        self._compared = Rows()
        self._retriever: list[Backbone] = []  # in a list, so that it is no part of the checkpoint
        self._nearest: NearestReports | None = None

    def holds(self, part: str) -> bool:
        """Whether the checkpoint has a part of the backbone."""
        return part in self._held

    @property
    def decoder_parts(self) -> tuple[str, ...]:
        """Backbone parts that the decoder needs."""
        raise NotImplementedError

    @property
    def parts(self) -> tuple[str, ...]:
        return (*self.decoder_parts, "align_local") if self.aligns else self.decoder_parts

    @property
    def modalities(self) -> tuple[str, ...]:
        return ("image", "text")

    @property
    def loss_weights(self) -> dict[str, float]:
        return {"evidence": self.evidence.weight}

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the reports."""
        assert self.tokenizer_json is not None
        return _tokenizer(self.tokenizer_json)

    @property
    def training_reports(self) -> list[str]:
        """Texts of the training samples; none where the data have no table, as a folder of images."""
        if self.data.index is None or "text" not in self.data.index:
            return []
        texts: list[str] = self.training_rows["text"].dropna().tolist()
        return texts

    def build_heads(self) -> None:
        if self.aligns:
            self.local_alignment = self.evidence.build(self.backbone)
        elif self.evidence.weight > 0:
            rank_zero_info("evidence: the checkpoint has no local alignment; sentences are not judged")
        if (
            self.trainer.state.fn == "test"
            and self.source is not None
            and self.source.spec
            and self.holds("align_global")
        ):
            spec = replace(self.source.spec, image=replace(self.source.spec.image, weights=None))
            retriever = Backbone(spec, ("align_global",), self._vocabulary(), self.source.text_config)
            load_weights(retriever, self.source, self.tokenizer_json)
            self._retriever = [retriever.requires_grad_(False).eval()]

    # evidence

    def alignment_loss(self, image: Features, batch: Mapping[str, Any], training: bool) -> dict[str, Any]:
        """The loss ``evidence_loss`` of local alignment; empty without it."""
        if not self.aligns:
            return {}
        ids = batch["input_ids"]
        state = PretrainingState(
            self.backbone,
            image=batch["image"],
            input_ids=ids,
            attention_mask=batch["attention_mask"],
            word_ids=batch["word_ids"],
            report_mask=ReportMask.nothing(ids),
            group=batch["group"],
            seed=batch["seed"],
            pairing="separate",
            across_ranks=training,
        )
        vars(state)["whole_image"] = image  # already computed
        return {"evidence_loss": self.local_alignment(state)}

    @torch.no_grad()
    def compare_evidence(self, image: Features, batch: Mapping[str, Any]) -> None:
        """Score the references' sentences about findings at their own image, and at one of another patient whose report
        lacks them."""
        partner = other_patient(batch["patient"]) if self.aligns else None
        if partner is None:
            return
        lacks = [{normalise(sentence) for sentence in sentences(text)} for text in batch["text"]]
        pairs = [
            (text, place, int(partner[place]))
            for text, place in zip(*sentences_of(batch["text"]), strict=True)
            if states_a_finding(text) and normalise(text) not in lacks[int(partner[place])]
        ]
        if not pairs:
            return
        texts, own, other = zip(*pairs, strict=True)
        told = self.tokenised([*texts])
        scores = {}
        for name, places in (("own", own), ("other", other)):
            found = sentence_maps(self.backbone, image, told, torch.tensor(places, device=self.device), attend=False)
            assert found.scores is not None
            scores[name] = found.scores
        self._compared.add(**scores)

    def choose_threshold(self) -> dict[Metric, float]:
        """The score below which a sentence counts as without evidence, from what was compared; a collective."""
        rows, self._compared = self._compared.gather(), Rows()
        chosen = best_threshold(rows["own"], rows["other"]) if rows else None
        if chosen is None:
            return {}
        self.threshold = chosen
        right = ((rows["own"] >= chosen).mean() + (rows["other"] < chosen).mean()) / 2
        return {Metric("evidence_accuracy", unit="share"): float(right)}

    @torch.no_grad()
    def _threshold_of_validation(self) -> None:
        """For weights that were never validated: choose the threshold on the validation split."""
        if not self.aligns or self.threshold is not None or self.data.trainer is None:
            return
        if self.data.index is None or not self.data_spec.counts.get("val"):
            rank_zero_info("evidence: no validation split to choose a threshold on; sentences are not judged")
            return
        for batch in self.data.val_dataloader():
            batch = self.trainer.strategy.batch_to_device(batch)
            with self.trainer.precision_plugin.forward_context():
                self.compare_evidence(self.backbone.local_image(self.images(batch)), batch)
        self.choose_threshold()

    def on_test_start(self) -> None:
        super().on_test_start()
        if self.trainer.state.fn == "test":
            self._threshold_of_validation()

    def on_predict_start(self) -> None:
        super().on_predict_start()
        self._threshold_of_validation()

    @torch.no_grad()
    def explained(self, image: Features, reports: Sequence[str]) -> list[list[Sentence]]:
        """The sentences of B reports with their evidence in their images."""
        texts, places = sentences_of(reports)
        told = SentenceMaps(None, None)
        if texts and "text" in self.backbone.parts:
            at = torch.tensor(places, device=self.device)
            told = sentence_maps(self.backbone, image, self.tokenised(texts), at)
            if told.scores is not None:
                lowest = told.scores.new_full((len(reports),), torch.inf).scatter_reduce(0, at, told.scores, "amin")
                self.check_finite(evidence=lowest.nan_to_num(torch.nan, 0.0))  # 0 for a report without a sentence
        found: list[list[Sentence]] = [[] for _ in reports]
        for place, sentence in zip(places, judged(texts, told.maps, told.scores, self.threshold), strict=True):
            found[place].append(sentence)
        return found

    # baselines

    def baseline_columns(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Embeddings of the images by the checkpoint's own retrieval, before any fine-tuning; empty without it."""
        if not self._retriever:
            return {}
        retriever = self._retriever[0].to(self.device)
        return {"retrieval": retriever.embed_image(retriever.image(self.images(dict(batch)))).float()}

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> Tensor:
        retriever, told = self._retriever[0], self.tokenised(texts)
        return retriever.embed_text(retriever.text(told["input_ids"], told["attention_mask"])).float()

    def baseline_scores(self, ours: ReportScores, rows: Mapping[str, np.ndarray]) -> dict[Metric, float]:
        """Scores of the most frequent and of the nearest training report, and what ``ours`` gains; a collective."""
        reports = self.training_reports
        drafts = {"most_frequent": [most_frequent(reports)] * len(ours.references)} if reports else {}
        if reports and "retrieval" in rows:
            self._nearest = self._nearest or NearestReports(reports, self._encode)
            drafts["nearest_report"] = self._nearest.of(rows["retrieval"])
        found: dict[Metric, float] = {}
        for name, texts in drafts.items():
            theirs = ReportScores(texts, ours.references, ours.patients, ours.split)
            for metric, value in theirs.scores().items():
                found[reference(f"{name}/{metric.name}", metric.unit, headline=metric == FINDING_F1)] = value
            found |= gain(ours, theirs, f"gain_over_{name}")
        return found
