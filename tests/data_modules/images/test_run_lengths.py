"""SIIM run lengths: values by hand, union of rows, and the errors."""

import numpy as np
import pytest

from data_modules.errors import UserError
from data_modules.images.run_lengths import decode_runs, encode_runs


def test_value_offsets_are_relative_and_columns_come_first() -> None:
    """3 high, 4 wide: pixels 1, 2 of column 0, then two further on pixel 5 = row 2 of column 1."""
    expected = np.zeros((3, 4), bool)
    expected[1:, 0] = expected[2, 1] = True
    assert np.array_equal(decode_runs(["1 2 2 1"], 3, 4, "t"), expected)


def test_value_rows_are_joined_and_minus_one_is_empty() -> None:
    assert not decode_runs([" -1"], 3, 4, "t").any()
    assert decode_runs(["0 1", "11 1"], 3, 4, "t").sum() == 2


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_value_round_trip(share: float) -> None:
    mask = np.random.default_rng(0).random((7, 5)) < share
    assert np.array_equal(decode_runs([encode_runs(mask)], 7, 5, "t"), mask)


@pytest.mark.parametrize("row", ["10 3", "0 13"])
def test_error_overflow(row: str) -> None:
    with pytest.raises(
        UserError, match=r"train-rle.csv, image a: found a run that ends at pixel 13, expected at most 12"
    ):
        decode_runs([row], 3, 4, "train-rle.csv, image a")


@pytest.mark.parametrize("row", ["1", "a b", "", "-2 3"])
def test_error_not_pairs(row: str) -> None:
    with pytest.raises(UserError, match="expected -1 or pairs"):
        decode_runs([row], 3, 4, "t")
