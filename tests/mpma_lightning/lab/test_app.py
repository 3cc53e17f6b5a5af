"""`app`: what the page answers, what it says of mistakes, and that it keeps and sends nothing."""

import argparse
import asyncio
import base64
import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import foreign_files
import numpy as np
import pandas as pd
import pytest
import torch
from model_fixtures import small_spec
from PIL import Image

import mpma_lightning
from data_modules.errors import UserError
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones import Backbone, Vocabulary
from mpma_lightning.backbones.checkpoint import CARGO
from mpma_lightning.cli.main import main
from mpma_lightning.inference import Model
from mpma_lightning.lab.app import command, html, serve
from mpma_lightning.lab.app.reports import Found, Near, Reports, Source, of_run, of_store
from mpma_lightning.lab.app.viewer import Film, Viewer

TEXTS = ["small left effusion", "lungs are clear", "no pleural effusion", "edema is right", "left edema and effusion"]
PARTS = ("image", "text", "align_global", "align_local")


def checkpoint(folder: Path, *parts: str) -> Path:
    """A checkpoint of this project with a tokeniser, in a run folder."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(TEXTS * 9, 300, 1)
    backbone = foreign_files.lively(
        Backbone(small_spec(), parts, Vocabulary(len(tokenizer), tokenizer.pad_id, tokenizer.mask_id))
    )
    cargo = {"task": "T", "spec": backbone.spec.plain(), "tokenizer": tokenizer.to_json(), "normalisation": [0.5, 0.25]}
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    file = folder / "checkpoints" / "last.ckpt"
    file.parent.mkdir(parents=True)
    torch.save({"state_dict": state, CARGO: cargo}, file)
    return file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return mpma_lightning.load(checkpoint(tmp_path_factory.mktemp("app") / "run", *PARTS), device="cpu")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images with texts, two of which are the same, all of the test split."""
    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    rows = []
    for number, text in enumerate([*TEXTS, TEXTS[0]]):
        pixels = random.integers(0, 256, (40, 48), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append({"image": f"{number}.png", "text": text, "patient": f"p{number}", "split": "test"})
    rows[3]["split"] = "train"
    pd.DataFrame(rows).to_csv(folder / "pairs.csv", index=False)
    return folder


def source(pairs: Path) -> Source:
    rows = pd.read_csv(pairs / "pairs.csv")
    return Source("pairs", rows.assign(id=rows["image"], image=[str(pairs / name) for name in rows["image"]]), False)


def test_value_scores_of_known_and_of_any_classes(model: Model, pairs: Path) -> None:
    film = pairs / "0.png"
    found = Viewer(model, "run").scores(film, "edema, Pleural Effusion\nClear Lungs,, edema ")
    assert list(found) == ["global", "local"] and set(found.index) == {"edema", "Pleural Effusion", "Clear Lungs"}
    expected = model.zero_shot(film, ["Edema", "Pleural Effusion"])
    assert np.isclose(found.loc["edema", "global"], expected["global/Edema"][0], atol=1e-6)
    assert np.isclose(found.loc["Pleural Effusion", "local"], expected["local/Pleural Effusion"][0], atol=1e-6)
    image, words = model.embed_images(film)[0], model.embed_texts(["clear lungs", "no clear lungs"])
    assert np.isclose(found.loc["Clear Lungs", "global"], image @ (words[0] - words[1]), atol=1e-5)
    assert found["global"].is_monotonic_decreasing


def test_value_place_is_that_of_locate_with_a_caption(model: Model, pairs: Path) -> None:
    drawn = Viewer(model, "run").place(pairs / "0.png", " left effusion ")
    expected = model.locate(pairs / "0.png", "left effusion")
    assert np.allclose(drawn.figure.axes[1].images[1].get_array().filled(np.nan), expected, atol=1e-6, equal_nan=True)
    shown = html.figure(drawn)
    said = "Where the model sees “left effusion”"
    assert shown.count(said) == 2 and "Weights: checkpoint last.ckpt of run. Image: 0.png." in shown, "also for no eyes"


def test_value_nearest_reports_are_different_and_those_of_the_split(model: Model, pairs: Path) -> None:
    image = model.embed_images(pairs / "4.png", aligned=True)[0]
    found = Viewer(model, "run", reports=Reports(model, lambda: source(pairs), "test")).nearest(pairs / "4.png")
    texts = [text for text in TEXTS if text != "edema is right"]
    cosines = {text: float(model.embed_texts(text)[0] @ image) for text in texts}
    assert [near.text for near in found.reports] == sorted(texts, key=lambda text: -cosines[text])
    assert all(np.isclose(near.similarity, cosines[near.text], atol=1e-5) for near in found.reports)
    assert {near.text: near.others for near in found.reports} == {**dict.fromkeys(texts, 0), TEXTS[0]: 1}
    first = found.reports[0]
    assert np.array_equal(first.pixels, np.asarray(Image.open(pairs / first.id))), "with their own image"
    assert "among 4 different reports of pairs, test split" in found.said and "of patients" in found.said
    some = Reports(model, lambda: source(pairs), "all", most=2).nearest(image)
    assert len(some.reports) == 2 and "among 2, spread evenly, of the 5 different reports" in some.said


def test_value_reports_of_a_store_and_of_a_runs_data(model: Model, pairs: Path, tmp_path: Path) -> None:
    assert main(["prepare", "pairs", "--root", str(pairs), "--out", str(tmp_path / "store"), "--workers", "1"]) == 0
    record = tmp_path / "config.yaml"
    record.write_text(f"data: {{class_path: data_modules.pairs.PairsDataModule, init_args: {{root: {pairs}}}}}\n")
    stored, read = of_store(tmp_path / "store"), of_run(record)
    image = model.embed_images(pairs / "0.png", aligned=True)[0]
    found = [Reports(model, lambda s=s: s, "test").nearest(image).reports for s in (stored, read)]  # type: ignore[misc]
    assert stored.name == "store (PairsDataModule)" and read.name == "PairsDataModule" and len(found[0]) == 4
    for one, other in zip(*found, strict=True):
        assert (one.id, one.text, one.others) == (other.id, other.text, other.others)
        assert np.abs(one.pixels.astype(int) - other.pixels).mean() < 20, "a JPEG of the same image"


def test_errors_on_the_page_are_one_line(model: Model, pairs: Path, tmp_path: Path) -> None:
    viewer = Viewer(model, "run", reports=Reports(model, lambda: source(pairs), "val"))
    (tmp_path / "broken.png").write_bytes((pairs / "0.png").read_bytes()[:300])
    (tmp_path / "notes.txt").write_text("a text")
    for path, words in ((None, "found no image; choose one"), (tmp_path / "broken.png", "^broken.png: broken image"),
                        (tmp_path / "notes.txt", "^notes.txt: not an image .*; choose another file$")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            viewer.film(path)
    for asked, words in ((lambda: viewer.place(pairs / "0.png", " "), "found no phrase; type one, such as"),
                         (lambda: viewer.scores(pairs / "0.png", " ,\n"), "found no class; type some"),
                         (lambda: viewer.answer(pairs / "0.png", "where?"), "has no head for answers"),
                         (lambda: viewer.nearest(pairs / "0.png"), "has no reports in its val split; .*--split"),
                         (lambda: Viewer(model, "run").nearest(pairs / "0.png"), "start the page with --store"),
                         ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            asked()
    untold = Source("pairs", source(pairs).rows.drop(columns="text"), False)
    with pytest.raises(UserError, match="pairs has no texts; give a prepared store"):
        Reports(model, lambda: untold).nearest(np.zeros(8))
    assert html.problem("found <b> & 'x'") == "<p class='problem' role='alert'>found &lt;b&gt; &amp; &#x27;x&#x27;</p>"


class Answering:
    """A model that answers every question alike."""

    can_answer, parts, tokenizer = True, ("image", "text", "fusion"), object()
    preparation = argparse.Namespace(read=lambda path: np.zeros((4, 4), np.uint8))

    def answer(self, image: np.ndarray, question: str) -> dict[str, float]:
        return {"yes": 0.75, "no <b>": 0.25} if question == "is it?" else {}


def test_value_answers_and_what_a_checkpoint_of_questions_lacks() -> None:
    viewer = Viewer(Answering(), "run")  # type: ignore[arg-type]
    shown = html.table(viewer.answer("a.png", " is it? "))
    assert re.findall(r">([^<>]+)</t[hd]>", shown.replace("\n", "")) == [
        "answer", "probability", "yes", "0.750", "no &lt;b&gt;", "0.250"
    ]  # fmt: skip
    with pytest.raises(UserError, match="found no question"):
        viewer.answer("a.png", "")
    with pytest.raises(UserError, match="has no global alignment"):
        viewer.scores("a.png", "edema")
    assert "no local or global alignment" in viewer.lacks("place") and not viewer.lacks("answer")


def test_value_images_are_inside_of_the_page_and_words_are_only_words() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    shown = html.film(Film("<a>.png", pixels)) + html.reports(Found([Near("b", "<i>", 0.5, pixels, 2)], "said"))
    for inside in re.findall("src='data:image/png;base64,([^']+)'", shown):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(inside)))), pixels)
    assert shown.count("<img") == 2 and "alt='&lt;a&gt;.png, 20 × 30 pixels'" in shown and "<p>&lt;i&gt;</p>" in shown
    assert "1. cosine 0.500, b; 2 more with the same words" in shown and "http" not in shown
    large = html.film(Film("x", np.zeros((1600, 40), np.uint8)))
    found = re.search("base64,([^']+)'", large)
    assert found is not None and Image.open(io.BytesIO(base64.b64decode(found[1]))).size == (20, 800)


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["app", *map(str, words)]) == 1
    return capsys.readouterr().err.splitlines()[-1]


