"""Metrics against values computed by hand."""

from math import comb

import numpy as np
import pytest
import torch

from data_modules.errors import UserError
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.evaluation.classification import auroc_by_class, macro
from mpma_lightning.evaluation.interpolation import InterpolationEvaluator, interpolate_hidden
from mpma_lightning.evaluation.linear_probe import ProbeEvaluator, linear_probe, thumbnails
from mpma_lightning.evaluation.metric import by_name
from mpma_lightning.evaluation.retrieval import chance_recall, rank_queries
from mpma_lightning.evaluation.word_recovery import WordRecoveryEvaluator, finding_word_pieces, other_patient
from mpma_lightning.evaluation.zero_shot import Prompts, ZeroShotEvaluator, load_prompts


def test_retrieval_value() -> None:
    gallery = np.array([[1.0, 0], [0.8, 0.6], [0, 1.0], [-1.0, 0]])
    query = np.array([[1.0, 0], [1.0, 0], [0, 1.0]])
    # scores: [1 .8 0 -1], the same, [0 .6 1 0]; positives: {3}, {1, 3}, {2}: best ranks 4, 2, 1
    result = rank_queries(query, gallery, np.array([7, 8, 9]), np.array([1, 8, 9, 7]), ks=(1, 2, 4))
    assert result.recall == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3), 4: 1.0}
    assert result.median_rank == 2 and result.queries == 3
    several = rank_queries(query[:1], gallery, np.array([7]), np.array([1, 7, 9, 7]), ks=(1, 2))
    assert several.recall == {1: 0.0, 2: 1.0}


def test_retrieval_ties_count_against_us_and_queries_without_positive_are_left_out() -> None:
    same = np.ones((4, 1))
    result = rank_queries(same, same, np.array([1, 2, 3, 99]), np.array([1, 2, 3, 4]), ks=(1, 4))
    assert result.recall == {1: 0.0, 4: 1.0} and result.queries == 3


def test_retrieval_does_not_depend_on_the_chunk() -> None:
    rng = np.random.default_rng(0)
    query, gallery, groups = rng.normal(size=(50, 8)), rng.normal(size=(50, 8)), rng.integers(0, 20, 50)
    parts, whole = (rank_queries(query, gallery, groups, groups, chunk=chunk) for chunk in (7, 1024))
    assert np.array_equal(parts.best, whole.best) and np.array_equal(parts.found, whole.found)
    assert np.array_equal(parts.average_precision, whole.average_precision)


def test_chance_value() -> None:
    groups = np.array([1, 1, 2, 3, 4, 5])
    pair = 1 - comb(4, 2) / comb(6, 2)
    single = 1 - comb(5, 2) / comb(6, 2)
    assert chance_recall(groups, groups, 2) == pytest.approx((2 * pair + 4 * single) / 6)
    assert chance_recall(groups, groups, 6) == pytest.approx(1)
    assert chance_recall(np.array([1, 42]), groups, 1) == pytest.approx(2 / 6)


def test_zero_shot_value() -> None:
    prompts = Prompts(
        {"Effusion": ["a", "b"], "Edema": ["c"]}, {"Effusion": ["d"], "Edema": ["e"]}, frozenset(), frozenset()
    )
    evaluator = ZeroShotEvaluator(prompts, ["Edema", "Fracture", "Pleural Effusion"])
    assert evaluator.classes == ["Edema", "Pleural Effusion"] and evaluator.columns == [0, 2]
    assert evaluator.texts == ["c", "e", "a", "b", "d"] and evaluator.sizes == [1, 1, 2, 1]
    directions = evaluator.directions(torch.tensor([[0, 2.0], [3.0, 0], [1.0, 0], [0.6, 0.8], [0, 1.0]]))
    ensemble = np.array([1.6, 0.8]) / np.hypot(1.6, 0.8)
    assert directions.tolist() == [pytest.approx([-1, 1]), pytest.approx([ensemble[0], ensemble[1] - 1])]
    assert ZeroShotEvaluator(prompts, []).classes == ["Effusion", "Edema"]


def test_auroc_leaves_unknown_out() -> None:
    labels = np.array([[1, 0], [0, np.nan], [np.nan, 0], [1, 0]])
    scores = np.array([[0.9, 1], [0.1, 1], [0.99, 1], [0.05, 1]])
    assert auroc_by_class(labels, scores, ["a", "b"]) == {"a": 0.5}
    assert np.isnan(macro({}))


def test_linear_probe_value() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 5))
    labels = np.stack([(features[:, 0] > 0), rng.random(300) > 0.5], 1).astype(float)
    labels[::7, 0] = np.nan
    result = linear_probe(features[:200], labels[:200], features[200:], labels[200:], ["real", "noise"])
    assert result["real"] > 0.97 and 0.3 < result["noise"] < 0.7
    few = by_name(
        ProbeEvaluator(100, 2).evaluate(features[:200], labels[:200], features[200:], labels[200:], ["r", "n"])
    )
    assert set(few) == {"probe100_auroc"} and few["probe100_auroc"] > 0.65
    assert ProbeEvaluator(100, 2).evaluate(features[:50], labels[:50], features, labels, ["r", "n"]) == {}


