"""Image→text and text→image metrics over all ranks, and the choice of α for rerank."""

from collections.abc import Callable

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from mpma_lightning.distributed import rank, world_size
from mpma_lightning.evaluation.epoch import gather_objects
from mpma_lightning.evaluation.metric import Metric, count, reference
from mpma_lightning.evaluation.rerank import ALPHAS, MatchScores, Shortlist, best_alpha, shortlists, union_of_pairs
from mpma_lightning.evaluation.retrieval import KS, Ranking, chance_recall, rank_queries
from mpma_lightning.evaluation.samples import SampleTable

DIRECTIONS = {"i2t": ("image", "text"), "t2i": ("text", "image")}
Columns = dict[str, np.ndarray]
"""``image`` and ``text`` (N, e) embeddings and ``group`` (N,) of a split, the same on every rank."""


def ranked_everywhere(rows: Columns, orders: dict[str, Shortlist] | None = None) -> dict[str, Ranking]:
    """Rankings by direction; each rank does its share of the queries against the whole gallery. A collective."""
    group, mine = rows["group"], slice(rank(), None, world_size())
    ranked: dict[str, Ranking] = {}
    for name, (query, gallery) in DIRECTIONS.items():
        order = None if orders is None else orders[name].of(mine)
        ranked[name] = rank_queries(rows[query][mine], rows[gallery], group[mine], group, reorder=order)
    everywhere = gather_objects(ranked)
    return {name: Ranking.join([found[name] for found in everywhere]) for name in ranked}


def direction_scores(results: dict[str, Ranking], letter: str = "r") -> dict[Metric, float]:
    """Metrics of both directions; ``letter`` as in :class:`RetrievalEvaluator`."""
    found: dict[Metric, float] = {}
    for name, result in results.items():
        found |= {hit(name, letter, k): value for k, value in result.recall.items()}
        if letter == "h":
            found |= {Metric(f"{name}_p{k}", unit="share"): value for k, value in result.precision.items()}
        found[Metric(f"{name}_median_rank", higher_is_better=False, unit="rank")] = result.median_rank
        found[Metric(f"{name}_map", unit="share")] = result.mean_average_precision
    return found


def hit(name: str, letter: str, k: int) -> Metric:
    """Share of the queries of direction ``name`` with a hit among the first ``k``; ``letter`` as above."""
    chance = f"chance_{letter}{k}"
    return Metric(f"{name}_{letter}{k}", unit="share", headline=True, per_sample="mean", baseline=chance)


class RetrievalEvaluator:
    """Both directions of a split: in the retrieval task, and online during pre-training.

    Args:
        rows: the split. For :meth:`samples` also ``id`` and ``patient``, and every row is a positive of its own.
        letter: ``r``: recall at K; ``h``: hit rate and precision at K.

    Attributes:
        ranked: rankings by direction; those of :meth:`rerank` as ``rerank/<direction>``.
    """

    def __init__(self, rows: Columns, letter: str = "r") -> None:
        self.rows, self.letter = rows, letter
        self.ranked: dict[str, Ranking] = {}

    def evaluate(self) -> dict[Metric, float]:
        """Metrics of both directions, chance and the number of pairs; a collective."""
        self.ranked = ranked_everywhere(self.rows)
        group = self.rows["group"]
        chance = {reference(f"chance_{self.letter}{k}"): chance_recall(group, group, k) for k in KS}
        return direction_scores(self.ranked, self.letter) | chance | {count("pairs"): float(len(group))}

    def rerank(self, orders: dict[str, Shortlist]) -> dict[Metric, float]:
        """Metrics of the reordered rankings; a collective."""
        ranked = {f"rerank/{name}": result for name, result in ranked_everywhere(self.rows, orders).items()}
        self.ranked |= ranked
        return direction_scores(ranked, self.letter)

    def samples(self) -> SampleTable:
        """Whether each pair's image and text found a positive among the first K.

        Rows stand in the order of ``ranked``: the queries of rank 0, then those of rank 1.
        """
        rows, ranks = self.rows, world_size()
        order = np.concatenate([np.arange(r, len(rows["id"]), ranks) for r in range(ranks)])
        hits = {
            hit(name, self.letter, k): (result.best <= k).astype(float)
            for name, result in self.ranked.items()
            for k in result.recall
        }
        return SampleTable(rows["id"][order], rows["patient"][order], hits)


def shortlisted(rows: Columns, k: int, score: Callable[[np.ndarray], np.ndarray]) -> tuple[dict[str, Shortlist], int]:
    """The shortlists of both directions with match scores, and the number of pairs that were scored.

    Args:
        rows: of the split.
        k: length of a shortlist.
        score: (P, 2) pairs of image and text to (P,) match scores.
    """
    lists = {name: shortlists(rows[query], rows[gallery], k) for name, (query, gallery) in DIRECTIONS.items()}
    pairs = union_of_pairs(lists["i2t"], lists["t2i"])
    match, own = MatchScores(pairs, score(pairs)), np.arange(len(rows["group"]))[:, None]
    forth = Shortlist(lists["i2t"], match.of(own, lists["i2t"]))
    return {"i2t": forth, "t2i": Shortlist(lists["t2i"], match.of(lists["t2i"], own))}, len(pairs)


def choose_alpha(rows: Columns, orders: dict[str, Shortlist]) -> dict[str, float]:
    """The α of the best mAP by direction, also logged; 0: reranking does not help. A collective."""
    quality: dict[str, dict[float, float]] = {name: {} for name in orders}
    for alpha in ALPHAS:
        for order in orders.values():
            order.alpha = alpha
        for name, result in ranked_everywhere(rows, orders).items():
            quality[name][alpha] = result.mean_average_precision
    chosen = {name: best_alpha(found) for name, found in quality.items()}
    for name, alpha in chosen.items():
        before, after = quality[name][0.0], quality[name][alpha]
        outcome = (
            f"α = {alpha:g}, validation mAP {before:.3f} → {after:.3f}" if alpha else f"no gain (mAP {before:.3f})"
        )
        rank_zero_info(f"rerank {'→'.join(DIRECTIONS[name])}: {outcome}")
    return chosen
