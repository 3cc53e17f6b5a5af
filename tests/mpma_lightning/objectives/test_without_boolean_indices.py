"""What is computed of every sample and masked equals what is computed of a choice of them: losses and gradients."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from model_fixtures import build, only, small_backbone, small_state
from torch import Tensor
from transformers import AutoConfig, AutoModel

from mpma_lightning.backbones.text import BIDIRECTIONAL, TextEncoder
from mpma_lightning.masking import ReportMask
from mpma_lightning.objectives.global_alignment import group_contrast
from mpma_lightning.objectives.image_text_matching import ImageTextMatchingOptions, draw_negatives
from mpma_lightning.objectives.labels import label_loss
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions, one_before, swapped_gap
from mpma_lightning.objectives.match_ranking import MatchRankingOptions
from mpma_lightning.objectives.report_reconstruction import ReportReconstructionOptions
from mpma_lightning.objectives.words import Words
from mpma_lightning.places import places


def gradients(value: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, inputs, allow_unused=False))


@given(st.lists(st.booleans(), max_size=40))
def test_value_places_are_those_of_nonzero(values: list[bool]) -> None:
    mask = torch.tensor(values, dtype=torch.bool)
    assert places(mask, sum(values)).tolist() == [i for i, true in enumerate(values) if true]


@pytest.mark.parametrize("kept", [[0, 2, 3, 4], [1], [], [0, 1, 2, 3, 4]])
def test_value_local_alignment_of_reports_without_words(kept: list[int]) -> None:
    """As if the samples without a word were not in the batch."""
    options = LocalAlignmentOptions(chunk=2)
    objective = options.build(small_backbone(*options.needs)).double()
    generator = torch.Generator().manual_seed(3)
    words = F.normalize(torch.randn(5, 4, 6, generator=generator, dtype=torch.float64), dim=-1).requires_grad_()
    patches = F.normalize(torch.randn(5, 7, 6, generator=generator, dtype=torch.float64), dim=-1).requires_grad_()
    group, valid = torch.tensor([3, 4, 3, 5, 4]), torch.rand(5, 4, generator=generator) > 0.4
    valid[:, 0] = True
    valid[[i for i in range(5) if i not in kept]] = False
    spelled = torch.zeros(5, 4, 1, dtype=torch.long)
    losses = objective.losses(Words(words, valid, spelled, int(valid.sum())), patches, group)

    scores = torch.zeros(len(kept), len(kept), dtype=torch.float64)
    for i, image in enumerate(kept):
        for j, report in enumerate(kept):
            query = words[report][valid[report]]
            similarity = query @ patches[image].T
            context = F.normalize((similarity / 0.1).softmax(-1) @ patches[image], dim=-1)
            cosine = 5 * (query * context).sum(1)
            scores[i, j] = (cosine.logsumexp(0) - torch.tensor(float(len(query))).log()) / 5
    logits, own = scores / 0.1, group[kept]
    expected = (group_contrast(logits, own, own) + group_contrast(logits.T, own, own)) / 2
    assert torch.allclose(losses[kept], expected, rtol=1e-10)
    assert not losses[[i for i in range(5) if i not in kept]].any()
    if kept:
        found, wanted = gradients(losses.sum(), words, patches), gradients(expected.sum(), words, patches)
        assert all(torch.allclose(one, other, rtol=1e-8, atol=1e-12) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("kept", [[0, 2, 3], [1, 4], [0, 1, 2, 3, 4]])
def test_value_the_gap_of_reports_without_words(kept: list[int]) -> None:
    generator = torch.Generator().manual_seed(4)
    logits, group = torch.randn(5, 5, generator=generator, dtype=torch.float64), torch.tensor([3, 4, 3, 5, 4])
    some = torch.zeros(5, dtype=torch.bool).index_fill(0, torch.tensor(kept), True)
    assert one_before(some)[kept].tolist() == [kept[-1], *kept[:-1]]
    every = torch.ones(len(kept), dtype=torch.bool)
    alone = swapped_gap(logits[kept][:, kept], group[kept], every)
    assert torch.allclose(swapped_gap(logits, group, some)[kept], alone, rtol=1e-12)


@pytest.mark.parametrize("loss_on", ["masked", "all"])
def test_value_report_reconstruction_at_masked_pieces(loss_on: Any) -> None:
    backbone, objectives = build(only(ReportReconstructionOptions(loss_on=loss_on)))
    objective, state = objectives["report_reconstruction"], small_state(backbone)
    total, count = objective(state)
    masked = state.report_mask.masked
    counted = masked if loss_on == "masked" else torch.ones_like(masked)
    logits = objective.head(state.fused[counted], backbone.text.word_embeddings)
    expected = F.cross_entropy(logits, state.input_ids[counted], reduction="sum")
    assert float(count) == int(counted.sum()) and torch.allclose(total, expected, rtol=1e-12)
    weights = [weight for weight in backbone.parameters() if weight.requires_grad]
    found, wanted = (torch.autograd.grad(of, weights, retain_graph=True, allow_unused=True) for of in (total, expected))
    pairs = [(one, other) for one, other in zip(found, wanted, strict=True) if other is not None]
    assert len(pairs) > 20 and all(torch.allclose(one, other, rtol=1e-9, atol=1e-12) for one, other in pairs)
    assert state.outputs["report_prediction"].tolist() == logits.argmax(-1)[masked[counted]].tolist()
    right = (logits.argmax(-1) == state.input_ids[counted])[masked[counted]].sum()
    value, pieces = objective.monitor(state)["masked_word_accuracy"]
    assert int(value) == int(right) and int(pieces) == int(masked.sum())


@pytest.mark.parametrize("group", [[7, 8, 8, 9], [7, 7, 7, 7], [7, 7, 7, 8]])
def test_value_matching_counts_the_negatives_that_there_are(group: list[int]) -> None:
    backbone, objectives = build(only(ImageTextMatchingOptions(weight=1)))
    objective, state = objectives["image_text_matching"], small_state(backbone)
    state.group = torch.tensor(group)
    total, count = objective(state)
    own, same = torch.arange(4), torch.zeros(4, 4)
    report, image = (draw_negatives(same, state.group, state.seed, 1, stream).squeeze(1) for stream in (6, 7))
    some = report >= 0
    images, reports = torch.cat([own, own[some], image[some]]), torch.cat([own, report[some], own[some]])
    logits = objective.head(state.fused_pairs(images, reports)[:, 0]).squeeze(-1)
    match = torch.arange(len(images)) < 4
    expected = F.binary_cross_entropy_with_logits(logits, match.double(), reduction="sum")
    assert float(count) == len(images) and torch.allclose(total, expected, rtol=1e-12)
    found, wanted = (gradients(of, objective.head.weight)[0] for of in (total, expected))
    assert torch.allclose(found, wanted, rtol=1e-9)
    right, pairs = objective.monitor(state)["matching_accuracy"]
    assert int(pairs) == len(images) and int(right) == int(((logits > 0) == match).sum())


@pytest.mark.parametrize("negatives", [1, 2, 3, 15])
@pytest.mark.parametrize("group", [[7, 8, 8, 9], [7, 7, 7, 7], [7, 7, 7, 8]])
def test_value_ranking_scores_the_pairs_that_there_are(group: list[int], negatives: int) -> None:
    options = MatchRankingOptions(weight=1, negatives=negatives)
    backbone = small_backbone(*options.needs)
    objective, state = options.build(backbone).double(), small_state(backbone)
    state.group = torch.tensor(group)
    state.report_mask, state.pairing = ReportMask.nothing(state.input_ids), "separate"
    total, count = objective(state)
    similarity, own = state.global_image.detach() @ state.global_text.detach().T, torch.arange(4).unsqueeze(1)
    reports = draw_negatives(similarity, state.group, state.seed, (negatives + 1) // 2)
    images = draw_negatives(similarity.T, state.group, state.seed, negatives // 2, 7)
    rows = torch.cat([own, torch.where(reports < 0, -1, own), images], 1)
    texts = torch.cat([own, reports, torch.where(images < 0, -1, own)], 1)
    there = rows >= 0
    scores = objective.head(state.fused_pairs(rows[there], texts[there])[:, 0]).squeeze(-1)
    logits = scores.new_full(rows.shape, -torch.inf).masked_scatter(there, scores)
    expected = F.cross_entropy(logits, torch.zeros(4, dtype=torch.long), reduction="sum")
    assert float(count) == 4 and torch.allclose(total, expected, rtol=1e-12)
    found, wanted = (gradients(of, objective.head.weight)[0] for of in (total, expected))
    assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-15)


def test_value_exclusive_labels_of_rows_that_are_certain() -> None:
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    nan = float("nan")
    labels = torch.tensor([[0, 1, 0], [1, 1, 0], [nan, 0, 1], [nan, nan, 0]])
    total, count = label_loss(logits, labels, exclusive=True)
    expected = -(logits[0].log_softmax(0)[1] + logits[2].log_softmax(0)[2])
    assert int(count) == 2 and torch.allclose(total, expected)
    assert torch.allclose(gradients(total, logits)[0], gradients(expected, logits)[0])
    nothing = label_loss(logits, torch.full((4, 3), nan), exclusive=True)
    assert float(nothing[0].detach()) == float(nothing[1]) == 0


@pytest.mark.parametrize("kind", BIDIRECTIONAL)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_value_the_mask_of_texts_is_that_of_transformers(kind: str, attention: str) -> None:
    config = AutoConfig.for_model(
        kind, vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        embedding_size=16, pad_token_id=0)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bert = AutoModel.from_config(config, attn_implementation=attention).double().eval()
    encoder, ids = TextEncoder(bert, "cls"), torch.randint(1, 30, (3, 6))
    for lengths in ([6, 2, 4], [6, 6, 6]):
        mask = (torch.arange(6) < torch.tensor(lengths).unsqueeze(1)).long()
        own = bert(input_ids=ids, attention_mask=mask).last_hidden_state
        found = encoder(ids, mask).tokens
        assert torch.allclose(found[mask == 1], own[mask == 1], atol=1e-12)
        assert encoder._seen(mask).ndim == 4
