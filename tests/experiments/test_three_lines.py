"""A checkpoint in three lines of Python gives what the command line gives."""

import json
from pathlib import Path
from typing import Any

import cv2
import foreign_files
import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from shipped import label_arguments, results
from sklearn.metrics import roc_auc_score

import mpma_lightning
from data_modules.errors import UserError
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones.checkpoint import read_checkpoint
from mpma_lightning.cli.main import main

ROOT = Path(__file__).parents[2]
CLASSES = ["Atelectasis", "Cardiomegaly", "Edema"]


def test_zero_shot_is_that_of_test_and_predict(trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path) -> None:
    words = label_arguments("zero_shot", phantom, trained[0], tmp_path)
    assert main(["predict", *words]) == 0 and main(["test", *words]) == 0
    written = pd.read_parquet(tmp_path / "scores.parquet")
    root = phantom / "layouts" / "chexpert"
    paths = [root / name.removeprefix("CheXpert-v1.0-small/") for name in written["id"]]
    model = mpma_lightning.load(trained[0], device="cpu")
    found = model.zero_shot(paths, CLASSES)
    assert {f"{kind}/{name}" for kind in ("global", "local") for name in CLASSES} == {*found}
    for column in found:
        assert np.allclose(found[column], written[column], atol=1e-5), column
    known = pd.concat([pd.read_csv(file) for file in root.glob("*.csv") if "5x200" not in file.name])
    labels = known.assign(id=known["Path"].str.removeprefix("CheXpert-v1.0-small/")).set_index("id")
    labels = labels.loc[[name.removeprefix("CheXpert-v1.0-small/") for name in written["id"]]]
    metrics = results(tmp_path)["metrics"]
    for name in CLASSES:
        told = labels[name].isin([0, 1])
        expected = roc_auc_score(labels[name][told], found[f"global/{name}"][told.to_numpy()])
        assert metrics[f"test/global/auroc/{name}"] == pytest.approx(expected, abs=1e-6)


def test_embeddings_maps_and_own_prompts(trained: tuple[Path, list[str]], phantom: Path) -> None:
    model = mpma_lightning.load(trained[0], device="cpu")
    paths = sorted((phantom / "layouts" / "chexpert").rglob("*.jpg"))[:3]
    arrays = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    images, texts = model.embed_images(paths), model.embed_texts(["pleural effusion", "no effusion"])
    assert images.shape[1] == texts.shape[1] and images.dtype == np.float32
    assert np.allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5) and not np.allclose(texts[0], texts[1])
    assert np.allclose(model.embed_images(arrays), images, atol=1e-6), "a file or its pixels"
    assert np.allclose(model.embed_images(paths[1]), images[1:2], atol=1e-5), "alone or in a batch"
    spec = read_checkpoint(trained[0]).spec
    assert model.embed_images(paths, aligned=False).shape == (3, model.backbone.image.width) and spec is not None
    own = {"fluid": {"positive": ["pleural effusion"], "negative": ["no effusion"]}}
    score = model.zero_shot(paths, own)["global/fluid"]
    assert np.allclose(score, images @ (texts[0] - texts[1]), atol=1e-5)
    wide = np.pad(arrays[0], ((0, 0), (20, 20)))
    place = model.locate(wide, "pleural effusion")
    assert place.shape == wide.shape and np.isnan(place[:, :12]).all() and np.abs(place[:, 30:-30]).max() <= 1


def test_errors_of_the_three_lines(trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path) -> None:
    model = mpma_lightning.load(trained[0], device="cpu")
    with pytest.raises(UserError, match="float64 with shape"):
        model.embed_images(np.zeros((4, 4)))
    with pytest.raises(UserError, match=r"gone\.png"):
        model.embed_images(tmp_path / "gone.png")
    with pytest.raises(UserError, match="found no image"):
        model.embed_images([])
    with pytest.raises(UserError, match="'Gout' has no prompts in chest_xray"):
        model.zero_shot(np.zeros((64, 64), np.uint8), ["Gout"])
    with pytest.raises(UserError, match="holds no head for answers"):
        model.answer(np.zeros((64, 64), np.uint8), "Where?")
    torch.save(foreign_files.mae().state, tmp_path / "mae.pth")
    images_only, film = mpma_lightning.load(tmp_path / "mae.pth", device="cpu"), np.zeros((64, 64), np.uint8)
    for call in (
        lambda: images_only.locate(film, "effusion"),
        lambda: images_only.answer(film, "Where?"),
        lambda: images_only.zero_shot(film, CLASSES),
        lambda: images_only.embed_texts("effusion"),
    ):
        with pytest.raises(UserError, match=r"mae\.pth holds (image; this needs|no head for answers)") as caught:
            call()
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="does not exist"):
        mpma_lightning.load(tmp_path / "nothing.ckpt")


def test_a_checkpoint_of_another_code_base_in_one_line(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MGCA's file under the protocols of zero-shot and linear probe; its tokeniser lies beside it."""
    torch.save(foreign_files.mgca().state, tmp_path / "mgca.ckpt")
    (tmp_path / "tokenizer.json").write_text(Tokenizer.train(["lungs are clear", "edema"] * 9, 300, 1).to_json())
    words = label_arguments("zero_shot", phantom, tmp_path / "mgca.ckpt", tmp_path / "zero")
    assert main(["test", *words]) == 0
    assert "(MGCA)" in "".join(capsys.readouterr().err.split())
    row = results(tmp_path / "zero")
    assert row["initialisation"] == "checkpoint" and 0 < row["metrics"]["test/combined/auroc"] < 1
    probe = ["--model.fractions", "[1.0]", "--model.seeds", "[0]", "--model.probe.max_epochs", "3"]
    words = label_arguments("linear_probe", phantom, tmp_path / "mgca.ckpt", tmp_path / "probe", *probe)
    assert main(["fit", *words]) == 0
    model = mpma_lightning.load(tmp_path / "mgca.ckpt", device="cpu")
    assert model.normalisation == (0.5, 0.5) and model.embed_texts("edema").shape == (1, 16)


def test_the_notebook_runs(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code cells in order, in one namespace, on a run and a phantom in the places that it names."""
    matplotlib.use("agg")
    book = json.loads((ROOT / "docs" / "three_lines.ipynb").read_text())
    assert not any(cell.get("outputs") for cell in book["cells"]), "no output is kept in the file"
    for name, there in (("runs/demo/pretraining", trained[0]), ("data/phantom", phantom)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(there)
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), known)
    films, images = known["FILMS"], known["images"]
    assert len(films) == len(images) == 8 and known["texts"].shape == (2, images.shape[1])
    assert known["place"].shape == np.asarray(cv2.imread(str(films[0]), cv2.IMREAD_GRAYSCALE)).shape
    expected = mpma_lightning.load(trained[0], device="cpu").embed_images(films[:2])
    assert np.allclose(images[:2], expected, atol=1e-5)
