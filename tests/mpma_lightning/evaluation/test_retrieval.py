"""Shortlists, match scores, rerank and precision against values computed by hand; the matching loss; two processes."""

import multiprocessing
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from model_fixtures import small_backbone, small_state

from data_modules.errors import UserError
from mpma_lightning.backbones import Features
from mpma_lightning.evaluation import both_directions
from mpma_lightning.evaluation.both_directions import (
    RetrievalEvaluator,
    choose_alpha,
    direction_scores,
    ranked_everywhere,
    shortlisted,
)
from mpma_lightning.evaluation.fused_pairs import EncodedPairs
from mpma_lightning.evaluation.metric import by_name
from mpma_lightning.evaluation.rerank import MatchScores, Shortlist, best_alpha, shortlists, union_of_pairs
from mpma_lightning.evaluation.retrieval import rank_queries
from mpma_lightning.objectives.match_ranking import MatchRanking, MatchRankingOptions
from mpma_lightning.tasks.retrieval import RetrievalTask

DUAL = np.array([[0.9, 0.5, 0.4, 0.1], [0.3, 0.7, 0.6, 0.1]])
"""Scores of two queries; the second query's own item is number 3 (0.1), the first one's number 1 (0.5)."""


def test_value_shortlists_and_pairs() -> None:
    lists = shortlists(DUAL, np.eye(4), 2, chunk=1)
    assert lists.tolist() == [[0, 1], [1, 2]]
    assert shortlists(DUAL, np.eye(4), 9).shape == (2, 4)
    back = np.array([[0], [1], [1], [0]])  # the best image of each of four texts
    pairs = union_of_pairs(lists, back)
    assert pairs.tolist() == [[0, 0], [0, 1], [0, 3], [1, 1], [1, 2]]  # (0, 0), (1, 1), (1, 2) are in both: once
    assert len(pairs) <= lists.size + back.size


def test_value_match_scores() -> None:
    match = MatchScores(np.array([[1, 2], [0, 0], [1, 0]]), np.array([5.0, 6.0, 7.0]))
    assert match.of(np.array([[1], [0]]), np.array([[0], [0]])).tolist() == [[7], [6]]
    with pytest.raises(KeyError, match="on no shortlist"):
        match.of(np.array([0]), np.array([1]))


def test_value_rerank_moves_within_the_shortlist_only() -> None:
    groups = np.array([1, 3]), np.arange(4)
    lists = np.array([[0, 1], [1, 2]])
    match = np.array([[0.0, 1.0], [-3.0, 2.0]])

    def best(alpha: float) -> list[int]:
        return rank_queries(DUAL, np.eye(4), *groups, chunk=1, reorder=Shortlist(lists, match, alpha)).best.tolist()

    assert best(0.0) == [2, 4]
    assert best(0.3) == [2, 4]  # 0.5 + 0.3 < 0.9
    assert best(0.5) == [1, 4]  # 0.5 + 0.5 > 0.9; item 3 of query 1 is on no list and stays behind
    order = Shortlist(lists, match, 0.5)(DUAL, 0)
    assert np.argsort(-order, axis=1).tolist() == [[1, 0, 2, 3], [2, 1, 0, 3]]
    assert np.array_equal(Shortlist(lists, match, 0.5).of(slice(1, None))(DUAL[1:], 0), order[1:])


def test_value_alpha_is_the_smallest_of_equals() -> None:
    assert best_alpha({0.0: 0.4, 0.1: 0.4, 1.0: 0.3}) == 0.0
    assert best_alpha({0.0: 0.4, 1.0: 0.5, 0.1: 0.5}) == 0.1


def test_value_precision_of_the_first() -> None:
    """Query 0: positives at ranks 1 and 3. Query 1: positives 0 and 3 at ranks 3 and 4."""
    result = rank_queries(DUAL, np.eye(4), np.array([0, 1]), np.array([0, 5, 0, 5]), ks=(1, 2, 4))
    assert result.queries == 1 and result.precision == {1: 1.0, 2: 0.5, 4: 0.5}
    both = rank_queries(DUAL, np.eye(4), np.array([0, 0]), np.array([0, 5, 0, 5]), ks=(1, 2, 4))
    # query 1 ranks item 1, 2, 0, 3: positives 2 and 0 at ranks 2 and 3
    assert both.precision == {1: 0.5, 2: 0.5, 4: 0.5} and both.recall == {1: 0.5, 2: 1.0, 4: 1.0}


