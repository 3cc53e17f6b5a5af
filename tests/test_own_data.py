"""docs/own_data.md: its commands and Python run as they stand, on a small phantom and a tiny network."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_modules.errors import UserError
from data_modules.index.pair_tables import IMAGE, USUAL
from data_modules.index.pair_tables import TEXT as TEXTS
from data_modules.pairs import PairsDataModule
from mpma_lightning.cli.main import main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "own_data.md").read_text()
PROGRAM = ".venv/bin/python -m mpma_lightning "
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = [
    shlex.split(line.removeprefix(PROGRAM))
    for kind, block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if not kind and line.startswith(PROGRAM)
]
PROGRAMS = [block for kind, block in BLOCKS if kind == "python"]
QUICK = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--data.num_workers", "0",
         "--data.batch_size", "8"]  # fmt: skip
TINY = ["--data.image_size", "64", "--model.backbone.image.options", "{depth: 1}", "--model.backbone.text.depth", "1"]
MORE = {
    "phantom": ["--size", "64", "--workers", "1", "--patients", "60", "--seed", "3"],
    "pretraining": [*QUICK, *TINY, "--data.text.min_count", "1"],
    "fit": ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"],
}
"""What makes a command small; a training's steps besides."""


def small(words: list[str]) -> list[str]:
    """A command of the document with what makes it small."""
    if "--config" not in words:
        return words + MORE.get(words[0], [])
    own = MORE["pretraining"] if "pretraining" in words[2] else QUICK
    return words + own + MORE.get(words[0], [])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all commands ran, each with exit status 0."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "experiments").symlink_to(ROOT / "experiments")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in COMMANDS:
            status = main(small(words))
            assert status == 0 or words[0] == "check", words
    return folder


def test_value_commands_write_what_the_document_says(done: Path) -> None:
    assert len(COMMANDS) == TEXT.count(PROGRAM) == 11
    table = pd.read_csv(done / "data/phantom/layouts/pairs/pairs.csv")
    features = pd.read_parquet(done / "runs/pretraining/pairs/features.parquet")
    assert sorted(features["id"]) == sorted(table["image"]), "every row of the table"
    for name in ("image_embedding", "text_embedding"):
        assert np.allclose(np.linalg.norm(np.stack(features[name]), axis=1), 1, atol=1e-4)
    scores = pd.read_parquet(done / "runs/zero_shot/own/scores.parquet")
    names = [f"{kind}/{c}" for kind in ("global", "local") for c in ("Cardiomegaly", "Pleural Effusion")]
    assert list(scores) == ["id", *names]
    tested = table.loc[table["split"] == "test", "image"]
    assert sorted(scores["id"]) == sorted(tested)
    labels = pd.read_parquet(done / "runs/classification/own/scores.parquet")
    assert list(labels) == ["id", "Cardiomegaly", "Pleural Effusion"] and sorted(labels["id"]) == sorted(tested)
    for run in ("zero_shot/own", "classification/own"):
        assert (done / "runs" / run / "results_test.json").is_file()
    assert (done / "data/words.json").is_file()


def test_value_programs_read_what_the_commands_wrote(
    done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(done)
    assert len(PROGRAMS) == 2
    for program in PROGRAMS:
        exec(compile(program, "own_data.md", "exec"), {})
    rows = len(pd.read_csv("data/phantom/layouts/pairs/pairs.csv"))
    shown = capsys.readouterr().out
    assert f"({rows}, 64)" in shown and "global/Cardiomegaly" in shown


def test_value_column_names_of_the_document_are_those_that_are_found() -> None:
    told = {row.split("|")[1].split(":")[0].strip(): re.findall(r"`(\w+)`", row.split("|")[2])
            for row in TEXT.splitlines() if row.startswith("| ")}  # fmt: skip
    assert told["image"] == list(IMAGE) and told["text"] == list(TEXTS)
    assert {name: told[name] for name in ("patient", "group", "split")} == {
        name: list(USUAL[name]) for name in ("patient", "group", "split")
    }


def test_value_labelled_images_need_no_text(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of images alone, for a task that reads no texts: the same scores as with texts."""
    root = (done / "data/phantom/layouts/pairs").resolve()
    table = pd.read_csv(root / "pairs.csv")
    table["scan"] = [str(root / name) for name in table.pop("image")]
    table.drop(columns=["text", "Cardiomegaly", "Pleural Effusion"]).to_csv(tmp_path / "pairs.csv", index=False)
    monkeypatch.chdir(done)
    words = next(words for words in COMMANDS if words[0] == "predict" and "zero_shot" in words[2])
    words = [str(tmp_path) if word == "data/phantom/layouts/pairs" else word for word in words]
    assert (
        main([*small(words), "--data.image_column", "scan", "--trainer.default_root_dir", str(tmp_path / "run")]) == 0
    )
    one, other = (pd.read_parquet(path / "scores.parquet") for path in (done / "runs/zero_shot/own", tmp_path / "run"))
    assert np.allclose(one.iloc[:, 1:], other.iloc[:, 1:], atol=1e-5) and len(one) == len(other)


def test_error_text_is_missed_only_where_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("image\na.png\n")
    with pytest.raises(UserError, match=r"expected .* one of text, caption"):
        PairsDataModule(str(tmp_path)).read_index()
