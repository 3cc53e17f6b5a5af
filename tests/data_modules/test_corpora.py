"""Several corpora at once: rows, labels, splits and weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_modules.corpora import CorporaDataModule
from data_modules.errors import UserError
from data_modules.mimic_cxr import MIMICCXRDataModule
from data_modules.pairs import PairsDataModule
from data_modules.phantom import write_phantom


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpora")
    write_phantom(out, patients=16, seed=4, size=64, workers=1, layouts="pairs")
    return out


def corpora(phantom: Path, **options: object) -> CorporaDataModule:
    parts = {
        "mimic": MIMICCXRDataModule(f"{phantom}/mimic-cxr-jpg", f"{phantom}/mimic-cxr", labels=["Edema", "Fracture"]),
        "own": PairsDataModule(f"{phantom}/layouts/pairs"),
    }
    return CorporaDataModule(parts, image_size=32, batch_size=2, num_workers=0, **options)  # type: ignore[arg-type]


def test_value_union_of_rows(phantom: Path) -> None:
    data = corpora(phantom)
    data.setup()
    assert data.index is not None
    apart = list(corpora(phantom).corpora.values())
    for part in apart:
        part.setup()
    total = {split: sum(part.spec.counts[split] for part in apart if part.spec) for split in ("train", "val", "test")}
    assert data.spec.counts == total and data.spec.classes == ["Edema", "Fracture"]
    own = data.index["corpus"] == "own"
    assert data.index.loc[own, "Edema"].isna().all() and data.index.loc[~own, "Edema"].notna().any()
    assert data.index["patient"].str.startswith(("mimic/", "own/")).all() and data.index["id"].is_unique
    assert [note.split(":")[0] for note in data.spec.notes] == ["mimic", "own"]
    same_text = data.index.groupby("text")["group"].nunique()
    assert (same_text == 1).all()  # equal reports of two corpora are no negatives of each other


def test_value_weights(phantom: Path) -> None:
    """Shares of an epoch follow the weights, whatever is one image a study or all."""
    for sampling in ("one", "all"):
        data = corpora(phantom, weights={"own": 3.0, "mimic": 0.5}, study_sampling=sampling)
        data.setup()
        assert data.index is not None
        train = data.index[data.index["split"] == "train"]
        rows = train.drop_duplicates("study") if sampling == "one" else train
        ids = [name for batch in data.train_dataloader() for name in batch["id"]]
        expected = {"own": 3 * (rows["corpus"] == "own").sum(), "mimic": 0.5 * (rows["corpus"] == "mimic").sum()}
        for name, count in expected.items():
            assert abs(sum(i.startswith(f"{name}/") for i in ids) - count) <= 2.5  # the ragged last batch is dropped


def test_value_a_column_that_one_corpus_passes_on(phantom: Path, tmp_path: Path) -> None:
    rows = [
        {"image": f"{phantom}/{path}", "text": f"Report number {n}.", "split": "val", "age": n}
        for n, path in enumerate(sorted(p.relative_to(phantom) for p in phantom.glob("mimic-cxr-jpg/**/*.jpg"))[:3])
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    parts = {**corpora(phantom).corpora, "other": PairsDataModule(str(tmp_path), target_column="age")}
    data = CorporaDataModule(parts, image_size=32, batch_size=100, num_workers=0)
    data.setup()
    assert data.spec.passed_on == {"target": "float"}
    batch = next(iter(data.val_dataloader()))
    targets = dict(zip(batch["id"], batch["target"].tolist(), strict=True))
    assert sorted(value for name, value in targets.items() if name.startswith("other/")) == [0, 1, 2]
    assert all(np.isnan(value) for name, value in targets.items() if not name.startswith("other/"))
    parts["mimic"].passed_on = {"target": "str"}
    with pytest.raises(UserError, match="found column target as float in corpus other and as str in another"):
        CorporaDataModule(parts)


def test_smoke_repeats_are_augmented_anew(phantom: Path) -> None:
    data = corpora(phantom, weights={"own": 4.0})
    data.setup()
    seeds: dict[str, set[int]] = {}
    for batch in data.train_dataloader():
        for name, seed in zip(batch["id"], batch["seed"].tolist(), strict=True):
            seeds.setdefault(name, set()).add(seed)
    assert np.mean([len(s) for name, s in seeds.items() if name.startswith("own/")]) > 3


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"weights": {"ours": 1.0}}, "found data.weights for 'ours', expected some of mimic, own"),
        ({"weights": {"own": 0.0}}, "found data.weights.own 0, expected more than 0"),
    ],
)
def test_error_weights(phantom: Path, options: dict[str, object], line: str) -> None:
    with pytest.raises(UserError, match=line):
        corpora(phantom, **options)


def test_error_no_corpus() -> None:
    with pytest.raises(UserError, match=r"found no data\.corpora"):
        CorporaDataModule({})
