"""Which words of a report are the same word."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mpma_lightning.objectives.words import WordCounts, words_of


@given(st.data())
def test_value_words_are_equal_only_if_all_their_pieces_are(data: st.DataObject) -> None:
    """Among them the pieces 1000, 1002 and 1676, 326, which a sum of products took for one word."""
    spelled = st.lists(st.sampled_from([326, 1000, 1002, 1676]), min_size=1, max_size=3)
    reports = data.draw(st.lists(st.lists(spelled, min_size=2, max_size=4), min_size=1, max_size=3))
    length = max(sum(map(len, report)) for report in reports)
    ids, owners = (torch.full((len(reports), length), fill) for fill in (0, -1))
    for row, report in enumerate(reports):
        pieces = [(piece, word) for word, found in enumerate(report) for piece in found]
        ids[row, : len(pieces)], owners[row, : len(pieces)] = torch.tensor(pieces).T
    every = torch.ones_like(ids, dtype=torch.bool)
    words = words_of(torch.ones(*ids.shape, 2), ids, owners, every, WordCounts.of(owners, every))
    for row, report in enumerate(reports):
        for i, one in enumerate(report):
            for j, other in enumerate(report):
                assert bool(words.same[row, i, j]) == (one == other)
