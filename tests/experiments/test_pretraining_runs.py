"""A short pre-training: what it leaves, what it feeds, how it goes on."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from shipped import EXPERIMENTS, SMALL, TINY, label_arguments, results
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from mpma_lightning.backbones.checkpoint import read_checkpoint
from mpma_lightning.callbacks.paired_evaluation import PairedEvaluation
from mpma_lightning.cli.main import main


def test_fit_leaves_a_complete_run(trained: tuple[Path, list[str]]) -> None:
    run, _ = trained
    row = json.loads((run / "results.json").read_text())
    assert row["phantom"] is True and row["steps"] == 4
    assert row["split_sizes"]["train"] > 20 and len(row["manifest_hash"]) == 64
    metrics = row["metrics"]
    for name in (
        "image_reconstruction_loss",
        "report_reconstruction_loss",
        "global_alignment_loss",
        "local_alignment_loss",
    ):
        assert metrics[f"val/{name}"] > 0
    for name in ("i2t_r10", "t2i_r10", "chance_r10", "interpolation_mse", "finding_word_accuracy", "local_gap"):
        assert f"val/{name}" in metrics
    assert 0 < metrics["val/slot_entropy"] <= 1 and metrics["val/memory_contribution"] > 0
    for part in ("image", "text"):
        assert metrics[f"gradient/report_reconstruction/{part}"] > 0
    pictures = {p.name for p in (run / "pictures").glob("*.png")}
    assert {"reconstruction.png", "report.png", "similarity.png", "word_maps.png"} <= pictures
    assert list(run.glob("events.out.tfevents*"))


def test_fit_again_at_its_end_writes_the_same_row(trained: tuple[Path, list[str]], tmp_path: Path) -> None:
    run, arguments = trained
    copy = shutil.copytree(run, tmp_path / "copy")
    row = json.loads((copy / "results.json").read_text())
    (copy / "results.json").unlink()
    steps = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "2", "--model.check_every", "2"]
    assert main(["fit", *arguments, *steps, "--trainer.default_root_dir", str(copy)]) == 0
    again = json.loads((copy / "results.json").read_text())
    assert again["metrics"] == row["metrics"] and again["weights_sha256"] == row["weights_sha256"]
    assert again["declared"] == row["declared"] and "val/loss" in {f"val/{name}" for name in row["declared"]}
    assert again["seconds"] >= row["seconds"] - 5  # of the whole run, not of this call


def test_stopped_in_its_last_validation_is_measured_when_continued(
    trained: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, arguments = trained
    own = "{trainer: {callbacks+: [{class_path: ModelCheckpoint, init_args: {every_n_train_steps: 1, save_last: true, "
    own += "dirpath: '${trainer.default_root_dir}/checkpoints', enable_version_counter: false}}]}}"
    words = ["fit", *arguments, "--config", own, "--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    words += ["--trainer.default_root_dir", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(PairedEvaluation, "on_validation_epoch_start", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(words)
    assert main(words) == 0
    row = json.loads((tmp_path / "results.json").read_text())
    assert row["steps"] == 2 and "val/local_gap" in row["metrics"]


def test_checkpoint_feeds_a_new_run(trained: tuple[Path, list[str]], tmp_path: Path) -> None:
    run, arguments = trained
    checkpoint = read_checkpoint(run)
    assert checkpoint.tokenizer and checkpoint.spec and checkpoint.step == 4
    again = [*arguments[: arguments.index("--model.backbone.image.options")], "--data.batch_size", "8"]
    again += ["--model.checkpoint", str(run), "--model.backbone", "null", "--trainer.max_steps", "1"]
    again += ["--trainer.default_root_dir", str(tmp_path)]
    assert main(["fit", *again]) == 0
    assert json.loads((tmp_path / "results.json").read_text())["initialisation"] == "checkpoint"


def test_checkpoint_does_not_ask_for_the_files_it_once_started_from(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path
) -> None:
    run, arguments = trained
    published = tmp_path / "published"
    tokenizer = Tokenizer.from_str(read_checkpoint(run).tokenizer)
    special = {
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "unk_token": "[UNK]",
    }
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(published)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), **size), add_pooling_layer=False).save_pretrained(
        published
    )
    more = ["--model.backbone.text.encoder", f"hf/{published}", "--data.text.tokenizer", str(published)]
    more += ["--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.limit_val_batches", "0"]
    assert main(["fit", *arguments, *more, "--trainer.max_steps", "2"]) == 0
    shutil.rmtree(published)
    content = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    content["mpma"]["spec"]["image"]["weights"] = "gone.pth"
    torch.save(content, tmp_path / "moved.ckpt")
    words = label_arguments("zero_shot", phantom, tmp_path / "moved.ckpt", tmp_path / "zero_shot")
    assert main(["test", *words]) == 0


def test_test_and_predict(trained: tuple[Path, list[str]], phantom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, arguments = trained
    assert main(["test", *arguments, "--ckpt_path", "last"]) == 0
    assert json.loads((run / "results_test.json").read_text())["metrics"]["test/pairs"] > 5
    folder = next((phantom / "mimic-cxr-jpg" / "files").iterdir())
    assert main(["predict", *arguments, "--ckpt_path", "last", "--data.folder", str(folder)]) == 0
    table = pq.read_table(run / "features.parquet").to_pydict()
    assert len(table["id"]) == len(list(folder.rglob("*.jpg")))
    assert len(table["image_embedding"][0]) == 64 and "text" not in table


def test_another_architecture_is_refused_in_one_line(
    trained: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, arguments = trained
    other = [
        "--model.checkpoint",
        str(run),
        "--model.backbone.text.depth",
        "2",
        "--trainer.default_root_dir",
        str(tmp_path),
    ]
    assert main(["fit", *arguments, *other]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: model.backbone disagrees with checkpoint") and "text.depth: 2, not 1" in error


def test_same_seed_same_weights(trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path) -> None:
    _, arguments = trained
    weights = []
    for name in ("a", "b"):
        run = tmp_path / name
        steps = ["--trainer.max_steps", "3", "--trainer.default_root_dir", str(run), "--trainer.limit_val_batches", "0"]
        assert main(["fit", *arguments, *steps]) == 0
        weights.append(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_stopped_and_continued_equals_undisturbed(trained: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Stopped in mid-epoch and continued by the same command: bit-identical weights and optimiser."""
    _, arguments = trained
    common = [*arguments, "--trainer.limit_val_batches", "0", "--model.optim.warmup", "2"]
    states = []
    for name, stops in (("whole", [7]), ("stopped", [3, 7])):
        for step in stops:
            run = ["--trainer.default_root_dir", str(tmp_path / name)]
            assert main(["fit", *common, *run, "--trainer.max_steps", str(step), "--model.optim.min_lr", "1.0"]) == 0
        states.append(torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True))
    whole, stopped = states
    assert whole["global_step"] == stopped["global_step"] == 7
    assert all(torch.equal(value, stopped["state_dict"][name]) for name, value in whole["state_dict"].items())
    for key, slots in whole["optimizer_states"][0]["state"].items():
        for name, value in slots.items():
            assert torch.equal(value, stopped["optimizer_states"][0]["state"][key][name])


def test_images_without_texts_train_by_image_reconstruction_alone(pairs: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (pairs / "pairs.jsonl").read_text().splitlines()]
    (pairs / "images_alone.jsonl").write_text("".join(json.dumps({"image": row["image"]}) + "\n" for row in rows))
    data = {"class_path": "PairsDataModule", "init_args": {"root": str(pairs), "table": "images_alone.jsonl"}}
    arguments = ["--config", str(EXPERIMENTS / "ablations" / "mae.yaml"), "--data", json.dumps(data), *SMALL, *TINY]
    arguments += ["--data.image_size", "64", "--data.batch_size", "8", "--trainer.max_steps", "2"]
    arguments += ["--trainer.val_check_interval", "2", "--trainer.default_root_dir", str(tmp_path)]
    assert main(["fit", *arguments]) == 0
    metrics = results(tmp_path, "results.json")["metrics"]
    assert metrics["val/image_reconstruction_loss"] > 0 and "val/report_reconstruction_loss" not in metrics
