"""Report generation by iterative unmasking through fusion and the report head [MaskGIT, Mask-Predict]."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_modules.errors import UserError, expect
from mpma_lightning.backbones import Backbone, Features
from mpma_lightning.heads.report_decoder import ReportDecoder, Segments, Written
from mpma_lightning.heads.report_head import ReportHead
from mpma_lightning.masking import hashed_uniform, mask_pieces
from mpma_lightning.precision import full

SHORTEST_GAP = 6
"""Word-pieces that a gap gets at least, where the positions allow it."""
WORD_STREAM = 1000
"""First stream of the random numbers of the steps."""


@dataclass
class UnmaskOptions:
    """How a report is unmasked.

    Attributes:
        steps: passes through text encoder and fusion.
        remask: every step masks the least confident pieces again, also of earlier steps [Mask-Predict]; otherwise what
            was written stays [MaskGIT].
        temperature: of the draws; 0 takes the most likely piece.
        top_p: draws among the most likely pieces that together have this probability.
    """

    steps: int = 8
    remask: bool = True
    temperature: float = 0.0
    top_p: float = 1.0

    def check(self) -> None:
        """UserError for a value out of range."""
        expect(self.steps >= 1, "model.unmask.steps", self.steps, "at least 1")
        expect(self.temperature >= 0, "model.unmask.temperature", self.temperature, "0 or more")
        expect(0 < self.top_p <= 1, "model.unmask.top_p", self.top_p, "more than 0 and at most 1")


class UnmaskDecoder(ReportDecoder):
    """Report reconstruction with shares of masked pieces up to all of them, and a head for the length.

    The head of the length starts at the lengths of the training reports, which is what it predicts without
    fine-tuning; the median of its distribution is written.

    Args:
        options: see :class:`UnmaskOptions`.
        backbone: with fusion.
        positions: longest report, special tokens included.
        lengths: word-pieces of training reports; may be empty.
        special: (cls, sep, unknown) ids.
    """

    parts = ("fusion",)
    fills_gaps = True

    def __init__(
        self,
        options: UnmaskOptions,
        backbone: Backbone,
        positions: int,
        lengths: Sequence[int],
        special: tuple[int, int, int],
    ) -> None:
        super().__init__(positions)
        options.check()
        self.options, (self.cls_id, self.sep_id, unknown_id) = options, special
        assert backbone.vocabulary is not None
        self.pad_id, self.mask_id = backbone.vocabulary.pad_id, backbone.vocabulary.mask
        self.never = [self.cls_id, self.sep_id, unknown_id, self.pad_id, self.mask_id]
        self.head = ReportHead(backbone.text.width, len(backbone.text.word_embeddings))
        self.length = nn.Linear(backbone.image.width, positions - 2)  # of 1 to positions - 2 pieces
        nn.init.zeros_(self.length.weight)
        counts = torch.bincount(
            torch.tensor([*lengths], dtype=torch.long).clamp(1, positions - 2), minlength=positions - 1
        )
        with torch.no_grad():
            self.length.bias.copy_((counts[1:] + 0.1).log())

    def losses(
        self, backbone: Backbone, image: Features, batch: Mapping[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        ids, attention = batch["input_ids"], batch["attention_mask"]
        self.check_length(ids.shape[1])
        content = (attention == 1) & (ids != self.cls_id) & (ids != self.sep_id)
        masked = mask_pieces(batch["seed"], content)
        fused = backbone.fuse(image, None, ids.masked_fill(masked, self.mask_id), attention)
        logits = full(self.head(fused[masked], backbone.text.word_embeddings))
        report = F.cross_entropy(logits, ids[masked], reduction="sum")
        lengths = full(self.length(image.pooled))
        length = F.cross_entropy(lengths, content.sum(1).clamp(1) - 1, reduction="sum")
        counts = masked.sum(), torch.tensor(len(ids), device=ids.device)
        return {"report_loss": (report, counts[0].float()), "length_loss": (length, counts[1].float())}

    @torch.no_grad()
    def write(
        self, backbone: Backbone, image: Features, seed: Tensor, given: Sequence[Segments] | None = None
    ) -> Written:
        lengths = self._median_length(image)
        given = given or [[None]] * len(seed)
        filled = [self._spread(segments, length) for segments, length in zip(given, lengths, strict=True)]
        ids, attention, free = self._canvas([pieces for pieces, _ in filled], seed.device)
        ids, confidence = self._unmask(backbone, image, ids, attention, free, seed)
        pieces = [row[1 : 1 + len(own)] for row, (own, _) in zip(ids.tolist(), filled, strict=True)]
        gaps = [[row[a:b] for a, b in spans] for row, (_, spans) in zip(pieces, filled, strict=True)]
        return Written(pieces, gaps, (confidence * free).sum(1) / free.sum(1).clamp(min=1))

    def _median_length(self, image: Features) -> list[int]:
        likelihood = full(self.length(image.pooled)).softmax(1).cumsum(1)
        return ((likelihood < 0.5).sum(1) + 1).clamp(max=self.positions - 2).tolist()

    def _spread(self, segments: Segments, length: int) -> tuple[list[int | None], list[tuple[int, int]]]:
        """Pieces of a report, None where one is to be written, and where each gap lies; the gaps share what of
        ``length`` the written pieces leave."""
        written = sum(len(pieces) for pieces in segments if pieces is not None)
        gaps = sum(pieces is None for pieces in segments)
        most = self.positions - 2 - written
        self.check_length(written + gaps + 2, "a draft with room for its gaps has")
        left = min(max(length - written, SHORTEST_GAP * gaps), most)
        row: list[int | None] = []
        spans: list[tuple[int, int]] = []
        for pieces in segments:
            if pieces is None:
                share = left * (len(spans) + 1) // gaps - left * len(spans) // gaps
                spans.append((len(row), len(row) + share))
                row += [None] * share
            else:
                row += pieces
        return row, spans

    def _canvas(self, rows: list[list[int | None]], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Ids with [MASK] where a piece is to be written, attention mask and these places, (B, T) each."""
        width = 2 + max(map(len, rows))
        ids = torch.full((len(rows), width), self.pad_id, device=device)
        attention = torch.zeros_like(ids)
        for row, own in enumerate(rows):
            whole = [self.cls_id, *(self.mask_id if piece is None else piece for piece in own), self.sep_id]
            ids[row, : len(whole)] = torch.tensor(whole, device=device)
            attention[row, : len(whole)] = 1
        free = torch.zeros_like(ids, dtype=torch.bool)
        for row, own in enumerate(rows):
            free[row, 1 : 1 + len(own)] = torch.tensor([piece is None for piece in own], device=device)
        return ids, attention, free

    def _unmask(
        self, backbone: Backbone, image: Features, ids: Tensor, attention: Tensor, free: Tensor, seed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The ids with every ``free`` place written, the most confident pieces first, and the confidence (B, T)."""
        open_, confidence = free.clone(), torch.ones(ids.shape, device=ids.device)
        for step in range(self.options.steps):
            fused = backbone.fuse(image, None, ids, attention)
            logits = full(self.head(fused[open_], backbone.text.word_embeddings))
            logits[:, self.never] = -torch.inf
            uniform = hashed_uniform(seed, ids.shape[1], WORD_STREAM + step)[open_]
            chosen, likelihood = self._choose(logits, uniform)
            ids = ids.masked_scatter(open_, chosen)
            confidence = confidence.masked_scatter(open_, likelihood.to(confidence.dtype))
            share = math.cos(math.pi / 2 * (step + 1) / self.options.steps)
            hidden = (free.sum(1) * share).floor().long() if step + 1 < self.options.steps else free.sum(1) * 0
            rivals = free if self.options.remask else open_
            order = confidence.masked_fill(~rivals, 2.0).argsort(dim=1, stable=True).argsort(dim=1)
            open_ = rivals & (order < hidden.unsqueeze(1))
            ids = ids.masked_fill(open_, self.mask_id)
            if not open_.any():
                break
        return ids, confidence

    def _choose(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """(M,) ids and their probabilities; ``uniform`` (M,) decides the draws."""
        likelihood = logits.softmax(1)
        if self.options.temperature == 0:
            best = likelihood.max(1)
            return best.indices, best.values
        scaled = (logits / self.options.temperature).softmax(1)
        ranked = scaled.sort(1, descending=True)
        total = ranked.values.cumsum(1)
        kept = ranked.values.masked_fill(total - ranked.values >= self.options.top_p, 0)
        total = kept.cumsum(1)
        place = (total < uniform.to(total.dtype).unsqueeze(1) * total[:, -1:]).sum(1, keepdim=True)
        chosen = ranked.indices.gather(1, place.clamp(max=logits.shape[1] - 1))
        return chosen.squeeze(1), likelihood.gather(1, chosen).squeeze(1)


def refuse_gaps(decoder: ReportDecoder, name: str) -> None:
    """UserError where a draft is given to a decoder that writes from left to right."""
    if not decoder.fills_gaps:
        raise UserError(
            f"found a draft to complete, but decoder {name} cannot fill gaps; expected model.decoder unmask"
        )
