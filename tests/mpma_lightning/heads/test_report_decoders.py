"""Both report decoders: they learn to write, keep what is written, and refuse what does not fit."""

import pytest
import torch
from model_fixtures import MASK, VOCABULARY, small_backbone
from torch import Tensor, nn

from data_modules.errors import UserError
from mpma_lightning.backbones import Backbone
from mpma_lightning.heads.causal_decoder import CausalDecoder, CausalOptions
from mpma_lightning.heads.report_decoder import ReportDecoder
from mpma_lightning.heads.unmask_decoder import UnmaskDecoder, UnmaskOptions, refuse_gaps
from mpma_lightning.masking import mask_pieces

CLS, SEP, UNKNOWN, PAD = 2, 3, 1, 0
POSITIONS = 16
REPORTS = [[10, 11, 12, 13, 14, 15], [20, 21, 22, 23, 24, 25, 26, 27, 28]]


def batch() -> dict[str, Tensor]:
    width = 2 + max(map(len, REPORTS))
    ids = torch.tensor([([CLS, *r, SEP] + [PAD] * width)[:width] for r in REPORTS])
    return {"input_ids": ids, "attention_mask": (ids != PAD).long(), "seed": torch.tensor([5, 6])}


def make(kind: str, **options: object) -> tuple[Backbone, ReportDecoder]:
    backbone = small_backbone("fusion")
    torch.manual_seed(0)
    if kind == "causal":
        made = CausalOptions(depth=2, **options)  # type: ignore[arg-type]
        return backbone, CausalDecoder(made, backbone, POSITIONS, 24, 2, (CLS, SEP)).double()
    made_ = UnmaskOptions(**options)  # type: ignore[arg-type]
    return backbone, UnmaskDecoder(made_, backbone, POSITIONS, [6, 9, 9], (CLS, SEP, UNKNOWN)).double()


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["unmask", "causal"])
def test_value_a_decoder_writes_what_it_has_learnt(kind: str) -> None:
    backbone, decoder = make(kind)
    both = nn.ModuleList([backbone, decoder])
    optimizer, told = torch.optim.Adam(both.parameters(), lr=5e-3), batch()
    for step in range(90):
        told["seed"] = torch.tensor([2 * step, 2 * step + 1])
        losses = decoder.losses(backbone, backbone.image(images()), told)
        optimizer.zero_grad()
        torch.stack([total / count for total, count in losses.values()]).sum().backward()
        optimizer.step()
    both.eval()
    written = decoder.write(backbone, backbone.image(images()), told["seed"])
    assert written.pieces == REPORTS
    assert written.gaps == [[report] for report in REPORTS]
    assert (written.confidence > 0.5).all() and (written.confidence <= 1).all()
    swapped = decoder.write(backbone, backbone.image(images().flip(0)), told["seed"])
    assert swapped.pieces == REPORTS[::-1], "the image decides"


def test_value_written_words_stay() -> None:
    backbone, decoder = make("unmask")
    image = backbone.image(images())
    given = [[[10, 11], None, [15]], [None, [30], None]]
    written = decoder.write(backbone, image, torch.tensor([1, 2]), given)
    first, second = written.pieces
    assert first[:2] == [10, 11] and first[-1] == 15 and first[2:-1] == written.gaps[0][0]
    assert second == [*written.gaps[1][0], 30, *written.gaps[1][1]]
    assert all(len(gap) >= 5 for gaps in written.gaps for gap in gaps)
    never = {CLS, SEP, UNKNOWN, PAD, MASK}
    assert not never & {piece for pieces in written.pieces for piece in pieces}
    assert all(len(pieces) <= POSITIONS - 2 for pieces in written.pieces)


def test_value_length_is_that_of_the_training_reports_before_training() -> None:
    backbone, decoder = make("unmask")
    assert [
        len(pieces) for pieces in decoder.write(backbone, backbone.image(images()), torch.tensor([1, 2])).pieces
    ] == [9, 9]


def test_value_draws_follow_the_seed_and_top_p() -> None:
    backbone, decoder = make("unmask", temperature=3.0)
    image = backbone.image(images())

    def drawn(seed: int) -> list[list[int]]:
        return decoder.write(backbone, image, torch.tensor([seed, seed])).pieces

    assert drawn(1) == drawn(1) != drawn(2)
    alone = decoder.write(backbone, image.rows(torch.tensor([1])), torch.tensor([1])).pieces
    assert alone == drawn(1)[1:], "a draft does not depend on the batch"
    backbone, nucleus = make("unmask", temperature=3.0, top_p=1e-9)
    backbone, greedy = make("unmask")
    written = [each.write(backbone, image, torch.tensor([1, 2])).pieces for each in (nucleus, greedy)]
    assert written[0] == written[1]


@pytest.mark.parametrize("remask", [True, False])
@pytest.mark.parametrize("steps", [1, 3, 50])
def test_value_every_place_is_written(steps: int, remask: bool) -> None:
    backbone, decoder = make("unmask", steps=steps, remask=remask)
    written = decoder.write(backbone, backbone.image(images()), torch.tensor([1, 2]))
    assert MASK not in written.pieces[0] + written.pieces[1]


def test_value_masks_reach_the_whole_report() -> None:
    content = torch.tensor([[False, *[True] * 10, False]]).repeat(2000, 1)
    masked = mask_pieces(torch.arange(2000), content)
    share = masked.sum(1) / 10
    assert not (masked & ~content).any() and share.min() >= 0.1
    assert 0.25 < (share == 1).double().mean() < 0.35  # arccos(0.9) / (π / 2) = 0.29
    assert (masked.double().mean(0)[1:-1].std() < 0.03) and torch.equal(
        masked, mask_pieces(torch.arange(2000), content)
    )


@pytest.mark.parametrize("kind", ["unmask", "causal"])
def test_error_longer_than_the_positions(kind: str) -> None:
    backbone, decoder = make(kind)
    long = torch.full((2, POSITIONS + 1), 10)
    told = {"input_ids": long, "attention_mask": torch.ones_like(long), "seed": torch.tensor([1, 2])}
    with pytest.raises(
        UserError, match=r"^texts have 17 tokens but the report decoder has 16 positions; set data.text"
    ):
        decoder.losses(backbone, backbone.image(images()), told)
    if kind == "unmask":
        with pytest.raises(UserError, match=r"^a draft with room for its gaps has 23 tokens but"):
            decoder.write(backbone, backbone.image(images()), told["seed"], [[[10] * 20, None]] * 2)


def test_error_options() -> None:
    for kind, options, said in (
        ("unmask", {"steps": 0}, "model.unmask.steps is 0"),
        ("unmask", {"top_p": 0.0}, "model.unmask.top_p is 0"),
        ("unmask", {"temperature": -1.0}, "model.unmask.temperature is -1"),
        ("causal", {"beams": 0}, "model.causal.beams is 0"),
    ):
        with pytest.raises(UserError, match=said):
            make(kind, **options)
    with pytest.raises(UserError, match=r"decoder causal cannot fill gaps; expected model.decoder unmask"):
        refuse_gaps(make("causal")[1], "causal")


def test_value_begins_with_the_word_embeddings() -> None:
    backbone, decoder = make("causal")
    assert isinstance(decoder, CausalDecoder)
    table = decoder.language.get_input_embeddings().weight
    assert table.shape == (VOCABULARY, 24) and not torch.equal(table, backbone.text.word_embeddings)
    decoder.begin_from(backbone)
    assert torch.equal(table, backbone.text.word_embeddings)
