"""Image–text retrieval by global embeddings (`dual`) and fusion (`rerank`), zero-shot or fine-tuned."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure

from data_modules.errors import UserError, expect
from mpma_lightning.evaluation.bootstrap import mean_intervals
from mpma_lightning.evaluation.both_directions import (
    DIRECTIONS,
    Columns,
    RetrievalEvaluator,
    choose_alpha,
    hit,
    shortlisted,
)
from mpma_lightning.evaluation.classification import one_class_each
from mpma_lightning.evaluation.finite import refuse_broken
from mpma_lightning.evaluation.fused_pairs import EncodedPairs
from mpma_lightning.evaluation.metric import Metric, Scores, count, reference
from mpma_lightning.evaluation.rerank import Shortlist
from mpma_lightning.figures.retrieval import Query, images_of_texts, texts_of_images
from mpma_lightning.masking import ReportMask
from mpma_lightning.objectives.global_alignment import GlobalAlignmentOptions
from mpma_lightning.objectives.match_ranking import MatchRankingOptions
from mpma_lightning.objectives.state import PretrainingState
from mpma_lightning.precision import full
from mpma_lightning.protocols import RetrievalProtocol, protocol_named
from mpma_lightning.tasks.base import Step
from mpma_lightning.tasks.supervised import SupervisedTask

GALLERY = 5
"""Retrieved items for each query of a figure."""
HEAD = "image_text_matching.head"
"""Name of the matching head in the weights, also in pre-training."""


class RetrievalTask(SupervisedTask):
    """Retrieves texts for images and images for texts; items of the same study or with the same text are positives.

    With ``checkpoint``, its matching head is loaded if its fusion is.

    Args:
        contrast: InfoNCE loss of fine-tuning.
        matching: matching loss of fine-tuning, off by default.
        scorer: of ``validate`` and ``test``; ``fit`` validates by ``dual``. ``rerank`` adds metrics ``rerank/…``: the
            first ``shortlist`` items of each query by ``dual`` are sorted by dual + α · match, where α gives the best
            mAP on the validation split, for each direction (0: reranking does not help).
        shortlist: k; fusion encodes at most 2 N k pairs.
        multiclass: in ``test``, items of the same class are positives; every sample has exactly one of these classes.
            Reports hit rate and precision at 1, 5 and 10 (``ret-mimic-5x200`` [PTUnifier]); ``dual`` only.
        protocol: evaluation protocol, according to data and ``multiclass``: ``ret-pairs``, ``ret-roco-2k`` or
            ``ret-mimic-5x200``.
    """

    step_metrics = (Metric("matching_accuracy", unit="share"),)

    selectable = tuple(hit(name, "r", k) for name in ("i2t", "t2i") for k in (1, 5, 10))
    figure_samples = 4
    reads_views = True

    def __init__(
        self,
        *,
        contrast: GlobalAlignmentOptions | None = None,
        matching: MatchRankingOptions | None = None,
        scorer: Literal["dual", "rerank"] = "dual",
        shortlist: int = 16,
        multiclass: Sequence[str] = (),
        protocol: str = "ret-pairs",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        protocol_named(protocol, RetrievalProtocol)
        self.contrast, self.matching = contrast or GlobalAlignmentOptions(), matching or MatchRankingOptions()
        for name, weight in self.loss_weights.items():
            expect(weight >= 0, f"model.{name}.weight", weight, "0 (off) or more")
        self.scorer, self.shortlist, self.multiclass = scorer, shortlist, list(multiclass)
        self.protocol = protocol
        self.reads_labels = bool(multiclass)
        expect(shortlist >= 1, "model.shortlist", shortlist, "at least 1")
        comparable = scorer == "dual" or not multiclass
        expect(
            comparable, "model.scorer", scorer, "dual with model.multiclass, as α is chosen by pairs and not by classes"
        )
        self.tokens = EncodedPairs()
        self.alpha: dict[str, float] = {}
        self.orders: dict[str, Shortlist] | None = None
        self.evaluated: Columns = {}

    @property
    def parts(self) -> tuple[str, ...]:
        return ("align_global", "fusion") if self._matches else ("align_global",)

    @property
    def _matches(self) -> bool:
        return self.matching.weight > 0 or self.scorer == "rerank"

    @property
    def _reranks(self) -> bool:
        return self.scorer == "rerank" and self.trainer.state.fn != "fit"

    @property
    def _letter(self) -> str:
        return "h" if self.multiclass and self.trainer.state.fn == "test" else "r"

    @property
    def loss_weights(self) -> dict[str, float]:
        return {"contrast": self.contrast.weight, "matching": self.matching.weight}

    def build_heads(self) -> None:
        self.global_alignment = self.contrast.build(self.backbone)
        known: list[str] = self.data_spec.classes
        if unknown := [name for name in self.multiclass if name not in known]:
            raise UserError(f"model.multiclass names {unknown[0]!r}; classes of the data: {', '.join(known) or 'none'}")
        if not self._matches:
            return
        self.image_text_matching = self.matching.build(self.backbone)
        carried = self.source.head(HEAD) if self.source else {}
        if carried and (self.checkpoint_parts is None or "fusion" in self.checkpoint_parts):
            self.image_text_matching.head.load_state_dict(carried)
            self.trained = True

    def _state(self, batch: dict[str, Any], training: bool = False) -> PretrainingState:
        ids = batch["input_ids"]
        return PretrainingState(
            self.backbone,
            image=self.images(batch),
            further=self.further_views(batch),
            input_ids=ids,
            attention_mask=batch["attention_mask"],
            report_mask=ReportMask.nothing(ids),
            group=batch["group"],
            seed=batch["seed"],
            pairing="separate",
            across_ranks=training,
        )

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        state = self._state(batch, training=stage == "train")
        outcome: Step = {"contrast_loss": self.global_alignment(state)}
        if self.matching.weight > 0 and (self.trained or self.trainer.state.fn == "fit"):
            outcome["matching_loss"] = self.image_text_matching(state)
            outcome |= self.image_text_matching.monitor(state)
        if stage != "train":
            self._collect(state, batch)
        return outcome

    def _collect(self, state: PretrainingState, batch: dict[str, Any]) -> None:
        labels = {"labels": batch["labels"]} if "labels" in batch else {}
        image, text = full(state.global_image), full(state.global_text)
        self.check_finite(image_embedding=image, text_embedding=text)
        self.keep(batch, group=batch["group"], image=image, text=text, **labels)
        if self._reranks:
            tokens = state.aligned_text if self.backbone.fusion.reads_text_features else None
            self.tokens.add(state.aligned_image, tokens, batch["input_ids"], batch["attention_mask"])

    def score(self, rows: Columns, stage: str) -> Scores:
        self.evaluated = rows
        if self._letter == "h":
            classes: list[str] = self.data_spec.classes
            rows["group"] = one_class_each(rows["id"], rows["labels"], classes, self.multiclass).argmax(1)
        evaluator = RetrievalEvaluator(rows, self._letter)
        found = evaluator.evaluate()
        if self._reranks:
            found |= self._rerank(evaluator, stage)
        if stage == "test":
            self.samples = evaluator.samples()
            found |= mean_intervals(self.samples.values, self.samples.patients)
        return found

    def _rerank(self, evaluator: RetrievalEvaluator, stage: str) -> dict[Metric, float]:
        self.orders, pairs = self._shortlisted(evaluator.rows)
        if stage == "val":
            self.alpha = choose_alpha(evaluator.rows, self.orders)
        for name, order in self.orders.items():
            order.alpha = self.alpha[name]
        alphas = {reference(f"rerank/{name}_alpha", unit="ratio"): alpha for name, alpha in self.alpha.items()}
        return evaluator.rerank(self.orders) | {count("rerank/fused_pairs"): float(pairs)} | alphas

    def _shortlisted(self, rows: Columns) -> tuple[dict[str, Shortlist], int]:
        tokens, self.tokens = self.tokens, EncodedPairs()

        def match(pairs: np.ndarray) -> np.ndarray:
            scores = tokens.score(pairs, self.backbone, self.image_text_matching.head)
            refuse_broken(rows["id"][pairs[:, 0]], match_scores=scores)
            return scores

        with self.trainer.precision_plugin.forward_context():
            return shortlisted(rows, self.shortlist, match)

    def on_fit_start(self) -> None:
        if self._matches and self.matching.weight <= 0:
            raise UserError(
                "model.scorer is rerank, but model.matching.weight is 0, so fusion would not be trained; set a weight "
                "above 0, or fit with --model.scorer dual"
            )

    def on_validation_start(self) -> None:
        if self._reranks:
            self.refuse_untrained()

    @torch.no_grad()
    def on_test_start(self) -> None:
        """For rerank, choose α on the validation split."""
        if not self._reranks:
            return
        self.refuse_untrained()
        data = self.data
        if not data.spec.counts["val"]:
            raise UserError(f"{data.spec.name} has no validation split to choose α of rerank on; use model.scorer dual")
        for batch in data.val_dataloader():
            batch = self.trainer.strategy.batch_to_device(batch)
            with self.trainer.precision_plugin.forward_context():
                self._collect(self._state(batch), batch)
        rows = self.gather_rows()
        self.alpha = choose_alpha(rows, self._shortlisted(rows)[0])

    def on_predict_start(self) -> None:
        """Embeddings need no head."""

    def refuse_untrained(self) -> None:
        if not self.trained:
            raise UserError(
                f"model.scorer rerank needs a model trained with the matching loss, and the weights hold no {HEAD}: "
                "pre-train with model.objectives.image_text_matching.weight above 0, or fit with model.matching.weight "
                "above 0, or use model.scorer dual"
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self._matches:
            self.trained = f"{HEAD}.weight" in checkpoint["state_dict"]
            self.refuse_untrained()

    def result_entries(self) -> dict[str, Any]:
        return {"scorer": self.scorer if self._reranks else "dual"} | (
            {"alpha": self.alpha, "shortlist": self.shortlist} if self.alpha else {}
        )

    def epoch_figures(self, stage: str, count: int) -> dict[str, Figure]:
        """The queries ``figure_ids``, or some, spread evenly over the split, with the first items of the ranking."""
        rows = self.evaluated
        if not len(rows["group"]):
            return {}
        data, items = self.data.samples(stage), len(rows["group"])
        place = {name: i for i, name in enumerate(data.table.column("id").to_pylist())}
        chosen = np.unique(np.linspace(0, items - 1, count).astype(int))
        if self.figure_ids is not None:
            known = {name: row for row, name in enumerate(rows["id"].tolist())}
            chosen = np.array([known[name] for name in self.figure_ids])
        true = "of the same class" if self._letter == "h" else "of the same study or with the same text"
        found = {}
        for name, (query, gallery) in DIRECTIONS.items():
            queries = []
            for row in chosen.tolist():
                scores = rows[query][[row]] @ rows[gallery].T
                if self.orders is not None:
                    scores = self.orders[name].of(slice(row, row + 1))(scores, 0)
                ranked = np.argsort(-scores[0], kind="stable")
                hits = rows["group"][ranked] == rows["group"][row]
                best = [place[rows["id"][j]] for j in ranked[:GALLERY]]
                queries.append(Query(place[rows["id"][row]], best, hits[:GALLERY].tolist(), int(hits.argmax()) + 1))
            draw = texts_of_images if gallery == "text" else images_of_texts
            found[f"retrieval_{name}"] = draw(data, queries, items, true)
        return found

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ids and embeddings."""
        found: dict[str, Any] = {"id": batch["id"]}
        if "image" in batch:
            image = self.with_views(self.backbone.image(self.images(batch)), batch)
            found["image_embedding"] = self.backbone.embed_image(image)
        if "input_ids" in batch:
            text = self.backbone.text(batch["input_ids"], batch["attention_mask"])
            found["text_embedding"] = self.backbone.embed_text(text)
        return found
