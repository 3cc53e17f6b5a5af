"""BLEU, ROUGE-L and CIDEr of drafts with one reference each, equal to pycocoevalcap's on the same words.

CIDEr is CIDEr-D, as there. The document frequencies are those of the references that are scored: a CIDEr of other
samples is another measure.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

Words = Sequence[str]
ORDERS = 4
"""n-grams of 1 to 4 words."""
_SIGMA = 6.0
_BETA = 1.2
_TINY, _SMALL = 1e-15, 1e-9


def ngrams(words: Words) -> Counter[tuple[str, ...]]:
    """How often each n-gram of 1 to 4 words occurs."""
    return Counter(tuple(words[i : i + n]) for n in range(1, ORDERS + 1) for i in range(len(words) - n + 1))


def bleu_counts(drafts: Sequence[Words], references: Sequence[Words]) -> np.ndarray:
    """(N, 10): n-grams in common, n-grams of the draft (4 each), words of the draft, words of the reference."""
    rows = np.zeros((len(drafts), 2 * ORDERS + 2))
    for row, draft, reference in zip(rows, drafts, references, strict=True):
        there = ngrams(reference)
        for ngram, number in ngrams(draft).items():
            row[len(ngram) - 1] += min(number, there.get(ngram, 0))
        row[ORDERS : 2 * ORDERS] = [max(0, len(draft) - n) for n in range(ORDERS)]
        row[2 * ORDERS :] = len(draft), len(reference)
    return rows


def bleu(counts: np.ndarray) -> np.ndarray:
    """(4,) BLEU-1 to BLEU-4 of a corpus, from the sum (10,) of :func:`bleu_counts` over its samples."""
    common, all_of_draft, (length, wanted) = counts[:ORDERS], counts[ORDERS : 2 * ORDERS], counts[2 * ORDERS :]
    precision = np.cumprod((common + _TINY) / (all_of_draft + _SMALL)) ** (1 / np.arange(1, ORDERS + 1))
    ratio = (length + _TINY) / (wanted + _SMALL)
    return precision * np.exp(min(0.0, 1 - 1 / ratio))


def rouge_l(draft: Words, reference: Words) -> float:
    """F-measure of the longest common subsequence, β = 1.2."""
    common = _longest_common(draft, reference)
    if not common:
        return 0.0
    precision, recall = common / len(draft), common / len(reference)
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _longest_common(one: Words, other: Words) -> int:
    lengths = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, own in enumerate(other, 1):
            longest = before + 1 if own == word else max(lengths[place], lengths[place - 1])
            before, lengths[place] = lengths[place], longest
    return lengths[-1]


def cider(drafts: Sequence[Words], references: Sequence[Words]) -> np.ndarray:
    """(N,) CIDEr-D of each draft, 0 to 10."""
    there = [ngrams(reference) for reference in references]
    documents = Counter(ngram for counted in there for ngram in counted)
    total = np.log(max(len(references), 1))
    scores = [
        _similarity(_weights(ngrams(draft), documents, total), _weights(counted, documents, total))
        * np.exp(-((max(len(draft) - 1, 0) - max(len(reference) - 1, 0)) ** 2) / (2 * _SIGMA**2))
        for draft, reference, counted in zip(drafts, references, there, strict=True)
    ]
    return 10 * np.array(scores)


def _weights(
    counted: Counter[tuple[str, ...]], documents: Counter[tuple[str, ...]], total: float
) -> list[dict[tuple[str, ...], float]]:
    """TF-IDF of the n-grams, by their length."""
    by_length: list[dict[tuple[str, ...], float]] = [{} for _ in range(ORDERS)]
    for ngram, number in counted.items():
        by_length[len(ngram) - 1][ngram] = number * (total - np.log(max(1, documents[ngram])))
    return by_length


def _similarity(draft: list[dict[tuple[str, ...], float]], reference: list[dict[tuple[str, ...], float]]) -> float:
    """Mean over n-gram lengths of the cosine, whose draft side is clipped at the reference."""
    cosines = []
    for one, other in zip(draft, reference, strict=True):
        product = sum(min(weight, other[ngram]) * other[ngram] for ngram, weight in one.items() if ngram in other)
        norm = np.sqrt(sum(w * w for w in one.values()) * sum(w * w for w in other.values()))
        cosines.append(product / norm if norm else product)
    return float(np.mean(cosines))
