"""Statistics of reports, by hand, sklearn or scipy."""

import numpy as np
import pandas as pd
import pytest
from report_runs import AUROC, samples
from scipy.stats import ttest_ind
from sklearn.metrics import roc_auc_score

from mpma_lightning.evaluation.metric import Metric
from mpma_lightning.lab.reports.statistics import bootstrap, detectable_difference, paired_difference


def test_value_bootstrap_of_an_auroc() -> None:
    table = samples(1.0, 0)
    made = bootstrap(table, AUROC, draws=400)
    assert made and made.values[0] == pytest.approx(roc_auc_score(table["label/Edema"], table["auroc@Edema"]))
    table = table.sort_values("id")
    rows = table.groupby("patient").indices
    patients, rng, drawn = table["patient"].unique(), np.random.default_rng(1), []
    for _ in range(400):  # by hand: whole patients, with replacement
        chosen = table.iloc[np.concatenate([rows[p] for p in rng.choice(patients, len(patients))])]
        drawn.append(roc_auc_score(chosen["label/Edema"], chosen["auroc@Edema"]))
    assert made.interval() == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.015)
    assert bootstrap(table, Metric("accuracy", unit="share", per_sample="mean")) is None


def test_value_bootstrap_of_a_mean_leaves_unknown_out() -> None:
    table = pd.DataFrame({"id": list("abcd"), "accuracy/open": [1.0, 0.0, np.nan, 1.0]})
    made = bootstrap(table, Metric("accuracy/open", unit="share", per_sample="mean"), draws=50)
    assert made and made.values[0] == pytest.approx(2 / 3)


def test_value_heads_of_a_probe_are_averaged() -> None:
    one, two = samples(1.0, 0).sort_values("id"), samples(3.0, 1).sort_values("id")
    table = one.rename(columns={"auroc@Edema": "f/auroc#0@Edema"})
    table["f/auroc#1@Edema"] = two["auroc@Edema"].to_numpy()
    made = bootstrap(table, AUROC.under("f"), draws=2)
    alone = [roc_auc_score(t["label/Edema"], t["auroc@Edema"]) for t in (one, two)]
    assert made and made.values[0] == pytest.approx(np.mean(alone))


def test_value_paired_difference() -> None:
    strong, weak = ([bootstrap(samples(s, seed), AUROC) for seed in (0, 1)] for s in (1.0, 0.6))
    gap = paired_difference(strong, weak)
    values = [[run.values[0] for run in runs if run] for runs in (strong, weak)]
    assert gap and gap.value == pytest.approx(np.mean(values[0]) - np.mean(values[1]))
    assert gap.low < gap.value < gap.high and gap.low > 0 and gap.p < 0.05
    same = paired_difference(strong, strong)
    assert same and same.value == 0 and same.p == 1
    assert paired_difference(strong, [bootstrap(samples(1.0, 0, 200), AUROC)]) is None, "other samples"
    assert paired_difference(strong, [None]) is None and paired_difference([], weak) is None


def test_value_detectable_difference_has_the_power_it_says() -> None:
    groups = [[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]]  # standard deviation 1
    found = detectable_difference(groups)
    assert found is not None
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(3, 20000)), rng.normal(size=(3, 20000)) + found
    assert (ttest_ind(ours, theirs).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.015)
    assert detectable_difference([[1.0], [2.0]]) is None
