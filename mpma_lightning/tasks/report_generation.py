"""Report generation by unmasking or from left to right, with evidence for every sentence."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from matplotlib.figure import Figure
from torch import Tensor

from data_modules.errors import UserError, expect
from data_modules.text.drafts import segments
from mpma_lightning.backbones import Features
from mpma_lightning.evaluation.metric import Metric, Scores, reference
from mpma_lightning.evaluation.reports.infill import half_given, infill_scores
from mpma_lightning.evaluation.reports.prose import prose
from mpma_lightning.evaluation.reports.scores import FINDING_F1, ReportScores
from mpma_lightning.evaluation.reports.words import r2gen_words, words
from mpma_lightning.evaluation.samples import SampleTable
from mpma_lightning.figures.reports import report_cards
from mpma_lightning.heads.causal_decoder import CausalDecoder, CausalOptions
from mpma_lightning.heads.report_decoder import ReportDecoder, Segments, Written
from mpma_lightning.heads.unmask_decoder import UnmaskDecoder, UnmaskOptions, refuse_gaps
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions
from mpma_lightning.predictions.reports import FORMATS, DraftWriter
from mpma_lightning.protocols import ReportProtocol, protocol_named
from mpma_lightning.tasks.base import Step
from mpma_lightning.tasks.explained_reports import ExplainedReports

DRAFTER = "report_decoder"
"""Key in a checkpoint: which decoder, its positions and the threshold of evidence."""
SPEED = Metric("drafts_per_second", unit="ratio")
HEAD = "report_reconstruction.head"
"""Name of the report head in the weights of a pre-training."""
MOST_LENGTHS = 5000
"""Training reports whose length is measured."""


class ReportGenerationTask(ExplainedReports):
    """Drafts the report of an image. Names for ``optim.scale``: ``decoder``, ``backbone.fusion``.

    ``unmask`` takes the report head of a pre-training along, with which it also drafts without fine-tuning (`test`
    with ``model.checkpoint`` alone).

    Args:
        decoder: ``causal``, a small decoder that writes from left to right with beam search, or ``unmask``, iterative
            unmasking through fusion and the report head: several times faster and worse, the one that fills gaps.
        unmask: options of the latter.
        causal: options of the former.
        evidence: local alignment, trained beside the decoder, so that the maps of sentences stay true; weight 0: none.
        given: share of the sentences of each reference that ``test`` gives to the decoder to fill in the others;
            metrics ``infill/…``. 0: none.
        protocol: evaluation protocol: ``rrg-pairs``, ``rrg-mimic-findings``, ``rrg-mimic-report`` or ``rrg-iu-r2gen``.
    """

    monitor = FINDING_F1
    head_title = "report decoder"
    completes_drafts = True
    annotations = ("boxes",)  # with them, samples have the size of their image
    prediction_formats = FORMATS
    figure_samples = 4

    def __init__(
        self,
        *,
        decoder: Literal["causal", "unmask"] = "causal",
        unmask: UnmaskOptions | None = None,
        causal: CausalOptions | None = None,
        evidence: LocalAlignmentOptions | None = None,
        given: float = 0.0,
        protocol: str = "rrg-pairs",
        **common: Any,
    ) -> None:
        super().__init__(evidence=evidence or LocalAlignmentOptions(weight=0.25), **common)
        self.protocol, self.rule = protocol, protocol_named(protocol, ReportProtocol)
        self.kind, self.unmask, self.causal = decoder, unmask or UnmaskOptions(), causal or CausalOptions()
        expect(0 <= given < 1, "model.given", given, "0 <= share < 1")
        expect(
            not given or decoder == "unmask", "model.given", given, "0 with model.decoder causal, which fills no gaps"
        )
        self.given = given
        loaded = self.source is not None and self.checkpoint_parts is None
        if decoder == "unmask" and loaded and not self.holds("fusion"):
            assert self.source is not None
            raise UserError(
                f"checkpoint {self.source.path} has no fusion, through which model.decoder unmask writes; "
                "pre-train with report reconstruction, set model.decoder to causal, or name the parts to load in "
                "model.checkpoint_parts"
            )
        self._seconds, self._written = 0.0, 0

    @property
    def decoder_parts(self) -> tuple[str, ...]:
        return UnmaskDecoder.parts if self.kind == "unmask" else CausalDecoder.parts

    def configure_model(self) -> None:
        built = self._built
        super().configure_model()
        if not built:
            self.decoder.begin_from(self.backbone)

    def build_heads(self) -> None:
        found = getattr(self.data, "sections", None)
        if found is not None and self.rule.sections not in (None, found):
            raise UserError(
                f"model.protocol {self.protocol} drafts {self.rule.sections}, found data.sections {found}; set one of "
                "both to fit the other"
            )
        self._build_decoder(self.data_spec.max_tokens or 128)
        super().build_heads()

    def _build_decoder(self, positions: int) -> None:
        """A new decoder for reports of that many positions; of a pre-training it takes the report head along."""
        tokenizer, text = self.tokenizer, self.spec.text
        if self.kind == "causal":
            width = text.width or self.backbone.image.width
            heads = text.heads or max(1, width // 64)
            ends = (tokenizer.cls_id, tokenizer.sep_id)
            self.decoder: ReportDecoder = CausalDecoder(self.causal, self.backbone, positions, width, heads, ends)
            return
        special = (tokenizer.cls_id, tokenizer.sep_id, tokenizer.unk_id)
        self.decoder = unmask = UnmaskDecoder(self.unmask, self.backbone, positions, self._lengths(), special)
        carried = self.source.head(HEAD) if self.source else {}
        if carried and (self.checkpoint_parts is None or "fusion" in self.checkpoint_parts):
            unmask.head.load_state_dict(carried)
            self.trained = True

    def _lengths(self) -> list[int]:
        """Word-pieces of training reports."""
        return [len(self.tokenizer.pieces(text)) for text in self.training_reports[:MOST_LENGTHS]]

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        image = self.backbone.local_image(self.images(batch))
        outcome: Step = dict(self.decoder.losses(self.backbone, image, batch))
        outcome |= self.alignment_loss(image, batch, stage == "train")
        if stage == "train":
            return outcome
        self.compare_evidence(image, batch)
        drafts = self._drafted(image, batch)
        columns: dict[str, Any] = {"draft": drafts, "reference": batch["text"]}
        if stage == "test":
            columns |= self.baseline_columns(batch)
            if self.given:
                columns |= self._infilled(image, batch)
        self.keep(batch, **columns)
        return outcome | {"drafts": drafts, "features": image}

    def _drafted(self, image: Features, batch: Mapping[str, Any]) -> list[str]:
        return [prose(self.tokenizer.decode(row)) for row in self._write(image, batch["seed"]).pieces]

    def _write(self, image: Features, seed: Tensor, given: Sequence[Segments] | None = None) -> Written:
        start = time.perf_counter()
        written = self.decoder.write(self.backbone, image, seed, given)
        self.check_finite(confidence_of_drafts=written.confidence)
        if given is None:
            self._seconds += time.perf_counter() - start
            self._written += len(seed)
        return written

    def _completed(self, image: Features, seed: Tensor, drafts: Sequence[Sequence[str | None]]) -> list[list[str]]:
        """For each draft its segments, as written, with the texts of the gaps in their places."""
        refuse_gaps(self.decoder, self.kind)
        pieces = [[None if part is None else self.tokenizer.pieces(part) for part in draft] for draft in drafts]
        found = []
        for draft, gaps in zip(drafts, self._write(image, seed, pieces).gaps, strict=True):
            fillings = iter(gaps)
            whole: list[str] = []
            for part in draft:
                begins = not whole or whole[-1].rstrip()[-1:] in (".", "!", "?", "")
                whole.append(prose(self.tokenizer.decode(next(fillings)), begins) if part is None else part)
            found.append(whole)
        return found

    def _infilled(self, image: Features, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Columns of the filled parts, of what was given, and whether it fits; where it does not, nothing is given."""
        drafts = [half_given(text, self.given, int(s)) for text, s in zip(batch["text"], batch["seed"], strict=True)]
        fits = [self.decoder.fits([None if p is None else self.tokenizer.pieces(p) for p in own]) for own in drafts]
        drafts = [own if fit else [None] for own, fit in zip(drafts, fits, strict=True)]
        filled = [
            " ".join(text for text, part in zip(whole, draft, strict=True) if part is None)
            for whole, draft in zip(self._completed(image, batch["seed"], drafts), drafts, strict=True)
        ]
        return {"filled": filled, "given": [" ".join(filter(None, draft)) for draft in drafts], "fits": fits}

    def score(self, rows: dict[str, np.ndarray], stage: str) -> Scores:
        split = r2gen_words if self.rule.tokens == "r2gen" else words
        ours = ReportScores([*rows["draft"]], [*rows["reference"]], rows["patient"], split)
        found: dict[Metric, float] = ours.scores()
        if stage == "val":
            return found | self.choose_threshold()
        found |= ours.intervals() | self.baseline_scores(ours, rows)
        if "filled" in rows:
            found |= infill_scores(rows)
        if self._seconds:
            found[SPEED] = self._written / self._seconds
        self.samples = SampleTable(rows["id"], rows["patient"], ours.per_sample, {FINDING_F1: ours.f1_parts})
        return (
            found | {reference("evidence_threshold", "ratio"): self.threshold} if self.threshold is not None else found
        )

    def figures(self, batch: dict[str, Any], outcome: Step, stage: str, count: int) -> dict[str, Figure]:
        drafts = outcome["drafts"][:count]
        told = self.explained(outcome["features"], drafts)
        return {f"{stage}_drafts": report_cards(batch["image"][:count], batch["text"][:count], told)}

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Id, draft, confidence, and the sentences with their evidence."""
        image = self.backbone.local_image(self.images(batch))
        if "draft" in batch:
            parts = self._completed(image, batch["seed"], [segments(draft) for draft in batch["draft"]])
            drafts = [" ".join(filter(None, whole)) for whole in parts]
        else:
            drafts = self._drafted(image, batch)
        told = self.explained(image, drafts)
        return {
            "id": batch["id"],
            "draft": drafts,
            "sentences": told,
            "size": batch["size"],
            "side": batch["image"].shape[-1],
        }

    def prediction_writer(self) -> DraftWriter:
        return self._writer(None)

    def exporter(self, form: str) -> DraftWriter:
        return self._writer(form)

    def _writer(self, form: str | None) -> DraftWriter:
        loader: Any = self.trainer.predict_dataloaders
        return DraftWriter(form, loader.dataset.table, self.data_spec.fit)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        known = {"kind": self.kind, "positions": self.decoder.positions, "threshold": self.threshold}
        checkpoint[DRAFTER] = known

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        path, known = self.trainer.ckpt_path, checkpoint.get(DRAFTER)
        if known is None or known["kind"] != self.kind:
            found = "no report decoder" if known is None else f"the decoder {known['kind']}"
            raise UserError(
                f"ckpt_path {path} holds {found}, expected {self.kind}; set model.decoder to what was fitted, or fit a "
                f"ReportGenerationTask that starts from --model.checkpoint {path}"
            )
        if known["positions"] != self.decoder.positions:
            if self.trainer.state.fn == "fit":
                raise UserError(
                    f"ckpt_path {path} writes reports of up to {known['positions']} tokens, found data.text.max_tokens "
                    f"{self.decoder.positions}; continue with the former, or start a new run"
                )
            rank_zero_info(f"reports of up to {known['positions']} tokens, as {path} was fitted")
            self._build_decoder(known["positions"])
        self.threshold, self.trained = known["threshold"], True
