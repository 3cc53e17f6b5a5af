"""`figure`: what it draws of a run, what its caption says, and every mistake as one line."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from foreign_files import mae, mgca
from PIL import Image
from report_runs import declare, row, write_run

from mpma_lightning.cli.main import main
from mpma_lightning.evaluation.metric import Metric
from mpma_lightning.figures.sheet import SCREEN, sheet
from mpma_lightning.inference.occlusion import occlusion_map
from mpma_lightning.lab.figures.kinds import KINDS
from mpma_lightning.lab.figures.lines import curves, efficiency
from mpma_lightning.lab.figures.wanted import Wanted

CURVE = "step,val/loss,val/auroc\n10,3.0,0.5\n20,2.0,0.7\n30,1.0,0.9\n"


def a_run(folder: Path, curve: str = CURVE, protocol: str = "cls-linear") -> Path:
    write_run(folder, row(protocol=protocol))
    (folder / "metrics.csv").write_text(curve)
    return folder


def last(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The line that refuses a command."""
    assert main(["figure", *map(str, words)]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_value_curves_and_their_caption_in_every_kind_of_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = a_run(tmp_path / "a" / "first"), a_run(tmp_path / "a" / "second", protocol="cls-mrm")
    drawn = curves(Wanted("curves", [first, second], metric="val/auroc"))
    found = {line.get_label(): line.get_xydata().tolist() for line in drawn.figure.axes[0].lines}
    assert found == {name: [[10, 0.5], [20, 0.7], [30, 0.9]] for name in ("first", "second")} and not drawn.patients
    said = "Validation loss of 2 runs. Runs: first (protocol cls-linear); second (protocol cls-mrm)."
    for suffix in (".png", ".pdf", ".svg"):
        out = tmp_path / f"curves{suffix}"
        assert main(["figure", "curves", str(first), str(second), "--out", str(out)]) == 0
        assert out.with_suffix(".txt").read_text() == said + "\n" and capsys.readouterr().out == said + "\n"
        inside = Image.open(out).info["Description"] if suffix == ".png" else out.read_bytes().decode("latin-1")
        assert said.split(".")[0] in inside, "the caption travels in the file"
    with Image.open(tmp_path / "curves.png") as picture:
        assert round(picture.size[0] / picture.info["dpi"][0] * 25.4) <= 183 and picture.info["dpi"][0] > 590
    assert sheet() == SCREEN and matplotlib.rcParams["pdf.fonttype"] == 3, "as it was before"
    assert main(["figure", "curves", str(first), "--column", "single"]) == 0
    assert {path.name for path in (first / "figures").iterdir()} == {"curves.pdf", "curves.txt"}, "in the run's folder"


def test_value_label_efficiency_of_methods_and_seeds(tmp_path: Path) -> None:
    for method, seed, share, auroc in (
        ("mpma", 0, 0.01, 0.80), ("mpma", 1, 0.01, 0.84), ("mpma", 0, 1.0, 0.90), ("mae", 0, 0.01, 0.7),
        ("mae", 0, 1.0, 0.8),
    ):  # fmt: skip
        write_run(tmp_path / method / f"{share}_{seed}", row(seed, auroc, label_fraction=share))
    drawn = efficiency(Wanted("label_efficiency", [tmp_path]))
    assert "protocol cls-finetune-mrm" in drawn.told[0] and "seeds 0, 1" in drawn.told[0]
    points = sorted(tuple(xy) for bar in drawn.figure.axes[0].containers for xy in bar[0].get_xydata().round(6))
    assert points == [(0.01, 70), (0.01, 80), (0.01, 84), (1, 80), (1, 90)], "per cent; a lone run is its own line"


def test_value_label_efficiency_of_a_probe_with_several_shares(tmp_path: Path) -> None:
    auroc = Metric("auroc", unit="share", headline=True)
    metrics = {"val/fraction_0.01/auroc": 0.6, "val/fraction_1/auroc": 0.9}
    said = declare(auroc.under("fraction_0.01"), auroc.under("fraction_1"))
    write_run(tmp_path / "probe", row(label_fraction=[0.01, 1.0], metrics=metrics, declared=said, seed=[0, 1]))
    drawn = efficiency(Wanted("label_efficiency", [tmp_path]))
    (bar,) = drawn.figure.axes[0].containers
    assert np.allclose(bar[0].get_xydata(), [[0.01, 60], [1, 90]]) and drawn.figure.axes[0].get_ylabel() == "AUROC (%)"


def test_errors_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tmp_path / "first")
    assert "unknown kind of figure 'curve'; did you mean 'curves'?" in last(capsys, "curve", run)
    assert "does not exist; did you mean 'first'?" in last(capsys, "curves", tmp_path / "frist")
    assert "takes no --ids; it takes --metric" in last(capsys, "curves", run, "--ids", "a")
    assert "not legible in a single column" in last(capsys, "answers", run, "--column", "single")
    assert "needs --text" in last(capsys, "phrase", run, "--image", "a.png")
    assert "is of one run, found 2" in last(capsys, "phrase", run, run, "--image", "a.png", "--text", "x")
    assert "ends in .png, .pdf, .svg" in last(capsys, "curves", run, "--out", "a.jpg")
    assert "no place to write to" in last(capsys, "phrase", run / "metrics.csv", "--image", "a.png", "--text", "x")
    assert "no config.yaml" in last(capsys, "word_maps", run)
    assert "expected 1 or more" in last(capsys, "overlay", run, "--samples", "0")
    assert "not logged by every one of these runs; did you mean 'val/auroc'" in last(
        capsys, "curves", run, "--metric", "val/aurok"
    )
    assert "given twice" in last(capsys, "curves", run, run)
    assert "no TensorBoard events" in last(capsys, "curves", tmp_path)
    assert "differ in their share of labels" in last(capsys, "label_efficiency", run)
    write_run(tmp_path / "tenth", row(label_fraction=0.1))
    write_run(tmp_path / "full", row(label_fraction=1.0))
    assert "not measured by these runs; did you mean 'auroc'" in last(
        capsys, "label_efficiency", tmp_path, "--metric", "aurok"
    )
    assert "expected one of: cls-finetune-mrm" in last(capsys, "label_efficiency", tmp_path, "--protocol", "x")
    objectives = "{local_alignment: {gone: 1}}"
    (run / "config.yaml").write_text(
        f"model: {{class_path: PretrainingTask, init_args: {{objectives: {objectives}}}}}\n"
        "data: {class_path: PairsDataModule, init_args: {root: x}}\n"
    )
    said = last(capsys, "word_maps", run)
    assert (
        "config.yaml is of another version of mpma_lightning: model.objectives" in said
        and "local_alignment.gone" in said
    )
    assert not (run / "figures").exists(), "a mistake writes nothing"


