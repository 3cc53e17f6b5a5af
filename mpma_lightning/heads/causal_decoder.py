"""Report generation from left to right: a small transformers decoder that attends to the image tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from data_modules.errors import expect
from mpma_lightning.backbones import Backbone, Features
from mpma_lightning.heads.report_decoder import ReportDecoder, Segments, Written
from mpma_lightning.precision import full


@dataclass
class CausalOptions:
    """The decoder and its search.

    Attributes:
        depth: layers, 2 to 6.
        beams: of the beam search; 1 is greedy.
        length_penalty: exponent of the length by which a beam's log-likelihood is divided.
    """

    depth: int = 3
    beams: int = 4
    length_penalty: float = 1.0

    def check(self) -> None:
        """UserError for a value out of range."""
        expect(2 <= self.depth <= 6, "model.causal.depth", self.depth, "2 to 6")
        expect(self.beams >= 1, "model.causal.beams", self.beams, "at least 1")


class CausalDecoder(ReportDecoder):
    """GPT-2 with cross-attention, of the width and heads of the text encoder.

    Args:
        options: see :class:`CausalOptions`.
        backbone: with an image encoder.
        positions: longest report, special tokens included.
        width, heads: of the decoder.
        special: (cls, sep) ids, which begin and end a report.
    """

    parts = ("image",)

    def __init__(
        self,
        options: CausalOptions,
        backbone: Backbone,
        positions: int,
        width: int,
        heads: int,
        special: tuple[int, int],
    ) -> None:
        super().__init__(positions)
        options.check()
        assert backbone.vocabulary is not None
        begin, end = special
        self.end_id = end
        config = GPT2Config(
            vocab_size=backbone.vocabulary.size,
            n_positions=positions,
            n_embd=width,
            n_layer=options.depth,
            n_head=heads,
            add_cross_attention=True,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            initializer_range=(2 / (5 * width)) ** 0.5,
            bos_token_id=begin,
            eos_token_id=end,
            pad_token_id=backbone.vocabulary.pad_id,
        )
        self.image = nn.Sequential(nn.Linear(backbone.image.width, width), nn.LayerNorm(width))
        self.language = GPT2LMHeadModel(config)
        self.search = GenerationConfig(
            num_beams=options.beams,
            length_penalty=options.length_penalty if options.beams > 1 else None,
            max_length=positions,
            do_sample=False,
            bos_token_id=begin,
            eos_token_id=end,
            pad_token_id=config.pad_token_id,
        )

    @torch.no_grad()
    def begin_from(self, backbone: Backbone) -> None:
        """The word embeddings of the text encoder, where it is built and as wide."""
        own: Any = self.language.get_input_embeddings()
        if "text" in backbone.parts and backbone.text.word_embeddings.shape == own.weight.shape:
            own.weight.copy_(backbone.text.word_embeddings)

    def _context(self, image: Features) -> Tensor:
        """(B, N, D) what the decoder attends to."""
        context: Tensor = self.image(torch.cat([image.prefix, image.tokens], dim=1))
        return context

    def losses(
        self, backbone: Backbone, image: Features, batch: Mapping[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        ids, attention = batch["input_ids"], batch["attention_mask"]
        self.check_length(ids.shape[1])
        logits = self.language(
            input_ids=ids, attention_mask=attention, encoder_hidden_states=self._context(image), use_cache=False
        ).logits
        told = attention[:, 1:] == 1
        loss = F.cross_entropy(full(logits[:, :-1][told]), ids[:, 1:][told], reduction="sum")
        return {"report_loss": (loss, told.sum().float())}

    @torch.no_grad()
    def write(
        self, backbone: Backbone, image: Features, seed: Tensor, given: Sequence[Segments] | None = None
    ) -> Written:
        begin = torch.full((len(seed), 1), self.search.bos_token_id, device=seed.device)
        context = self._context(image)
        language: Any = self.language
        ids: Tensor = language.generate(
            input_ids=begin,
            attention_mask=torch.ones_like(begin),
            encoder_hidden_states=context,
            generation_config=self.search,
        )
        written = (ids[:, 1:] != self.search.pad_token_id).long()
        logits = language(input_ids=ids[:, :-1], encoder_hidden_states=context, use_cache=False).logits
        chosen = full(logits).softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
        rows = [row[1 : row.index(self.end_id) if self.end_id in row else None] for row in ids.tolist()]
        rows = [[piece for piece in row if piece != self.search.pad_token_id] for row in rows]
        confidence = (chosen * written).sum(1) / written.sum(1).clamp(min=1)
        return Written(rows, [[row] for row in rows], confidence)
