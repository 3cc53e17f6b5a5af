"""Settings of local alignment: values by loops in numpy, what is a negative, and errors."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_fixtures import small_backbone, small_state
from torch import Tensor

from data_modules.errors import UserError
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions, swapped_gap
from mpma_lightning.objectives.local_scores import sparse_grouping
from mpma_lightning.objectives.sentences import Sentences, is_negated
from mpma_lightning.objectives.state import PretrainingState


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sparse(similarity: np.ndarray) -> np.ndarray:
    rows = []
    for row in similarity:
        scaled = (row - row.min()) / (row.max() - row.min())
        scaled[scaled < 1 / len(row)] = 0
        rows.append(scaled / scaled.sum())
    return np.array(rows)


def cosines(query: np.ndarray, patches: np.ndarray, weights: np.ndarray) -> np.ndarray:
    context = weights @ patches
    return (query * context / np.linalg.norm(context, axis=1, keepdims=True)).sum(1)


def built(**settings: Any):
    options = LocalAlignmentOptions(**settings)
    backbone = small_backbone(*options.needs)
    return options.build(backbone).double(), small_state(backbone)


def told(state: PretrainingState) -> list[list[int]]:
    assert state.sentences is not None
    return [[int(s) for s in row if s >= 0] for row in state.sentences.slot]


def belongs(state: PretrainingState) -> np.ndarray:
    """(images, sentences): in a report of the image's group."""
    own, group = told(state), state.group.tolist()
    found = np.zeros((len(own), 6), bool)
    for i, j in np.ndindex(len(own), len(own)):
        if group[i] == group[j]:
            found[i, own[j]] = True
    return found


def board(state: PretrainingState, tau: float, weigh: Any) -> np.ndarray:
    """(sentences, images) scores over τ."""
    query, patches = state.sentence_queries.detach().numpy(), state.local_image.detach().numpy()
    return np.array([cosines(query, image, weigh(query @ image.T)) for image in patches]).T / tau


# sentences


@pytest.mark.parametrize("grouping", ["softmax", "sparse"])
def test_sentences_value(grouping: str) -> None:
    objective, state = built(queries="sentences", grouping=grouping, temperature=0.2, chunk=3)
    total, count = objective(state)
    z = board(state, 0.2, sparse if grouping == "sparse" else lambda s: softmax(s / 0.2))
    holds, expected = belongs(state), 0.0
    present = sorted({s for own in told(state) for s in own})
    for i, own in enumerate(told(state)):
        losses = []
        for s in own:
            rows = [j for j in range(4) if j == i or not holds[j, s]]
            columns = [t for t in present if t == s or not holds[i, t]]
            losses.append((np.logaddexp.reduce(z[s, rows]) + np.logaddexp.reduce(z[columns, i])) / 2 - z[s, i])
        expected += np.mean(losses)
    assert float(count) == 4 and expected > 1
    assert float(total.detach()) == pytest.approx(expected, rel=1e-6)


def test_sigmoid_sentences_value() -> None:
    objective, state = built(queries="sentences", contrast="sigmoid", attention_temperature=0.3)
    assert objective.bias is not None
    objective.bias.data.fill_(-2.0)
    total, _ = objective(state)
    z, holds = board(state, 0.1, lambda s: softmax(s / 0.3)), belongs(state)
    present = sorted({s for own in told(state) for s in own})
    expected = sum(np.log1p(np.exp((-1 if holds[i, s] else 1) * (z[s, i] - 2))) for i in range(4) for s in present)
    assert float(total.detach()) == pytest.approx(expected, rel=1e-6)
    total.backward()
    assert objective.bias.grad is not None and float(objective.bias.grad.abs()) > 0


def test_value_equal_sentences_and_images_of_one_group_are_no_negatives() -> None:
    """Where all reports say the same, or all are of one study, nothing is left to tell apart."""
    objective, state = built(queries="sentences")
    assert state.sentences is not None
    state.sentences.slot = torch.tensor([[0, 1], [1, 0], [0, 1], [1, 0]])
    assert float(objective(state)[0].detach()) == 0
    objective, state = built(queries="sentences")
    state.group = torch.zeros(4, dtype=torch.long)
    assert float(objective(state)[0].detach()) == 0
    objective, state = built(queries="sentences")
    assert float(objective(state)[0].detach()) > 1