def test_value_help_names_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figure", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed and kind.shows in printed for name, kind in KINDS.items())


class Patchy:
    """A model whose cosine with any text is the mean of one corner of the image."""

    def embed_texts(self, text: str, aligned: bool) -> np.ndarray:
        return np.ones((1, 1))

    def embed_images(self, pixels: np.ndarray, aligned: bool) -> np.ndarray:
        return np.full((1, 1), pixels[10:20, 30:40].mean() / 255)


def test_value_covering_finds_what_the_model_looks_at() -> None:
    pixels = np.zeros((40, 60), np.uint8)
    pixels[10:20, 30:40] = 255
    model: Any = Patchy()
    heat = occlusion_map(model, pixels, "x", cells=4)
    assert heat.shape == (40, 60) and heat[15, 35] == heat.max() and heat[:, :15].max() < heat.max() > heat[30:].max()
    mean = round(255 * 100 / 2400) / 255
    assert np.isclose(heat.max(), 1 - mean), "the whole corner was covered by the mean of the image"


def test_value_a_phrase_on_another_code_bases_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tokenizer_file: Path
) -> None:
    import torch

    torch.save(mgca().state, tmp_path / "mgca.ckpt")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 48), dtype=np.uint8)).save(tmp_path / "film.png")
    words = ["phrase", tmp_path / "mgca.ckpt", "--image", tmp_path / "film.png", "--text", "small left effusion"]
    words += ["--tokenizer", tokenizer_file, "--out", tmp_path / "phrase.png", "--column", "single"]
    assert main(["figure", *map(str, words)]) == 0
    told = (tmp_path / "phrase.txt").read_text()
    assert "“small left effusion”" in told and "By local alignment. Weights: checkpoint mgca.ckpt" in told
    assert "may show patients" in capsys.readouterr().err
    torch.save(mae().state, tmp_path / "mae.pth")
    words[1] = tmp_path / "mae.pth"
    assert main(["figure", *map(str, words[:6]), "--out", str(tmp_path / "b.png")]) == 1
    assert "holds image; a map of a sentence needs local or global alignment" in capsys.readouterr().err


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    from data_modules.text.tokenizer import Tokenizer

    path = tmp_path / "tokenizer.json"
    path.write_text(Tokenizer.train(["small left effusion", "clear lungs"] * 9, 300, 1).to_json())
    return path
