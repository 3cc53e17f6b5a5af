"""Options of image and report reconstruction: values, and what they read and build."""

import numpy as np
import pytest
import torch
from model_fixtures import DECODER, MASK, VOCABULARY, build, only, small_backbone, small_state

from data_modules.errors import UserError
from mpma_lightning.masking import ReportMask, choose_predicted, mask_image, soften_like_bert
from mpma_lightning.objectives.image_reconstruction import ImageReconstructionOptions
from mpma_lightning.objectives.report_reconstruction import ReportReconstructionOptions


def test_choose_predicted_value() -> None:
    mask = mask_image(torch.arange(500), 16, 0.75)
    masked, chosen = mask.masked, choose_predicted(torch.arange(500), mask, 1 / 3)
    assert chosen.shape == (500, 4) and masked.gather(1, chosen).all() and (chosen.diff(dim=1) > 0).all()
    assert torch.equal(
        choose_predicted(torch.arange(250, 500), mask_image(torch.arange(250, 500), 16, 0.75), 1 / 3), chosen[250:]
    )
    share = torch.zeros(500, 16).scatter(1, chosen, 1).sum(0) / masked.sum(0)
    assert (share - 1 / 3).abs().max() < 0.1
    assert choose_predicted(torch.arange(500), mask, 1.0).shape == (500, 12)


def test_cross_decoder_value() -> None:
    """The loss is the mean over the chosen patches; what is chosen does not change what a patch is rebuilt as."""
    options = ImageReconstructionOptions(**DECODER, kind="cross")
    backbone, built = build(only(options))
    objective = built["image_reconstruction"]
    state, whole = small_state(backbone), small_state(backbone)
    total, count = objective(state)
    objective.eval()
    everything, all_masked = objective(whole)
    assert float(count) == 4 * 4 and float(all_masked) == 4 * 12
    chosen = torch.zeros(4, 16, dtype=torch.bool)
    chosen.scatter_(1, choose_predicted(state.seed, state.image_mask, 1 / 3), True)
    some, every = state.outputs["image_prediction"], whole.outputs["image_prediction"]
    assert torch.allclose(some[chosen], every[chosen]) and not some[~chosen].any()
    expected = 0.0
    for b, patch in chosen.nonzero().tolist():
        row, column = divmod(patch, 4)
        block = state.target[b, 0, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].reshape(-1).numpy()
        block = (block - block.mean()) / np.sqrt(block.var(ddof=1) + 1e-6)
        expected += ((every[b, patch].numpy() - block) ** 2).mean()
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(everything.detach()) > expected


@pytest.mark.parametrize("kind", ["full", "cross"])
def test_assisted_decoder_reads_the_report(kind: str) -> None:
    """Another report changes every rebuilt patch; the loss reaches both encoders. Unassisted, the text is not built."""
    options = ImageReconstructionOptions(**DECODER, kind=kind, assisted=True)
    backbone, built = build(only(options))
    objective = built["image_reconstruction"].eval()
    state, other = small_state(backbone), small_state(backbone)
    other.report_mask.input_ids = other.report_mask.input_ids.roll(1, 0)
    total, _ = objective(state)
    objective(other)
    hidden = state.image_mask.masked
    first, second = (s.outputs["image_prediction"][hidden] for s in (state, other))
    assert (first - second).abs().amax(1).min() > 0
    total.backward()
    for part in ("image", "text"):
        assert sum(p.grad.abs().sum() for p in getattr(backbone, part).parameters() if p.grad is not None) > 0
    assert objective.report.weight.grad.abs().sum() > 0
    bare, _ = build(only(ImageReconstructionOptions(**DECODER)))
    assert not hasattr(bare, "text")


def test_share_error() -> None:
    with pytest.raises(UserError, match="share is 0"):
        ImageReconstructionOptions(share=0.0).build(small_backbone("image"))


def test_without_assistance_no_image_is_built() -> None:
    options = ReportReconstructionOptions(assisted=False)
    backbone, built = build(only(options))
    assert backbone.parts == ("text",) and built["report_reconstruction"].trains == ("text",)
    state = small_state(backbone)
    state.image = None
    total, _ = built["report_reconstruction"](state)
    head, masked = built["report_reconstruction"].head, state.report_mask.masked
    logits = head(state.text_features.tokens[masked], backbone.text.word_embeddings)
    expected = torch.nn.functional.cross_entropy(logits, state.input_ids[masked], reduction="sum")
    assert torch.allclose(total, expected)


def test_soften_like_bert_value() -> None:
    ids = torch.arange(10, 26).repeat(2000, 1)
    masked = torch.arange(16).remainder(2).bool().repeat(2000, 1)
    seed = torch.arange(2000)
    soft = soften_like_bert(seed, ids, ReportMask(ids.masked_fill(masked, MASK), masked, int(masked.sum())), VOCABULARY)
    assert torch.equal(soft.input_ids[~masked], ids[~masked]) and torch.equal(soft.masked, masked)
    shown, true = soft.input_ids[masked], ids[masked]
    hidden, kept = (shown == MASK).double().mean(), (shown == true).double().mean()
    # a random piece is [MASK] or the true one once in VOCABULARY
    assert float(hidden) == pytest.approx(0.8 + 0.1 / VOCABULARY, abs=0.01)
    assert float(kept) == pytest.approx(0.1 + 0.1 / VOCABULARY, abs=0.01)
    half = soften_like_bert(
        seed[1000:],
        ids[1000:],
        ReportMask(ids.masked_fill(masked, MASK)[1000:], masked[1000:], int(masked[1000:].sum())),
        VOCABULARY,
    )
    assert torch.equal(half.input_ids, soft.input_ids[1000:])