def test_value_report_without_a_sentence_counts_nothing() -> None:
    for contrast in ("softmax", "sigmoid"):
        objective, state = built(queries="sentences", contrast=contrast)
        assert state.sentences is not None
        state.sentences.slot = state.sentences.slot.clone()
        state.sentences.slot[1] = -1
        total, count = objective(state)
        assert float(count) == 3 and torch.isfinite(total)
        _, bare = built(queries="sentences")
        bare.sentences = Sentences.of(["", "", "", ""], tokenizer(), 8, "cpu")
        total, count = objective(bare)
        assert float(count) == 0 == float(total.detach()) and objective.monitor(bare)["local_gap"][1] == 0


def test_value_sentence_query_reads_as_the_map_of_a_phrase() -> None:
    _, state = built(queries="sentences")
    sentences = state.sentences
    assert sentences is not None
    tokens = state.backbone.text(sentences.input_ids[2:3], sentences.attention_mask[2:3]).tokens
    pieces = state.backbone.align_local.text(tokens, normalise=False)[0].detach().numpy()
    words = [pieces[1:3].mean(0), pieces[3]]
    mean = sum(word / np.linalg.norm(word) for word in words)
    np.testing.assert_allclose(state.sentence_queries[2].detach().numpy(), mean / np.linalg.norm(mean))


def test_sentence_gap_value() -> None:
    objective, state = built(queries="sentences")
    total, count = objective.monitor(state)["local_gap"]
    z, holds = board(state, 0.1, lambda s: softmax(s / 0.1)), belongs(state)
    gaps = []
    for i, own in enumerate(told(state)):
        before = (i - 1) % 4
        for s in own:
            if not holds[before, s]:
                rest = [j for j in range(4) if not holds[j, s] and j != before]
                loss = [np.logaddexp.reduce(z[s, [*rest, j]]) - z[s, j] if rest else 0 for j in (before, i)]
                gaps.append(loss[0] - loss[1])
    assert float(count) == len(gaps) > 2
    assert float(total) == pytest.approx(sum(gaps), rel=1e-6)
    assert state.across_ranks is False


# words


def words_board(state: PretrainingState, weigh: Any) -> np.ndarray:
    """(images, reports) scores."""
    words, patches = state.local_words, state.local_image.detach().numpy()
    scores = np.zeros((4, 4))
    for image, report in np.ndindex(4, 4):
        query = words.embeddings[report][words.valid[report]].detach().numpy()
        cosine = cosines(query, patches[image], weigh(query @ patches[image].T))
        scores[image, report] = np.log(np.exp(5 * cosine).mean()) / 5
    return scores


@pytest.mark.parametrize(
    ("settings", "weigh"),
    [
        ({"grouping": "sparse"}, sparse),
        ({"attention_temperature": 0.25}, lambda s: softmax(s / 0.25)),
        ({"attention_temperature": 0.25, "learn_temperature": True}, lambda s: softmax(s / 0.25)),
    ],
)
def test_words_value(settings: dict[str, Any], weigh: Any) -> None:
    objective, state = built(**settings)
    total, _ = objective(state)
    scores, group, expected = words_board(state, weigh), state.group.numpy(), 0.0
    for logits in (scores / 0.1, scores.T / 0.1):
        for i in range(4):
            log_p = logits[i] - np.logaddexp.reduce(logits[i])
            positive = group == group[i]
            expected += 0.5 * (-log_p[positive].mean() - np.log(positive.sum()))
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)


def test_sigmoid_words_value() -> None:
    objective, state = built(contrast="sigmoid")
    total, _ = objective(state)
    scores, group = words_board(state, lambda s: softmax(s / 0.1)), state.group.numpy()
    expected = sum(
        np.log1p(np.exp((-1 if group[i] == group[j] else 1) * (scores[i, j] / 0.1 - 10))) for i, j in np.ndindex(4, 4)
    )
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)


def test_pair_negatives_with_an_attention_temperature_value() -> None:
    same, state = built(negatives="pair", attention_temperature=0.1)
    apart, _ = built(negatives="pair", attention_temperature=0.5)
    usual, _ = built(negatives="pair")
    values = [float(one(state)[0].detach()) for one in (same, apart, usual)]
    assert values[0] == values[2] != values[1]


def test_sparse_grouping_value_by_hand() -> None:
    found = sparse_grouping(torch.tensor([[0.2, 0.6, 0.4, 0.25], [0.3, 0.3, 0.3, 0.3]], dtype=torch.float64))
    # scaled 0, 1, .5, .125; the last is below 1/4
    assert found[0].tolist() == pytest.approx([0, 2 / 3, 1 / 3, 0])
    assert found[1].tolist() == [0.25] * 4
    one = torch.tensor([[0.7]], requires_grad=True)
    weights = sparse_grouping(one)
    weights.sum().backward()
    assert weights.item() == 1 and one.grad is not None and torch.isfinite(one.grad).all()