def columns(seed: int = 0, count: int = 23) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(count, 6)).astype(np.float32)
    text = image + rng.normal(size=image.shape).astype(np.float32)
    image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
    return {"image": image, "text": text, "group": rng.integers(0, 15, count)}


def test_value_sample_hits_in_the_order_of_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks: the queries 0, 2, 4, … and then 1, 3, …, each with its own id and patient."""
    rows = columns() | {"id": np.array([f"film {i}" for i in range(23)]), "patient": np.arange(23) // 2}
    evaluator = RetrievalEvaluator(rows)
    evaluator.evaluate()
    alone = evaluator.samples().frame()
    shares = [np.arange(r, 23, 2) for r in (0, 1)]
    for result in evaluator.ranked.values():
        result.best = np.concatenate([result.best[share] for share in shares])
    monkeypatch.setattr(both_directions, "world_size", lambda: 2)
    many = evaluator.samples().frame()
    assert many["id"][:2].tolist() == ["film 0", "film 2"] and many["patient"][:3].tolist() == ["0", "1", "2"]
    order = np.concatenate(shares)
    assert all(np.array_equal(many[name], alone[name][order]) for name in alone) and "i2t_r10" in many


def same_group(rows: dict[str, np.ndarray]) -> np.ndarray:
    return (rows["group"][:, None] == rows["group"][None]).astype(np.float64)


def test_value_perfect_match_scores_give_the_best_rerank() -> None:
    """Matching that knows the truth lifts every positive of the shortlist to the top: recall at 1 is recall at k."""
    rows = columns()
    truth = same_group(rows)
    orders, pairs = shortlisted(rows, 5, lambda pairs: truth[pairs[:, 0], pairs[:, 1]])
    assert pairs <= 2 * 23 * 5
    alpha = choose_alpha(rows, orders)
    for name, order in orders.items():
        assert alpha[name] > 0
        order.alpha = 2.0  # twice the largest difference of two cosines is not needed within a shortlist
    before, after = ranked_everywhere(rows), ranked_everywhere(rows, orders)
    for name in before:
        assert after[name].recall[1] == pytest.approx(before[name].recall[5])
        assert after[name].mean_average_precision > before[name].mean_average_precision
    assert by_name(direction_scores(after))["i2t_r1"] == after["i2t"].recall[1]
    assert "t2i_p5" in by_name(direction_scores(after, "h"))


def test_value_no_gain_is_zero() -> None:
    rows = columns()
    wrong = -same_group(rows)
    alpha = choose_alpha(rows, shortlisted(rows, 5, lambda pairs: wrong[pairs[:, 0], pairs[:, 1]])[0])
    assert alpha == {"i2t": 0.0, "t2i": 0.0}


def test_error_rerank_by_class() -> None:
    with pytest.raises(UserError, match=r"model.scorer is rerank; expected dual with model.multiclass"):
        RetrievalTask(backbone="mpma_vit_t16", scorer="rerank", multiclass=["Edema"])


# the matching loss


def test_value_match_ranking_by_hand() -> None:
    backbone = small_backbone("image", "text", "fusion", "align_global")
    objective = MatchRanking(backbone, 3).double()
    state = small_state(backbone)
    state.pairing = "separate"
    images, reports = objective._pairs(state)
    assert images.shape == (4, 4) and torch.equal(images[:, 0], reports[:, 0])
    assert (images[:, 1:3] == torch.arange(4)[:, None]).logical_or(images[:, 1:3] < 0).all()  # other reports
    assert (reports[:, 3] == torch.arange(4)).logical_or(reports[:, 3] < 0).all()  # other images
    for image, report in zip(images[:, 1:].flatten().tolist(), reports[:, 1:].flatten().tolist(), strict=True):
        assert image == report == -1 or state.group[image] != state.group[report]
    with torch.no_grad():
        total, count = objective(state)
    expected = 0.0
    for row in range(4):
        scores = []
        for image, report in zip(images[row].tolist(), reports[row].tolist(), strict=True):
            if image >= 0:
                one, other = torch.tensor([image]), torch.tensor([report])
                text = state.aligned_text.rows(other)
                ids, mask = state.aligned_ids[other], state.attention_mask[other]
                with torch.no_grad():
                    fused = backbone.fuse(state.aligned_image.rows(one), text, ids, mask)
                    scores.append(objective.head(fused[:, 0])[0, 0])
        expected += float(-torch.stack(scores).log_softmax(0)[0])
    assert count == 4 and float(total) == pytest.approx(expected, rel=1e-6)
    right = objective.monitor(state)["matching_accuracy"]
    assert 0 <= right[0] <= right[1] == 4


@pytest.mark.parametrize("fusion", ["cross", "pooled"])
def test_gradient_match_ranking_reaches_both_encoders(fusion: str) -> None:
    backbone = small_backbone("image", "text", "fusion", "align_global", fusion={"kind": fusion})
    objective = MatchRankingOptions(weight=1, negatives=15).build(backbone).double()
    state = small_state(backbone)
    state.pairing = "separate"
    total, _ = objective(state)
    total.backward()
    for part in ("image", "text"):
        assert sum(float(p.grad.abs().sum()) for p in getattr(backbone, part).parameters() if p.grad is not None) > 0
    with pytest.raises(UserError, match="negatives is 0; expected at least 1"):
        MatchRankingOptions(negatives=0).build(backbone)


# pairs through fusion


@torch.no_grad()
def encoded(
    fusion: str = "cross", first: int = 0, last: int = 4
) -> tuple[EncodedPairs, torch.nn.Module, torch.nn.Module]:
    backbone = small_backbone("image", "text", "fusion", fusion={"kind": fusion})
    state, tokens = small_state(backbone), EncodedPairs()
    torch.manual_seed(5)
    head = torch.nn.Linear(24, 1)
    for start in range(first, last, 3):
        part = slice(start, min(start + 3, last))
        text = backbone.text(state.input_ids[part], state.attention_mask[part])
        image = backbone.image(state.image[part])
        kept = None if fusion == "pooled" else text
        tokens.add(image, kept, state.input_ids[part], state.attention_mask[part])
    return tokens, backbone.float(), head


@pytest.mark.parametrize("fusion", ["cross", "pooled"])
def test_value_pairs_score_as_one_by_one(fusion: str) -> None:
    tokens, backbone, head = encoded(fusion)
    pairs = np.array([[0, 0], [0, 3], [2, 1], [3, 3]])
    found = tokens.score(pairs, backbone, head)
    state = small_state(backbone)
    for (image, text), score in zip(pairs.tolist(), found.tolist(), strict=True):
        features: Features = backbone.image(state.image[[image]].float())
        with torch.no_grad():
            fused = backbone.fuse(features, None, state.input_ids[[text]], state.attention_mask[[text]])
        assert score == pytest.approx(float(head(fused[:, 0])), abs=5e-3)  # stored in half precision


# two processes


def worker(rank: int, port: int, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.save(evaluate(*((0, 3), (3, 4))[rank]), out / f"{rank}.pt")
    dist.destroy_process_group()


def evaluate(first: int, last: int) -> dict[str, float]:
    """Dual and rerank metrics; the images of rows ``first`` to ``last`` are this process's."""
    rows = columns(3, 4)
    tokens, backbone, head = encoded("cross", first, last)
    orders, pairs = shortlisted(rows, 2, lambda pairs: tokens.score(pairs, backbone, head))
    alpha = choose_alpha(rows, orders)
    for order in orders.values():
        order.alpha = 1.0
    again = {f"rerank/{m.name}": value for m, value in direction_scores(ranked_everywhere(rows, orders)).items()}
    match = {f"match/{i}": float(value) for i, value in enumerate(orders["i2t"].match.ravel())}
    return by_name(direction_scores(ranked_everywhere(rows))) | again | match | alpha | {"fused_pairs": float(pairs)}


def test_value_two_processes_equal_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=worker, args=(rank, port, tmp_path)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert all(process.exitcode == 0 for process in processes)
    one = evaluate(0, 4)
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == pytest.approx(one, abs=1e-4)
