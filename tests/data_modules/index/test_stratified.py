"""Drawn splits: whole patients, each label's share in every split, and the same for the same seed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_modules.index.draws import draw_splits, hold_out, stratified_splits
from data_modules.index.splits import SPLITS
from data_modules.pairs import PairsDataModule
from data_modules.prepare import prepare
from data_modules.rsna_pneumonia import RSNAPneumoniaDataModule
from data_modules.siim_pneumothorax import SIIMPneumothoraxDataModule
from data_modules.text.tokenizer import TextOptions

SHARES = (0.7, 0.1, 0.2)


def several(patients: int, seed: int = 0) -> tuple[pd.Series, pd.DataFrame]:
    """1 to 5 images a patient; ten classes, from one that 2 patients have to one that half of them have, together."""
    rng = np.random.default_rng(seed)
    units = pd.Series(np.repeat([f"p{n}" for n in range(patients)], rng.integers(1, 6, patients)))
    labels = pd.DataFrame({f"c{k}": rng.random(patients) < 0.5**k for k in range(1, 10)})
    labels["rare"] = np.isin(np.arange(patients), rng.choice(patients, 2, replace=False))
    rows = labels.astype(float).loc[units.str[1:].astype(int)].reset_index(drop=True)
    return units, rows.mask(rng.random(rows.shape) < 0.1)


def furthest(splits: pd.Series, positive: pd.Series, shares: Sequence[float]) -> float:
    """How many rows the split that is furthest from its share of ``positive`` lacks or has too many."""
    counts = splits[positive].value_counts().reindex(SPLITS, fill_value=0).to_numpy()
    return float(np.abs(counts - np.array(shares) * positive.sum()).max())


@pytest.mark.parametrize("seed", range(5))
def test_value_every_label_and_the_size_are_within_one_patient(seed: int) -> None:
    units, labels = several(400, seed)
    splits = stratified_splits(units, labels, SHARES, seed)
    assert splits.groupby(units).nunique().eq(1).all()
    largest = int(units.value_counts().max())
    assert largest == 5 and furthest(splits, pd.Series(True, units.index), SHARES) <= largest
    for name in labels:
        assert furthest(splits, labels[name] == 1, SHARES) <= largest, name


def test_value_by_hand() -> None:
    """Of 10 patients with one image 5 are sick: 2.5, 1.25 and 1.25 are owed, so 3, 1, 1 or 2, 2, 1 or 2, 1, 2."""
    units = pd.Series(list("abcdefghij"))
    labels = pd.DataFrame({"sick": [1.0] * 5 + [0.0] * 5})
    for seed in range(20):
        splits = stratified_splits(units, labels, (0.5, 0.25, 0.25), seed)
        sick = splits[:5].value_counts()
        assert sick["train"] in (2, 3) and sick["val"] in (1, 2) and sick["test"] in (1, 2)
        assert splits.value_counts()["train"] == 5 and splits.value_counts()["val"] in (2, 3)


def test_value_deterministic_by_seed_and_free_of_order() -> None:
    units, labels = several(200)
    splits = stratified_splits(units, labels, SHARES, 3)
    order = units.sample(frac=1, random_state=0).index
    assert stratified_splits(units.loc[order], labels.loc[order], SHARES, 3).sort_index().equals(splits)
    assert not stratified_splits(units, labels, SHARES, 4).equals(splits)


def test_value_rare_unknown_and_absent_labels() -> None:
    units = pd.Series(["a", "a", "b", *(f"n{k}" for k in range(17))])
    labels = pd.DataFrame({"two": [1, np.nan, 1] + [0.0] * 17, "unknown": np.nan, "never": 0.0})
    splits = stratified_splits(units, labels, SHARES, 0)
    assert splits.value_counts().to_dict() == {"train": 14, "test": 4, "val": 2}
    assert stratified_splits(units, labels[[]], SHARES, 0).value_counts().to_dict() == splits.value_counts().to_dict()
    frame = pd.DataFrame({"patient": units, "split": "train"})
    held = (hold_out(frame, labels, 0.5, 0)["split"] == "val").to_numpy()
    assert held[:2].sum() in (0, 2) and held.sum() == 10 and held[0] != held[2]
    assert hold_out(frame, labels, 0, 0).equals(frame)
    tested = frame.assign(split=["train"] * 10 + ["test"] * (len(frame) - 10))
    again = hold_out(tested, labels, 0.5, 0)["split"]
    assert (again[:10] == "val").sum() == 5 and (again[10:] == "test").all()


def test_value_boxes_stand_for_labels() -> None:
    frame = pd.DataFrame({"id": [f"{n}" for n in range(100)]})
    frame["patient"] = frame["study"] = frame["id"]
    frame["box_labels"] = [[0, 0] if n < 10 else [1] if n < 40 else [] for n in range(100)]
    splits = draw_splits(frame, [], seed=0)
    for rows in (slice(0, 10), slice(10, 40), slice(40, 100)):
        own = splits[rows].value_counts(normalize=True)
        assert own.to_dict() == pytest.approx({"train": 0.8, "val": 0.1, "test": 0.1})


def test_value_without_labels_a_patient_stays_whichever_samples_are_there() -> None:
    """Two images each of 200 patients, and 40 of nobody known. Patients that share a text go with the smallest."""
    names = [f"p{n // 2}" for n in range(400)] + [None, ""] * 20
    frame = pd.DataFrame({"id": [f"s{n}" for n in range(440)], "patient": names})
    frame = frame.assign(study=frame["id"], text="report of " + frame["id"])
    whole = draw_splits(frame, [], seed=0)
    assert set(whole[:400]) == set(whole[400:]) == set(SPLITS)
    for kept in (slice(1, None, 2), slice(0, None, 2), slice(31, 420)):
        assert draw_splits(frame[kept], [], seed=0).equals(whole[kept])
    other = int((whole[:400] != whole[0]).idxmax())
    frame.loc[[0, other], "text"] = "the heart is normal"
    joined = draw_splits(frame, [], seed=0)
    assert joined[joined != whole].to_dict() == {other: whole[0], other + 1: whole[0]}


def test_value_rsna_and_siim(tmp_path: Path) -> None:
    """200 images, 40 positive: 60/20/20 and 70/15/15 of both, exactly."""
    boxes = [f"i{n},1,1,4,4,1" if n % 5 == 0 else f"i{n},,,,,0" for n in range(200)]
    (tmp_path / "stage_2_train_labels.csv").write_text("\n".join(["patientId,x,y,width,height,Target", *boxes]))
    runs = [f"i{n},{'1 2' if n % 5 == 0 else '-1'}" for n in range(200)]
    (tmp_path / "train-rle.csv").write_text("\n".join(["ImageId,EncodedPixels", *runs]))
    rsna = RSNAPneumoniaDataModule(str(tmp_path)).read_index()
    siim = SIIMPneumothoraxDataModule(str(tmp_path), balanced=False).read_index()
    for frame, label, sizes in ((rsna, "Pneumonia", (24, 8, 8)), (siim, "Pneumothorax", (28, 6, 6))):
        found = frame[frame[label] == 1]["split"].value_counts()
        assert tuple(found[list(SPLITS)]) == sizes
        assert tuple(frame["split"].value_counts()[list(SPLITS)]) == tuple(5 * size for size in sizes)


def test_value_leaving_patients_or_images_out_moves_no_other(tmp_path: Path) -> None:
    """Also from a store, whose rows lack what was left out."""
    (tmp_path / "images").mkdir()
    for n in range(60):
        (tmp_path / "images" / f"{n}.pgm").write_bytes(b"P5 32 32 255\n" + bytes([n]) * 1024)
    rows = [f"images/{n}.pgm,a report about case {n},p{n // 2},{int(n % 6 == 0)}" for n in range(60)]
    (tmp_path / "pairs.csv").write_text("\n".join(["image,text,patient,sick", *rows]))
    (tmp_path / "exclude.txt").write_text("p3\np4\n")

    def splits(root: Path, **options: object) -> pd.Series:
        text = TextOptions(vocab_size=200, min_count=1)
        data = PairsDataModule(str(root), label_columns=["sick"], num_workers=0, text=text, **options)  # type: ignore[arg-type]
        if root == tmp_path and options.get("max_missing"):
            prepare(data, tmp_path / "store", workers=1)
        data.setup()
        assert data.index is not None
        return data.index.set_index("id")["split"]

    whole = splits(tmp_path)
    assert set(whole) == set(SPLITS)
    without = splits(tmp_path, exclude=[str(tmp_path / "exclude.txt")])
    assert len(without) == 56 and without.equals(whole[without.index])
    for n in range(0, 20, 3):
        (tmp_path / "images" / f"{n}.pgm").unlink()
    fewer = splits(tmp_path, max_missing=1.0)
    assert len(fewer) == 53 and fewer.equals(whole[fewer.index])
    assert splits(tmp_path / "store").equals(fewer)