def test_swapped_gap_value() -> None:
    logits = torch.tensor(np.random.default_rng(0).normal(size=(4, 4)))
    group, expected = [7, 8, 8, 9], []
    for i in range(4):
        j = (i - 1) % 4
        rest = [k for k in range(4) if group[k] not in (group[i], group[j])]
        both = []
        for rows in (logits.numpy(), logits.numpy().T):
            own, other = (np.logaddexp.reduce(rows[i, [*rest, k]]) - rows[i, k] for k in (i, j))
            both.append(other - own)
        expected.append(np.mean(both))
    assert swapped_gap(logits, torch.tensor(group), torch.ones(len(group), dtype=torch.bool)).tolist() == pytest.approx(
        expected
    )


def test_value_gap_is_zero_on_average_where_scores_ignore_the_pair() -> None:
    logits = torch.randn(400, 8, 8, generator=torch.Generator().manual_seed(0)) * 3
    own, every = torch.arange(8), torch.ones(8, dtype=torch.bool)
    gaps = torch.stack([swapped_gap(one, own, every).mean() for one in logits])
    assert abs(float(gaps.mean())) < 3 * float(gaps.std()) / math.sqrt(len(gaps))
    paired = torch.stack([swapped_gap(one + 4 * torch.eye(8), own, every).mean() for one in logits])
    assert 0 < float(paired.mean()) <= 4


# errors


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"attention_temperature": 0.0}, "attention_temperature of local alignment is 0.0; expected more than 0"),
        ({"negatives": "pair", "queries": "sentences"}, "local_alignment.queries is sentences; expected words with"),
        ({"negatives": "pair", "grouping": "sparse"}, "local_alignment.grouping is sparse; expected softmax with"),
        ({"negatives": "pair", "contrast": "sigmoid"}, "local_alignment.contrast is sigmoid; expected softmax with"),
        ({"grouping": "sparse", "attention_temperature": 0.2}, "grouping: sparse has no temperature; leave it out"),
    ],
)
def test_error_settings_that_do_not_work_together(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        built(**settings)


def test_error_without_sentences() -> None:
    objective, state = built(queries="sentences")
    state.sentences = None
    with pytest.raises(KeyError, match="sentences"):
        objective(state)


# splitting


def tokenizer() -> Tokenizer:
    return Tokenizer.train(["No effusion is seen. The heart is large and the lungs are clear."], 400)


def ids_of(found: Sentences, row: int) -> list[int]:
    return found.input_ids[row][found.attention_mask[row] > 0].tolist()


def test_sentences_of_value() -> None:
    words = tokenizer()
    texts = ["The heart is large. No effusion.", "NO EFFUSION! ___. No effusion.", "", "The heart is large."]
    found = Sentences.of(texts, words, 64, "cpu")
    assert found.slot.tolist() == [[0, 1], [1, -1], [-1, -1], [0, -1]]
    assert found.identity.tolist() == Sentences.of(texts[::-1], words, 64, "cpu").identity.tolist()
    assert found.negated.tolist() == [False, True]
    for row, text in enumerate(("The heart is large.", "No effusion.")):
        length = len(ids_of(found, row))
        ids, mask, owners = words.encode(text, length)
        assert ids_of(found, row) == ids and mask == [1] * length
        assert found.word_ids[row][:length].tolist() == owners
    cut = Sentences.of(texts, words, 4, "cpu")
    assert cut.input_ids.shape == (2, 4)
    assert found.rows(3, 4).slot.tolist() == [[0, -1]] and found.rows(3, 4).input_ids is found.input_ids


@given(st.lists(st.text("aA bc.!?\n_1", max_size=30), min_size=1, max_size=4))
def test_value_sentences_of_any_text(texts: list[str]) -> None:
    found = Sentences.of(texts, TOKENIZER, 16, "cpu")
    assert found.slot.shape[0] == len(texts) and found.input_ids.shape == found.word_ids.shape
    assert len(found.identity.unique()) == len(found.identity) == len(found.input_ids)
    used: Tensor = found.slot[found.slot >= 0]
    if len(used):
        assert sorted(used.unique().tolist()) == list(range(len(found.identity)))
        assert bool((found.word_ids.amax(1) >= 0).all())
    else:
        assert found.input_ids.shape == (1, 2)


TOKENIZER = tokenizer()


@pytest.mark.parametrize(
    ("sentence", "negated"),
    [
        ("No pleural effusion.", True),
        ("The lungs are clear.", True),
        ("Without pneumothorax", True),
        ("Left basal effusion.", False),
        ("Nodule in the right lung.", False),
    ],
)
def test_is_negated_value(sentence: str, negated: bool) -> None:
    assert is_negated(sentence) == negated
