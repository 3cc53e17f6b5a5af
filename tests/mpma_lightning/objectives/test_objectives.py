"""Every objective against a value computed independently, its gradients, and its errors."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from model_fixtures import EACH, MASK, small_backbone, small_state

from data_modules.errors import UserError
from mpma_lightning.masking import ReportMask
from mpma_lightning.objectives import Objectives
from mpma_lightning.objectives.global_alignment import GlobalAlignmentOptions, group_contrast
from mpma_lightning.objectives.image_reconstruction import (
    normalise_patches,
    patchify,
    unpatchify,
)
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions
from mpma_lightning.objectives.local_scores import attend, token_contrast
from mpma_lightning.objectives.words import WordCounts, words_of

BUILT = EACH | {
    "global_alignment": GlobalAlignmentOptions(learn_temperature=True),
    "local_alignment": LocalAlignmentOptions(negatives="pair"),
    "local_alignment_batch": LocalAlignmentOptions(negatives="batch"),
}


def built(name: str, **changes: Any):
    options = BUILT[name]
    backbone = small_backbone(*options.needs, **changes)
    objective = options.build(backbone)
    if name == "image_reconstruction":
        objective.set_target(2, 1)
    return backbone, objective.double()


# image reconstruction


def test_patchify_value() -> None:
    image = torch.arange(32.0).reshape(1, 2, 4, 4)
    patches = patchify(image, 2)
    assert patches.shape == (1, 4, 8)
    # second patch of the top row: pixels (0,2) (0,3) (1,2) (1,3), channels innermost
    assert patches[0, 1].tolist() == [2, 18, 3, 19, 6, 22, 7, 23]
    assert torch.equal(unpatchify(patches, (2, 2), 2), image)


def test_normalise_patches_value() -> None:
    patch = np.array([1.0, 2.0, 3.0, 6.0])
    expected = (patch - 3.0) / np.sqrt(patch.var(ddof=1) + 1e-6)
    np.testing.assert_allclose(normalise_patches(torch.tensor(patch)[None])[0].numpy(), expected)


def test_image_reconstruction_value() -> None:
    backbone, objective = built("image_reconstruction")
    state = small_state(backbone)
    total, count = objective(state)
    predicted = state.outputs["image_prediction"].numpy()
    target, masked = state.target.numpy(), state.image_mask.masked.numpy()
    expected, hidden = 0.0, 0
    for b in range(len(target)):
        for patch in range(16):
            if masked[b, patch]:
                row, column = divmod(patch, 4)
                block = target[b, 0, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].reshape(-1)
                block = (block - block.mean()) / np.sqrt(block.var(ddof=1) + 1e-6)
                expected += ((predicted[b, patch].astype(np.float32) - block.astype(np.float32)) ** 2).mean()
                hidden += 1
    assert int(count) == hidden == 4 * 12
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)


def test_image_reconstruction_does_not_see_hidden_patches() -> None:
    backbone, objective = built("image_reconstruction")
    state, changed = small_state(backbone), small_state(backbone)
    objective(state)
    hidden = changed.image_mask.masked.reshape(-1, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed.image = torch.where(hidden, changed.image + 3, changed.image)
    objective(changed)
    assert torch.equal(state.outputs["image_prediction"], changed.outputs["image_prediction"])


# report reconstruction


def test_report_reconstruction_value() -> None:
    backbone, objective = built("report_reconstruction")
    state = small_state(backbone)
    total, count = objective(state)
    masked = state.report_mask.masked
    hidden = state.fused[masked]
    logits = objective.head.transform(hidden) @ backbone.text.word_embeddings.T + objective.head.bias
    logits = logits.detach().float().numpy()
    truth = state.input_ids[masked].numpy()
    expected = sum(np.log(np.exp(row).sum()) - row[i] for row, i in zip(logits, truth, strict=True))
    assert int(count) == int(masked.sum())
    assert float(total.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_report_reconstruction_reads_the_image_and_not_the_hidden_words() -> None:
    backbone, objective = built("report_reconstruction")
    state, other_image, other_words = (small_state(backbone) for _ in range(3))
    loss = objective(state)[0]
    other_image.image = other_image.image.flip(0)
    assert float((objective(other_image)[0] - loss).abs().detach()) > 1e-4
    ids = other_words.input_ids.clone()
    ids[other_words.report_mask.masked] = MASK
    other_words.input_ids = ids
    assert torch.equal(other_words.fused, state.fused)


def test_report_head_is_tied_to_the_embedding_table() -> None:
    backbone, objective = built("report_reconstruction")
    objective(small_state(backbone))[0].backward()
    assert backbone.text.word_embeddings.grad is not None
    assert not any(p.shape == backbone.text.word_embeddings.shape for p in objective.parameters())


# global alignment


def test_global_alignment_value_by_hand() -> None:
    # two pairs of one group and one other; cosines chosen so that every term is known
    rows = torch.eye(3, dtype=torch.float64)
    group = torch.tensor([1, 1, 2])
    loss = group_contrast(2.0 * rows @ rows.T, group, group)
    row0 = -(0.5 * (2 - math.log(math.e**2 + 2)) + 0.5 * (0 - math.log(math.e**2 + 2))) - math.log(2)
    row2 = -(2 - math.log(math.e**2 + 2))
    assert loss.tolist() == pytest.approx([row0, row0, row2])


def test_global_alignment_floor_is_zero() -> None:
    rows = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]], dtype=torch.float64)
    group = torch.tensor([1, 1, 2])
    assert group_contrast(100.0 * rows @ rows.T, group, group).abs().max() < 1e-9


def test_global_alignment_value() -> None:
    backbone, objective = built("global_alignment")
    state = small_state(backbone)
    total, count = objective(state)
    image, text = (x.detach().numpy() for x in (state.global_image, state.global_text))
    group = state.group.numpy()
    expected = 0.0
    for queries, gallery in ((image, text), (text, image)):
        logits = queries @ gallery.T / 0.07
        for i in range(4):
            log_p = logits[i] - np.log(np.exp(logits[i]).sum())
            positive = group == group[i]
            expected += 0.5 * (-log_p[positive].mean() - np.log(positive.sum()))
    assert float(count) == 4
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)


# local alignment


def reference_contrast(query, context, valid, same, tau):
    losses = []
    for i in np.flatnonzero(valid):
        negatives = [j for j in np.flatnonzero(valid) if j == i or not same[i, j]]
        forward = np.log(sum(np.exp(query[i] @ context[j] / tau) for j in negatives))
        backward = np.log(sum(np.exp(query[j] @ context[i] / tau) for j in negatives))
        losses.append((forward + backward) / 2 - query[i] @ context[i] / tau)
    return np.mean(losses)


def reference_attend(query, keys, tau):
    weights = np.exp(query @ keys.T / tau)
    context = (weights / weights.sum(1, keepdims=True)) @ keys
    return context / np.linalg.norm(context, axis=1, keepdims=True)


def test_local_alignment_value() -> None:
    backbone, objective = built("local_alignment")
    state = small_state(backbone)
    total, count = objective(state)
    tau, expected = 0.1, 0.0
    pieces = backbone.align_local.text(state.text_features.tokens, normalise=False).detach().numpy()
    patches = state.local_image.detach().numpy()
    for b in range(4):
        words, identity = [], []
        for word in range(7):
            where = [t for t in range(12) if state.word_ids[b, t] == word and not state.report_mask.masked[b, t]]
            if where:
                mean = pieces[b, where].mean(0)
                words.append(mean / np.linalg.norm(mean))
                identity.append(tuple(state.input_ids[b, where].tolist()))
        query = np.array(words)
        same = np.array([[p == q for q in identity] for p in identity])
        everything = np.ones(len(patches[b]), bool)
        expected += reference_contrast(
            query, reference_attend(query, patches[b], tau), np.ones(len(query), bool), same, tau
        )
        nothing_same = np.zeros((len(patches[b]),) * 2, bool)
        expected += reference_contrast(
            patches[b], reference_attend(patches[b], query, tau), everything, nothing_same, tau
        )
    assert float(count) == 4
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_local_alignment_across_the_batch_value(chunk: int) -> None:
    options = LocalAlignmentOptions(negatives="batch", chunk=chunk)
    backbone = small_backbone(*options.needs)
    state = small_state(backbone)
    total, count = options.build(backbone).double()(state)
    words, patches = state.local_words, state.local_image.detach().numpy()
    scores = np.zeros((4, 4))
    for report in range(4):
        query = words.embeddings[report][words.valid[report]].detach().numpy()
        for image in range(4):
            cosine = (query * reference_attend(query, patches[image], 0.1)).sum(1)
            scores[image, report] = np.log(np.exp(5 * cosine).mean()) / 5
    group, expected = state.group.numpy(), 0.0
    for logits in (scores / 0.1, scores.T / 0.1):
        for i in range(4):
            log_p = logits[i] - np.log(np.exp(logits[i]).sum())
            positive = group == group[i]
            expected += 0.5 * (-log_p[positive].mean() - np.log(positive.sum()))
    assert float(count) == 4
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)


def test_equal_words_are_not_negatives() -> None:
    query = torch.nn.functional.normalize(torch.randn(1, 3, 4, dtype=torch.float64), dim=-1)
    query[0, 1] = query[0, 0]
    valid = torch.ones(1, 3, dtype=torch.bool)
    same = torch.eye(3, dtype=torch.bool)[None].clone()
    same[0, 0, 1] = same[0, 1, 0] = True
    context = attend(query, query, None, 0.1)
    with_negatives = token_contrast(query, context, valid, torch.eye(3, dtype=torch.bool)[None], 0.1)
    assert token_contrast(query, context, valid, same, 0.1) < with_negatives


def test_words_of_value() -> None:
    pieces = torch.tensor([[[9.0, 9], [1, 0], [3, 0], [0, 5], [0, 5]]])
    ids, owners = torch.tensor([[2, 10, 11, 10, 11]]), torch.tensor([[-1, 0, 0, 1, 1]])
    every = torch.ones(1, 5, dtype=torch.bool)
    counts = WordCounts.of(owners, every)
    words = words_of(pieces, ids, owners, every, counts)
    assert counts == WordCounts(slots=2, longest=2, valid=2)
    assert words.embeddings[0].tolist() == [[1, 0], [0, 1]] and words.valid.all()
    assert words.same[0, 0, 1]
    swapped = words_of(pieces, torch.tensor([[2, 11, 10, 10, 11]]), owners, every, counts)
    assert not swapped.same[0, 0, 1]
    some = torch.tensor([[True, True, True, False, False]])
    partly = words_of(pieces, ids, owners, some, WordCounts.of(owners, some))
    assert partly.valid.tolist() == [[True, False]] and partly.count == 1


def test_local_gap_value() -> None:
    backbone, objective = built("local_alignment")
    state = small_state(backbone)
    total, count = objective.monitor(state)["local_gap"]
    own = objective.losses(state.local_words, state.local_image, state.group)
    rolled = objective.losses(state.local_words, state.local_image.roll(1, 0), state.group)
    different = torch.tensor([True, True, False, True])  # groups 7, 8, 8, 9: the third follows one of its own group
    assert float(count) == 3
    assert float(total) == pytest.approx(float((rolled - own)[different].sum()))


@pytest.mark.parametrize("name", ["local_alignment", "local_alignment_batch"])
def test_sample_without_visible_word_counts_nothing(name: str) -> None:
    backbone, objective = built(name)
    state = small_state(backbone)
    state.report_mask.masked[0] = state.word_ids[0] >= 0
    total, count = objective(state)
    assert float(count) == 3 and torch.isfinite(total)


# pairing


@pytest.mark.parametrize("name", ["global_alignment", "local_alignment"])
def test_unmasked_align_reads_whole_inputs_value(name: str) -> None:
    """The extra pass gives what joint pairing gives when nothing is masked."""
    backbone, objective = built(name)
    state, bare = small_state(backbone), small_state(backbone)
    joint = objective(small_state(backbone))[0]
    state.pairing = "unmasked_align"
    bare.image_mask = None
    bare.report_mask = ReportMask.nothing(bare.input_ids)
    total = objective(state)[0]
    assert torch.allclose(total, objective(bare)[0]) and not torch.allclose(total, joint)
    assert objective.reads(state, "image") is state.aligned_image is not state.image_features


# every objective


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("fusion", ["cross", "pooled"])
def test_gradient_reaches_every_built_parameter(name: str, fusion: str) -> None:
    backbone, objective = built(name, fusion={"kind": fusion})
    total, count = objective(small_state(backbone))
    (total / count).backward()
    for part, module in (("backbone", backbone), ("objective", objective)):
        for parameter_name, parameter in module.named_parameters():
            assert parameter.grad is not None, f"{part}.{parameter_name} got no gradient from {name}"
            assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("memory", ["text", "none"])
def test_gradient_reaches_memory(memory: str) -> None:
    backbone, objective = built("report_reconstruction", fusion={"memory": memory})
    objective(small_state(backbone))[0].backward()
    slots = [p for n, p in backbone.named_parameters() if "memory_" in n]
    assert len(slots) == (2 if memory == "text" else 0)
    assert all(p.grad.abs().sum() > 0 for p in slots)


@pytest.mark.parametrize("name", BUILT)
def test_only_what_is_needed_is_built(name: str) -> None:
    backbone, _ = built(name)
    expected = {
        "image_reconstruction": ("image",),
        "report_reconstruction": ("image", "text", "fusion"),
        "global_alignment": ("image", "text", "align_global"),
        "local_alignment": ("image", "text", "align_local"),
        "local_alignment_batch": ("image", "text", "align_local"),
        "image_text_matching": ("image", "text", "fusion"),
    }
    assert name in expected, f"add the parts of the backbone that {name} builds"
    assert backbone.parts == expected[name]
    assert {n.split(".")[0] for n, _ in backbone.named_parameters()} == set(backbone.parts)


@pytest.mark.parametrize("name", BUILT)
def test_missing_input_error(name: str) -> None:
    backbone, objective = built(name)
    state = small_state(backbone)
    state.image_mask = state.report_mask = None
    with pytest.raises(KeyError, match=r"image_mask|report_mask"):
        objective(state)


@pytest.mark.parametrize("options", [GlobalAlignmentOptions(temperature=0.0), LocalAlignmentOptions(temperature=-1.0)])
def test_temperature_error(options) -> None:
    with pytest.raises(UserError, match="temperature"):
        options.build(small_backbone(*options.needs))


def test_weight_zero_switches_off() -> None:
    objectives = Objectives(
        global_alignment=GlobalAlignmentOptions(weight=0), local_alignment=LocalAlignmentOptions(weight=0)
    )
    assert list(objectives.active()) == ["image_reconstruction", "report_reconstruction"]
