"""Label fractions: share, strata, nesting, whole studies, and what is recorded."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from data_modules.errors import UserError
from data_modules.index.draws import draw_fraction
from data_modules.index.manifest import ids_sha256


def table(studies: int = 1000) -> tuple[pd.Series, pd.DataFrame]:
    """Two images a study; 1 in 100 studies has Hernia, 1 in 4 Edema; Hernia implies nothing."""
    number = np.repeat(np.arange(studies), 2)
    labels = pd.DataFrame({"Edema": (number % 4 == 0) * 1.0, "Hernia": (number % 100 == 1) * 1.0})
    return pd.Series([f"s{n}" for n in number]), labels


def test_value_each_stratum_keeps_its_share_of_whole_studies() -> None:
    studies, labels = table()
    taken = draw_fraction(studies, labels, 0.1, 0)
    assert taken.sum() == 200 and studies[taken].value_counts().eq(2).all()
    assert labels[taken]["Edema"].sum() == 50 and labels[taken]["Hernia"].sum() == 2


def test_value_the_rarest_class_never_disappears_and_fractions_are_nested() -> None:
    studies, labels = table()
    one, ten = (draw_fraction(studies, labels, fraction, 3) for fraction in (0.01, 0.1))
    assert labels[one]["Hernia"].sum() == 2  # 10 studies x 1 % would round to none
    assert not (one & ~ten).any()


def test_value_the_seed_and_the_studies_decide_not_the_order_of_rows() -> None:
    studies, labels = table()
    shuffled = np.random.default_rng(0).permutation(len(studies))
    first = set(studies[draw_fraction(studies, labels, 0.1, 0)])
    mixed = studies.iloc[shuffled].reset_index(drop=True)
    assert set(mixed[draw_fraction(mixed, labels.iloc[shuffled].reset_index(drop=True), 0.1, 0)]) == first
    assert set(studies[draw_fraction(studies, labels, 0.1, 1)]) != first


def test_value_unknown_labels_are_no_positives() -> None:
    studies, labels = table()
    assert draw_fraction(studies, labels * np.nan, 0.1, 0).sum() == 200
    assert draw_fraction(studies, labels[[]], 0.1, 0).sum() == 200
    assert draw_fraction(studies, labels, 1.0, 0).all()


def test_value_hash_of_the_id_list() -> None:
    assert ids_sha256(pd.Series(["b", "a"])) == hashlib.sha256(b"a\nb").hexdigest()


@pytest.mark.parametrize("fraction", [0.0, 1.5, -0.1])
def test_error_share_out_of_range(fraction: float) -> None:
    with pytest.raises(UserError, match="above 0 and up to 1"):
        draw_fraction(*table(), fraction, 0)
