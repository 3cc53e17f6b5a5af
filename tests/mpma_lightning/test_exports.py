"""Exports give the same features in plain timm and transformers, in a process that cannot import this project."""

import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import foreign_files
import numpy as np
import pytest
import timm
import torch
from every_task import build
from model_fixtures import small_spec
from safetensors.torch import load_file, save_file

import mpma_lightning
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones import Backbone, Vocabulary
from mpma_lightning.backbones.checkpoint import CARGO
from mpma_lightning.cli.main import main

PLAIN = """
import sys
sys.path = [place for place in sys.path if place not in ("", {root!r})]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
try:
    import mpma_lightning
    sys.exit("this project can be imported")
except ImportError:
    pass
import torch
from safetensors.torch import load_file, save_file
given = load_file("given.safetensors")
with torch.no_grad():
    import timm
    model = timm.create_model("local-dir:image", pretrained=True).eval()
    held = {{"pooled": model(given["image"]).contiguous()}}
    from transformers import AutoModel, AutoTokenizer
    text, tokenizer = AutoModel.from_pretrained("text").eval(), AutoTokenizer.from_pretrained("text")
    read = tokenizer(["heart failure again", "clear"], return_tensors="pt", padding=True)
    found = text(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).last_hidden_state
    held |= {{"first": found[:, 0].contiguous(), "ids": read["input_ids"]}}
save_file(held, "held.safetensors")
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A checkpoint of this project, with a linear stem."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["heart failure again", "clear lungs"] * 9, 300, 1)
    spec = small_spec(text={"pool": "cls"})
    ids = (tokenizer.pad_id, tokenizer.mask_id)
    backbone = foreign_files.lively(Backbone(spec, ("image", "text", "align_global"), Vocabulary(len(tokenizer), *ids)))
    cargo = {"task": "PretrainingTask", "spec": backbone.spec.plain(), "tokenizer": tokenizer.to_json(),
             "normalisation": [0.5, 0.25], "text_config": None}  # fmt: skip
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    torch.save({"state_dict": state, CARGO: cargo}, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_value_features_in_plain_timm_and_transformers(run: Path, tmp_path: Path) -> None:
    for library, folder in (("timm", "image"), ("transformers", "text")):
        assert main(["export", str(run), "--to", library, "--out", str(tmp_path / folder)]) == 0
        card = (tmp_path / folder / "README.md").read_text()
        assert "Not for clinical use" in card and f"library_name: {library}" in card
    image = torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8)
    normal = ((image.float() / 255 - 0.5) / 0.25)[:, None].expand(-1, 3, -1, -1)
    save_file({"image": normal.contiguous()}, tmp_path / "given.safetensors")
    script = PLAIN.format(root=str(Path(mpma_lightning.__file__).parents[1]))
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, env={"PATH": "", "HF_HUB_OFFLINE": "1"})
    held, model = load_file(tmp_path / "held.safetensors"), mpma_lightning.load(run, device="cpu")
    mine = model.embed_images([pixels.numpy() for pixels in image], aligned=False)
    assert np.abs(mine - held["pooled"].numpy()).max() < 1e-4
    texts = ["heart failure again", "clear"]
    assert np.abs(model.embed_texts(texts, aligned=False) - held["first"].numpy()).max() < 1e-4
    assert model.tokenizer is not None
    pieces, (count, length) = model.tokenizer.columns(texts)["input_ids"], held["ids"].shape
    assert held["ids"].tolist() == [row[:length] for row in pieces] and count == 2


@pytest.mark.parametrize("pool", ["mean", "cls", "mean_before_norm"])
def test_value_every_pooling_is_timms(tmp_path: Path, pool: str) -> None:
    backbone = foreign_files.lively(Backbone(small_spec(image={"pool": pool}), ["image"]))
    cargo = {"task": "T", "spec": backbone.spec.plain(), "normalisation": [0.5, 0.25]}
    torch.save(
        {"state_dict": {f"backbone.{n}": v for n, v in backbone.state_dict().items()}, CARGO: cargo}, tmp_path / "a"
    )
    assert main(["export", str(tmp_path / "a"), "--to", "timm", "--out", str(tmp_path / "out")]) == 0
    model, image = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval(), foreign_files.pixels(32)
    with torch.no_grad():
        assert torch.allclose(model(image), backbone.image(image).pooled, atol=1e-4)


def test_value_what_was_exported_can_be_loaded_again(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--to", "safetensors", "--out", str(tmp_path / "all")]) == 0
    first, again = mpma_lightning.load(run, device="cpu"), mpma_lightning.load(tmp_path / "all", device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    assert np.array_equal(first.embed_images(image), again.embed_images(image))
    assert np.array_equal(first.embed_texts("clear"), again.embed_texts("clear"))
    assert main(["export", str(run), "--to", "timm", "--out", str(tmp_path / "image")]) == 0
    image_only = mpma_lightning.load(tmp_path / "image", device="cpu")
    assert np.allclose(image_only.embed_images(image), first.embed_images(image, aligned=False), atol=1e-5)


def test_errors_of_exports(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str) -> str:
        assert main(["export", *words]) == 1
        return capsys.readouterr().err.strip().splitlines()[-1]

    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("kept")
    assert "nothing is overwritten" in refused(str(run), "--to", "timm", "--out", str(full))
    convolutions = Backbone(small_spec(image={"stem": "convolution"}), ["image"])
    cargo = {"task": "T", "spec": convolutions.spec.plain(), "normalisation": [0.5, 0.25]}
    state = {f"backbone.{name}": value for name, value in convolutions.state_dict().items()}
    torch.save({"state_dict": state, CARGO: cargo}, tmp_path / "b.ckpt")
    out = tmp_path / "out"
    line = refused(str(tmp_path / "b.ckpt"), "--to", "timm", "--out", str(out))
    assert "image.stem: convolution" in line and "--to safetensors" in line and not out.exists()
    assert "no text encoder" in refused(str(tmp_path / "b.ckpt"), "--to", "transformers", "--out", str(out))


@pytest.mark.parametrize("head", ["mlp", "linear"])
def test_error_open_clip_says_what_it_cannot_express(
    tmp_path: Path, head: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ("image", "text", "align_global", "align_local")
    backbone = Backbone(small_spec(align={"image_head": head, "text_head": head}), parts, Vocabulary(60, 0, 4))
    cargo = {"task": "T", "spec": backbone.spec.plain(), "normalisation": [0.5, 0.25], "text_config": None}
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    torch.save({"state_dict": state, CARGO: cargo}, tmp_path / "b.ckpt")
    assert main(["export", str(tmp_path / "b.ckpt"), "--to", "open_clip", "--out", str(tmp_path / "out")]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    said = {"mlp": "linear, LayerNorm, ReLU, linear (image)", "linear": "linear, with bias (image)"}[head]
    assert said in line and "no align_local" in line and "--to safetensors" in line and not (tmp_path / "out").exists()


class Hub:
    """Stands for ``HfApi``: notes what it is asked for."""

    asked: ClassVar[list[tuple[str, dict[str, object]]]] = []
    fails: ClassVar[Exception | None] = None

    def create_repo(self, repository: str, **options: object) -> None:
        if Hub.fails:
            raise Hub.fails
        Hub.asked.append(("create", {"repository": repository, **options}))

    def upload_folder(self, **options: object) -> None:
        files = sorted(path.name for path in Path(str(options["folder_path"])).iterdir())
        Hub.asked.append(("upload", {**options, "files": files}))


def test_value_push_uploads_what_was_written_and_nothing_else(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    Hub.asked, Hub.fails = [], None
    out = tmp_path / "image"
    assert main(["export", str(run), "--to", "timm", "--out", str(out), "--push", "me/mine"]) == 0
    files = ["README.md", "config.json", "model.safetensors"]
    assert capsys.readouterr().out.split() == files == sorted(path.name for path in out.iterdir())
    assert Hub.asked == [
        ("create", {"repository": "me/mine", "exist_ok": True, "private": True}),
        ("upload", {"repo_id": "me/mine", "folder_path": out, "files": files}),
    ]
    Hub.asked = []
    assert main(["export", str(run), "--to", "timm", "--out", str(out), "--push", "me/mine"]) == 1
    assert not Hub.asked, "what is refused is not uploaded"
    assert main(["export", str(run), "--to", "timm", "--out", str(tmp_path / "kept")]) == 0
    assert not Hub.asked, "without --push nothing leaves"


def test_error_push_without_a_login_keeps_what_was_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    Hub.asked, Hub.fails = [], OSError("401 Client Error:\n Invalid username")
    out = tmp_path / "image"
    assert main(["export", str(run), "--to", "timm", "--out", str(out), "--push", "me/mine"]) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert f"{out} is written, but could not be uploaded to me/mine" in line and "hf auth login" in line
    assert "401 Client Error: Invalid username" in line and (out / "model.safetensors").is_file() and not Hub.asked


@pytest.mark.parametrize("pool", ["mask", "mean"])
def test_value_answers_are_those_of_the_task(tmp_path: Path, pool: str) -> None:
    task, batch, _, _ = build("vqa")
    torch.set_default_dtype(torch.float32)
    task = foreign_files.lively(task.float())
    task.pool = pool
    checkpoint: dict[str, Any] = {"state_dict": task.state_dict()}
    task.on_save_checkpoint(checkpoint)
    file = tmp_path / "run" / "checkpoints" / "last.ckpt"
    file.parent.mkdir(parents=True)
    torch.save(checkpoint, file)
    (tmp_path / "run" / "config.yaml").write_text(f"model: {{class_path: VQATask, init_args: {{pool: {pool}}}}}\n")
    model, question = mpma_lightning.load(file, device="cpu"), batch["text"][3]
    with torch.no_grad():
        tokens = task.tokenised([question])
        expected = task.logits({"image": batch["image"][3:4], **tokens}).sigmoid()[0]
    found = model.answer(batch["image"][3, 0].numpy(), question)
    order = expected.argsort(descending=True).tolist()
    assert list(found) == [task.answers[i] for i in order] and np.allclose(
        list(found.values()), expected[order], atol=1e-5
    )
    assert list(model.answer(batch["image"][3, 0].numpy(), question, count=1)) == list(found)[:1]
