"""The rule labeller, on sentences, on the phantom's reports with their exact labels, and on real reports."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from phantom_reports import body, phantom_reports

from data_modules.index.labels import CHEXPERT
from data_modules.text.openi_reports import read_openi
from data_modules.text.sections import clean
from mpma_lightning.evaluation.bootstrap import bootstrap
from mpma_lightning.evaluation.reports.findings import NO_FINDING, labeller
from mpma_lightning.evaluation.reports.scores import (
    ABSENT_AS_PRESENT,
    FINDING_F1,
    FINDING_F1_MACRO,
    PRESENT_AS_ABSENT,
    ROUGE_L,
    ReportScores,
    gain,
)
from mpma_lightning.evaluation.samples import SampleTable, weighted_metric

SENTENCES = {
    "No focal consolidation, pleural effusion, or pneumothorax.": {
        "Consolidation": 0,
        "Pleural Effusion": 0,
        "Pneumothorax": 0,
    },
    "No pneumothorax, small right effusion.": {"Pneumothorax": 0, "Pleural Effusion": 1},
    "No pneumothorax, but an effusion is seen.": {"Pneumothorax": 0, "Pleural Effusion": 1},
    "No change in the left effusion.": {"Pleural Effusion": 1},
    "The effusion has resolved.": {"Pleural Effusion": 0},
    "Pneumonia cannot be excluded.": {"Pneumonia": -1},
    "Opacity, possibly atelectasis or pneumonia.": {"Lung Opacity": 1, "Atelectasis": -1, "Pneumonia": -1},
    "Linear opacities at the left base reflect atelectasis.": {"Atelectasis": 1},
    "The heart is not enlarged.": {"Cardiomegaly": 0},
    "The heart is mildly enlarged.": {"Cardiomegaly": 1},
    "Cardiac and mediastinal contours are within normal limits.": {"Cardiomegaly": 0, "Enlarged Cardiomediastinum": 0},
    "Small pericardial effusion.": {},
    "There is no effusion; the right effusion is small.": {"Pleural Effusion": 1},
    "The endotracheal tube was removed.": {"Support Devices": 0},
    "Overlying EKG leads are present.": {},
    "Right PICC line.": {"Support Devices": 1},
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_value_negation_and_doubt(sentence: str) -> None:
    found = labeller().label(sentence)
    abnormal = any(state for name, state in SENTENCES[sentence].items() if name != "Support Devices")
    assert found == SENTENCES[sentence] | ({} if abnormal else {NO_FINDING: 1})


def test_value_the_strongest_mention_wins() -> None:
    said = ["No effusion", "Possible effusion", "Small effusion."]
    assert [labeller().label(". ".join(said[:n]))["Pleural Effusion"] for n in (1, 2, 3)] == [0, -1, 1]
    assert labeller().label("") == {}


def test_value_exact_on_the_phantom() -> None:
    reports = phantom_reports(500, seed=1)
    wrong = [report.text for report in reports if labeller().label(body(report)) != report.labels]
    assert not wrong, wrong[:3]
    assert sorted([*labeller().names, NO_FINDING]) == sorted(CHEXPERT)


def test_value_real_reports_speak_of_findings_as_is_known_of_them(sample_data: Path) -> None:
    """Open-i: two in three reports are normal, and nearly all name heart, effusion and pneumothorax."""
    reports = read_openi(sample_data / "openi_reports" / "NLMCXR_reports.tgz")
    texts = [clean(f"{report['findings']} {report['impression']}") for report in reports]
    counts: Counter[tuple[str, int]] = Counter()
    for text in texts:
        counts.update(labeller().label(text).items())
    assert len(texts) == 3955
    assert 0.6 < counts[NO_FINDING, 1] / 3955 < 0.75
    assert (
        counts["Pneumothorax", 0] > 2500 and counts["Pleural Effusion", 0] > 2500 and counts["Cardiomegaly", 0] > 2500
    )
    assert 200 < counts["Cardiomegaly", 1] < 500 and 10 < counts["Pneumothorax", 1] < 60
    assert 250 < counts["Atelectasis", 1] < 450 and 100 < counts["Pleural Effusion", 1] < 250


def test_value_scores_by_hand() -> None:
    references = ["Small effusion. No pneumothorax.", "Edema. Small effusion.", "Heart size is normal."]
    drafts = ["Small effusion. Pneumothorax.", "No effusion.", "Heart size is normal."]
    patients = np.array(["a", "a", "b"])
    made = ReportScores(drafts, references, patients)
    found = made.scores()
    # drafts: effusion, pneumothorax; references: two effusions, edema; in common: an effusion
    assert found[FINDING_F1] == pytest.approx(2 * 1 / (2 + 3))
    assert found[FINDING_F1.of("Pleural Effusion")] == pytest.approx(2 / 3) and found[FINDING_F1.of("Edema")] == 0
    assert FINDING_F1.of("Pneumothorax") not in found and found[FINDING_F1_MACRO] == pytest.approx(1 / 3)
    assert found[PRESENT_AS_ABSENT] == pytest.approx(1 / 3) and found[ABSENT_AS_PRESENT] == pytest.approx(1 / 2)
    table = SampleTable(np.arange(3), patients, made.per_sample, ratios={FINDING_F1: made.f1_parts}).frame()
    value = weighted_metric(table, FINDING_F1)
    assert value is not None and value(np.ones(3)) == pytest.approx(found[FINDING_F1])
    assert value(np.array([0, 0, 1])) != value(np.ones(3)) and np.isnan(value(np.array([0, 0, 1])))


def test_value_gain_over_another_system_is_paired() -> None:
    texts = [body(report) for report in phantom_reports(80, seed=2)]
    patients = np.repeat(np.arange(40), 2)
    own, other = ReportScores(texts, texts, patients), ReportScores(["No effusion."] * 80, texts, patients)
    found = {metric.name: value for metric, value in gain(own, other, "above").items()}
    assert found == pytest.approx({"above": 1.0, "above_low": 1.0, "above_high": 1.0})
    half = ReportScores(texts[:40] + ["No effusion."] * 40, texts, patients)
    found = {metric.name: value for metric, value in gain(half, half, "above").items()}
    assert found == pytest.approx({"above": 0.0, "above_low": 0.0, "above_high": 0.0})
    ends = {metric.name: value for metric, value in half.intervals().items()}
    assert ends["finding_f1_low"] < half.scores()[FINDING_F1] < ends["finding_f1_high"]
    drawn = bootstrap(patients, lambda draw: float((draw.weight * half.per_sample[ROUGE_L]).sum() / 80))
    assert ends["rouge_l_low"] == pytest.approx(np.percentile(drawn, 2.5), rel=0.05)
