"""Reports are split into their distinct sentences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_fixtures import small_backbone, small_sentences
from torch import Tensor

from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.evaluation.sentences import Sentences, is_negated


def test_value_sentence_query_reads_as_the_map_of_a_phrase() -> None:
    backbone, sentences = small_backbone("text", "align_local"), small_sentences(4)
    tokens = backbone.text(sentences.input_ids[2:3], sentences.attention_mask[2:3]).tokens
    pieces = backbone.align_local.text(tokens, normalise=False)[0].detach().numpy()
    words = [pieces[1:3].mean(0), pieces[3]]
    mean = sum(word / np.linalg.norm(word) for word in words)
    found = sentences.queries(backbone)[2].detach().numpy()
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean))


def tokenizer() -> Tokenizer:
    return Tokenizer.train(["No effusion is seen. The heart is large and the lungs are clear."], 400)


def ids_of(found: Sentences, row: int) -> list[int]:
    return found.input_ids[row][found.attention_mask[row] > 0].tolist()


def test_sentences_of_value() -> None:
    words = tokenizer()
    texts = ["The heart is large. No effusion.", "NO EFFUSION! ___. No effusion.", "", "The heart is large."]
    found = Sentences.of(texts, words, 64, "cpu")
    assert found.slot.tolist() == [[0, 1], [1, -1], [-1, -1], [0, -1]]
    assert found.negated.tolist() == [False, True]
    for row, text in enumerate(("The heart is large.", "No effusion.")):
        length = len(ids_of(found, row))
        ids, mask, owners = words.encode(text, length)
        assert ids_of(found, row) == ids and mask == [1] * length
        assert found.word_ids[row][:length].tolist() == owners
    cut = Sentences.of(texts, words, 4, "cpu")
    assert cut.input_ids.shape == (2, 4)


@given(st.lists(st.text("aA bc.!?\n_1", max_size=30), min_size=1, max_size=4))
def test_value_sentences_of_any_text(texts: list[str]) -> None:
    found = Sentences.of(texts, TOKENIZER, 16, "cpu")
    assert found.slot.shape[0] == len(texts) and found.input_ids.shape == found.word_ids.shape
    used: Tensor = found.slot[found.slot >= 0]
    if len(used):
        assert sorted(used.unique().tolist()) == list(range(len(found.input_ids)))
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