def test_errors_of_the_command(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert refusal(capsys, tmp_path) == (
        "error: the page needs Gradio, which is not installed: pip install 'mpma-lightning[app]'"
    )
    monkeypatch.setattr(command, "find_spec", lambda name: name)
    assert "gone does not exist" in refusal(capsys, tmp_path / "gone")
    assert "--reports is 0; expected 1 or more" in refusal(capsys, tmp_path, "--reports", 0)
    images = checkpoint(tmp_path / "images", "image")
    assert "holds image; the page needs local or global alignment" in refusal(capsys, images)
    whole = checkpoint(tmp_path / "whole", *PARTS)
    assert f"found no prepared store in {pairs}" in refusal(capsys, whole, "--store", pairs)
    assert "prompt file gout.yaml does not exist" in refusal(capsys, whole, "--prompts", "gout.yaml")


def test_value_prompts_and_reports_are_those_of_the_run(tmp_path: Path, pairs: Path) -> None:
    file = checkpoint(tmp_path / "mine", *PARTS)
    options = dict.fromkeys(("store", "prompts", "tokenizer")) | {"run": file, "split": "test", "reports": 9}
    given = argparse.Namespace(**options, device="cpu", trust=False)
    alone = command.open_viewer(given)
    assert alone.lacks("nearest") and alone.name == "last.ckpt" and alone.classes.startswith("Atelectasis")
    (tmp_path / "own.yaml").write_text("findings: {Gout: {positive: [a], negative: [b]}}\n")
    data = f"{{class_path: data_modules.pairs.PairsDataModule, init_args: {{root: {pairs}}}}}"
    said = f"model: {{class_path: ZeroShotTask, init_args: {{prompts: {tmp_path / 'own.yaml'}}}}}\ndata: {data}\n"
    (tmp_path / "mine" / "config.yaml").write_text(said)
    viewer = command.open_viewer(given)
    assert (viewer.name, viewer.classes) == ("mine", "Gout") and len(viewer.nearest(pairs / "0.png").reports) == 4
    given.prompts = "names"
    assert "Gout" not in command.open_viewer(given).classes


def test_value_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SHARE", "True")
    before, place = dict(os.environ), tempfile.tempdir
    with serve.private():
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0 and tempfile.gettempdir() == str(folder)
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False" and "GRADIO_SHARE" not in os.environ
        (folder / "film.png").write_bytes(b"a film")
    assert not folder.exists() and dict(os.environ) == before and tempfile.tempdir == place


def test_value_every_answer_forbids_the_browser_other_places() -> None:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body"})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(serve.OwnOrigin(app)({}, None, send))
    assert sent[0]["headers"] == [(b"a", b"b"), (b"content-security-policy", serve.POLICY)] and len(sent) == 2
    assert b"http" not in serve.POLICY and b"*" not in serve.POLICY


@pytest.mark.full
def test_value_the_page_is_built_and_served_to_this_computer(model: Model, pairs: Path) -> None:
    with serve.private():
        pytest.importorskip("gradio", reason="Gradio is not installed: pip install 'mpma-lightning[app]'")
        import httpx

        from mpma_lightning.lab.app.page import LOOK, layout

        page = layout(Viewer(model, "run", reports=Reports(model, lambda: source(pairs))))
        look = next(each.fn for each in page.fns.values() if len(each.outputs) == 4)
        film, scores, *others = look(str(pairs / "0.png"), "edema")
        assert "0.png, 48 × 40" in film and "<th" in scores and others == ["", ""]
        broken = look(str(pairs / "pairs.csv"), "edema")
        assert "not an image" in broken[0] and broken[1:] == ["", "", ""] and look(None, "edema") == [""] * 4
        assert not page.analytics_enabled and all(each.api_visibility == "private" for each in page.fns.values())
        with serve.serving(page, LOOK, None) as address:
            assert address.startswith("http://127.0.0.1:") and not page.share and not page.run_history
            told = httpx.get(address, trust_env=False)
            assert told.headers["content-security-policy"].encode() == serve.POLICY
            assert "not for clinical use" in told.text and "no head for answers" in told.text
            assert httpx.get(address, headers={"host": "elsewhere.org"}, trust_env=False).status_code == 400
            taken = serve.serving(layout(Viewer(model, "run")), LOOK, int(address.rstrip("/").rpartition(":")[2]))
            with pytest.raises(UserError, match=r"cannot be served on 127\.0\.0\.1 at port .*give another"), taken:
                pass
