"""Split files: whole patients, stratified, exact shares; what a run does with one."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_modules.errors import UserError
from data_modules.index.draws import stratified_splits
from data_modules.index.split_files import write_split_file
from data_modules.pairs import PairsDataModule
from data_modules.prepare import prepare
from data_modules.text.tokenizer import TextOptions
from mpma_lightning.cli.main import main


def write(root: Path, patients: int = 40) -> None:
    """Two images a patient; every tenth patient is positive."""
    (root / "images").mkdir(parents=True)
    lines = ["image,text,patient,sick"]
    for n in range(2 * patients):
        (root / "images" / f"{n}.png").write_bytes(b"")
        lines.append(f"images/{n}.png,the heart is normal in case {n},p{n // 2},{int(n // 2 % 10 == 0)}")
    (root / "pairs.csv").write_text("\n".join(lines))


def make(root: Path, **options: object) -> PairsDataModule:
    text = TextOptions(vocab_size=200, min_count=1)
    return PairsDataModule(str(root), "pairs.csv", label_columns=["sick"], num_workers=0, text=text, **options)  # type: ignore[arg-type]


def draw(root: Path, out: Path, shares: tuple[float, ...], fraction: float = 1.0) -> str:
    """What `split` does."""
    data = make(root)
    rows = data.rows()
    return write_split_file(rows, data.label_names, data.seed, out, shares, fraction)


def test_value_shares_of_every_stratum() -> None:
    units = pd.Series(np.repeat(np.arange(100), 3))
    labels = pd.DataFrame({"rare": units % 10 == 0, "frequent": units % 2 == 0}).astype(float)
    splits = stratified_splits(units, labels, (0.6, 0.2, 0.2), seed=0)
    assert splits.groupby(units).nunique().eq(1).all()
    for stratum in (units % 10 == 0, (units % 2 == 0) & (units % 10 != 0), units % 2 == 1):
        own = splits[stratum].value_counts(normalize=True)
        assert own.to_dict() == pytest.approx({"train": 0.6, "val": 0.2, "test": 0.2})
    shuffled = units.sample(frac=1, random_state=0)
    assert stratified_splits(shuffled, labels.loc[shuffled.index], (0.6, 0.2, 0.2), 0).sort_index().equals(splits)
    assert not stratified_splits(units, labels, (0.6, 0.2, 0.2), seed=1).equals(splits)


def test_value_a_run_reads_the_file_and_names_it(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / "split.csv"
    told = draw(tmp_path, file, (0.5, 0.25, 0.25))
    digest = sha256(file.read_bytes()).hexdigest()
    assert digest in told and "train: 40 samples, 20 patients; sick 4" in told and "test: 20 samples" in told
    data = make(tmp_path, split_file=str(file))
    data.setup()
    assert data.spec.counts == {"train": 40, "val": 20, "test": 20}
    assert data.spec.notes == [f"split by split.csv ({digest[:12]})"]
    assert data.index is not None and data.index.groupby("split")["sick"].sum().to_dict() == {
        "train": 4, "val": 2, "test": 2,
    }  # fmt: skip


def test_value_a_fraction_in_the_file(tmp_path: Path) -> None:
    write(tmp_path)
    draw(tmp_path, tmp_path / "tenth.csv", (0.5, 0.25, 0.25), fraction=0.25)
    data = make(tmp_path, split_file=str(tmp_path / "tenth.csv"))
    data.setup()
    assert data.spec.counts == {"train": 10, "val": 20, "test": 20}
    assert data.spec.dropped == {"not in the split file": 30} and data.spec.train_positives == {"sick": 1}


def test_error(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / "split.csv"
    with pytest.raises(UserError, match=r"found --shares \[0.5,0.5\], expected three that sum to 1"):
        draw(tmp_path, file, (0.5, 0.5))
    draw(tmp_path, file, (0.5, 0.25, 0.25))
    with pytest.raises(UserError, match="already exists"):
        draw(tmp_path, file, (0.5, 0.25, 0.25))
    with pytest.raises(UserError, match="taken on reading"):
        prepare(make(tmp_path, split_file=str(file)), tmp_path / "store")
    table = pd.read_csv(file)
    table.assign(split=np.where(np.arange(len(table)) % 2, "train", "test")).to_csv(file, index=False)
    with pytest.raises(UserError, match="found patient p0 in test and train"):
        make(tmp_path, split_file=str(file)).setup()
    table.replace({"images/0.png": "images/none.png"}).to_csv(file, index=False)
    with pytest.raises(UserError, match=r"1 of 80 listed samples are not in the data \(first: images/none.png\)"):
        make(tmp_path, split_file=str(file)).setup()
    pd.concat([table, table.head(1)]).to_csv(file, index=False)
    with pytest.raises(UserError, match="twice"):
        make(tmp_path, split_file=str(file)).setup()


def test_value_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    file = tmp_path / "split.csv"
    command = f"split pairs --root {tmp_path} --out {file} --shares [0.5,0.25,0.25] --data.label_columns [sick]"
    assert main(command.split()) == 0 and "test: 20 samples, 10 patients; sick 2" in capsys.readouterr().out
    first = file.read_bytes()
    assert main(command.split()) == 1 and "already exists" in capsys.readouterr().err
    file.unlink()
    assert main([*command.split(), "--data.seed", "1"]) == 0 and file.read_bytes() != first