def test_interpolation_keeps_visible_pixels_and_fits_a_plane() -> None:
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    image = (x + y)[None, None]
    masked = torch.zeros(1, 16, dtype=torch.bool)
    masked[0, [5, 10]] = True
    filled = interpolate_hidden(image, masked, (4, 4))
    hidden = masked.reshape(1, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert torch.equal(filled[~hidden], image[~hidden])
    assert (filled - image)[hidden].abs().mean() < 0.1 * image.std() * 3


def test_least_error_value() -> None:
    truth, guess = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 4, 4)
    masked = torch.ones(1, 1, dtype=torch.bool)
    evaluator = InterpolationEvaluator()
    assert evaluator.compute() == {}
    evaluator.add(guess, truth, masked, 4)
    t, g = ((x - x.mean()) / (x.var() + 1e-6).sqrt() for x in (truth.double(), guess.double()))
    best = min(float(((t - a * g) ** 2).mean()) for a in np.linspace(-2, 2, 4001))
    assert by_name(evaluator.compute())["interpolation_mse"] == pytest.approx(best, abs=1e-4)


def test_thumbnail_value() -> None:
    image = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    image[0, 0, :2, :2] = 255
    assert thumbnails(image)[0, 0] == 1 and thumbnails(image)[0, 1:].sum() == 0


def test_finding_words_value() -> None:
    tokenizer = Tokenizer.train(["small left pleural effusion is seen"] * 5, 300, 1)
    ids, _, words = tokenizer.encode("Small LEFT pleural effusion.", 12)
    found = finding_word_pieces(torch.tensor([ids]), torch.tensor([words]), tokenizer, frozenset({"left", "effusion"}))
    picked = tokenizer.decode([i for i, hit in zip(ids, found[0], strict=True) if hit])
    assert picked == "left effusion"


def test_other_patient_value() -> None:
    partner = other_patient(["a", "a", "b", "c"])
    assert partner is not None and partner.tolist() == [2, 3, 0, 1]
    assert other_patient(["a", "a"]) is None


def test_word_recovery_value() -> None:
    evaluator = WordRecoveryEvaluator()
    assert evaluator.compute() == {}
    evaluator.add(
        torch.tensor([5, 6, 7]),
        torch.tensor([5, 6, 1]),
        torch.tensor([5, 1, 1]),
        {"slot_entropy": (torch.tensor(0.6), torch.tensor(3))},
    )
    evaluator.add(
        torch.tensor([8]), torch.tensor([8]), torch.tensor([8]), {"slot_entropy": (torch.tensor(0.8), torch.tensor(1))}
    )
    found = {"finding_word_accuracy": 3 / 4, "finding_word_accuracy_shuffled_image": 2 / 4, "finding_word_gap": 1 / 4}
    assert by_name(evaluator.compute()) == pytest.approx(found | {"slot_entropy": 1.4 / 4})
    evaluator.add(torch.tensor([8]), torch.tensor([8]), torch.tensor([9]), {})
    assert by_name(evaluator.compute())["finding_word_gap"] == 1 and evaluator.compute() == {}


def test_prompts_are_shipped_and_checked(tmp_path) -> None:
    prompts = load_prompts("chest_xray")
    assert "effusion" in prompts.finding_words and set(prompts.positive) == set(prompts.negative)
    with pytest.raises(UserError, match="does not exist; give a path or one of: chest_xray"):
        load_prompts("chest_xrays")
    bad = tmp_path / "bad.yaml"
    bad.write_text("findings: {Edema: {positive: [edema]}}")
    with pytest.raises(UserError, match="'Edema' needs both"):
        load_prompts(bad)


def test_value_mean_average_precision_with_ties_and_several_positives() -> None:
    """Row 0: positives at ranks 1 and 3 of 4: (1/1 + 2/3) / 2. Row 1: one positive tied with a negative: 1/2."""
    scores = np.array([[0.9, 0.5, 0.4, 0.1], [0.3, 0.7, 0.7, 0.1]])
    group = np.array([0, 1])
    ranked = rank_queries(scores, np.eye(4), group, np.array([0, 1, 0, 2]))
    assert ranked.average_precision.tolist() == pytest.approx([(1 + 2 / 3) / 2, 1 / 2])
    result = rank_queries(scores, np.eye(4), group, np.array([0, 1, 0, 2]), ks=(1, 2), chunk=1)
    assert result.mean_average_precision == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert result.recall == {1: 0.5, 2: 1.0}
