"""Classification, linear probe, zero-shot and multi-modal classification, through the command line."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from shipped import EXPERIMENTS, FIVE, PLANTED, SMALL, label_arguments, results, start

from mpma_lightning.backbones.checkpoint import read_checkpoint
from mpma_lightning.cli.main import main


def test_classification_is_tuned_tested_and_tested_on_other_data(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = label_arguments("classification", phantom, trained[0], tmp_path, "--data.label_fraction", "0.5")
    assert main(["test", *words]) == 1
    assert "head is not trained" in capsys.readouterr().err.strip().splitlines()[-1]
    assert main(["fit", *words, "--trainer.max_steps", "2", "--trainer.val_check_interval", "1"]) == 0
    row = results(tmp_path, "results.json")
    assert row["protocol"] == "cls-finetune" and row["label_fraction"] == 0.5
    assert len(row["train_ids_sha256"]) == 64 and row["dropped"]["outside the label fraction 0.5"] > 20
    assert main(["test", *words, "--ckpt_path", "best"]) == 0
    metrics = results(tmp_path)["metrics"]
    classes = ["Atelectasis", "Cardiomegaly", "Edema"]
    assert metrics["test/auroc"] == pytest.approx(sum(metrics[f"test/auroc/{name}"] for name in classes) / 3, abs=1e-6)
    assert metrics["test/auroc_low"] <= metrics["test/auroc"] <= metrics["test/auroc_high"]
    assert main(["predict", *words, "--ckpt_path", "best"]) == 0
    scores = pq.read_table(tmp_path / "scores.parquet").to_pydict()
    assert list(scores) == ["id", *classes] and len(scores["id"]) == row["split_sizes"]["test"]
    folder = phantom / "layouts" / "covidx" / "test"
    assert main(["predict", *words, "--ckpt_path", "best", "--data.folder", str(folder)]) == 0
    assert list(pq.read_table(tmp_path / "scores.parquet").to_pydict()) == ["id", *classes]

    other = "{data: {class_path: NIHChestXray14DataModule, init_args: {root: %s, split: official, labels: %s}}}"
    root = phantom / "layouts" / "nih_chestxray14"
    elsewhere = [*words[:2], "--config", other % (root, "[Effusion, Edema, Atelectasis]"), *SMALL]
    elsewhere += ["--model.checkpoint", str(trained[0]), "--trainer.default_root_dir", str(tmp_path)]
    assert main(["test", *elsewhere, "--ckpt_path", "best"]) == 0
    row = results(tmp_path)
    assert row["dataset"] == "NIHChestXray14DataModule" and row["classes"] == ["Atelectasis", "Edema"]
    assert row["metrics"]["test/classes_scored"] == 2 and "test/auroc/Cardiomegaly" not in row["metrics"]
    elsewhere[3] = other % (root, "[Effusion, Mass]")
    assert main(["test", *elsewhere, "--ckpt_path", "best"]) == 1
    assert "none in common" in capsys.readouterr().err.strip().splitlines()[-1]
    assert main(["fit", *words, "--data.label_fraction", "0.001", "--trainer.default_root_dir", f"{tmp_path}/o"]) == 1
    assert "expected at least one global batch" in capsys.readouterr().err.strip().splitlines()[-1]


STEPWISE = ["--trainer.val_check_interval", "1", "--trainer.check_val_every_n_epoch", "null"]


def test_exclusive_classes_have_an_accuracy(trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path) -> None:
    path = EXPERIMENTS / "classification" / "covidx_benchx.yaml"
    words = ["--trainer.max_steps", "2", *STEPWISE, "--model.checkpoint", str(trained[0])]
    start(path, phantom, phantom, tmp_path, *words, "--data.version", "9A")
    metrics = results(tmp_path, "results.json")["metrics"]
    assert 0 <= metrics["val/accuracy"] <= 1 and metrics["val/label_loss"] > 0


def test_one_class_of_benchx_has_two_outputs_on_the_mean_before_the_norm(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path
) -> None:
    path = EXPERIMENTS / "classification" / "rsna_pneumonia_benchx.yaml"
    start(
        path, phantom, phantom, tmp_path, "--trainer.max_steps", "2", *STEPWISE, "--model.checkpoint", str(trained[0])
    )
    row, kept = results(tmp_path, "results.json"), read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert row["protocol"] == "cls-finetune-benchx" and 0 <= row["metrics"]["val/f1"] <= 1
    assert kept.spec is not None and kept.spec.image.pool == "mean_before_norm"
    state = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert len(state["head.1.weight"]) == 2 and state["thresholds"].tolist() == [0.5]


def test_a_swin_transformer_is_fitted_and_read_from_its_checkpoint(phantom: Path, tmp_path: Path) -> None:
    path = EXPERIMENTS / "classification" / "covidx_benchx.yaml"
    small = {
        "encoder": "timm/swin_tiny_patch4_window7_224",
        "size": 64,
        "options": {"embed_dim": 24, "depths": [1] * 4},
    }
    config = json.dumps({"model": {"init_args": {"backbone": {"image": small}, "checkpoint": None}}})
    start(path, phantom, phantom, tmp_path, "--config", config, "--trainer.max_steps", "1", *STEPWISE)
    assert results(tmp_path, "results.json")["metrics"]["val/label_loss"] > 0
    carried = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt").spec
    assert carried is not None and carried.image.options == small["options"]


def test_linear_probe_encodes_once(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fractions = ["--model.fractions", "[0.5, 1.0]", "--model.seeds", "[0, 1]", "--model.probe.max_epochs", "5"]
    words = label_arguments("linear_probe", phantom, trained[0], tmp_path, *fractions)
    assert main(["fit", *words]) == 0
    row = results(tmp_path, "results.json")
    heads = row["heads"]
    assert [(h["fraction"], h["seed"]) for h in heads] == [(0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1)]
    assert heads[2]["samples"] == heads[3]["samples"] == row["split_sizes"]["train"] > heads[0]["samples"]
    assert heads[2]["ids_sha256"] == row["train_ids_sha256"] != heads[0]["ids_sha256"] != heads[1]["ids_sha256"]
    aurocs = [h["val/auroc"] for h in heads[:2]]
    assert row["metrics"]["val/fraction_0.5/auroc"] == pytest.approx(sum(aurocs) / 2, abs=1e-6)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    before = read_checkpoint(trained[0]).state
    after = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    assert after and all(torch.equal(value, before[name]) for name, value in after.items())
    assert main(["test", *words, "--ckpt_path", "last"]) == 0
    assert [h["samples"] for h in results(tmp_path)["heads"]] == [h["samples"] for h in heads]
    assert main(["predict", *words, "--ckpt_path", "last"]) == 0
    assert len(pq.read_table(tmp_path / "scores.parquet")) == row["split_sizes"]["test"]
    none = ["--trainer.default_root_dir", f"{tmp_path}/none", "--data.labels", "[Atelectasis, Pleural Other]"]
    assert main(["fit", *words, *none]) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "'Pleural Other' has no positive among the 14 samples of val" in told


def test_zero_shot_scores_three_ways(trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path) -> None:
    words = label_arguments("zero_shot", phantom, trained[0], tmp_path)
    assert main(["test", *words]) == 0
    row = results(tmp_path)
    assert row["protocol"] == "zs-prompt" and row["initialisation"] == "checkpoint" and row["label_fraction"] == 0
    assert all(0 < row["metrics"][f"test/{kind}/auroc"] < 1 for kind in ("global", "local", "combined"))
    assert main(["test", *words, "--model.checkpoint_parts", "[]"]) == 0
    other = results(tmp_path)
    assert other["initialisation"] == "random"
    assert other["metrics"]["test/local/auroc"] != row["metrics"]["test/local/auroc"]
    assert main(["predict", *words]) == 0
    scores = pq.read_table(tmp_path / "scores.parquet").to_pydict()
    assert "global/Edema" in scores and "local/Edema" in scores


def test_zero_shot_errors(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = label_arguments("zero_shot", phantom, trained[0], tmp_path)
    multiclass = ["--model.multiclass", "[Atelectasis, Edema]"]
    for subcommand_, more, line in [
        ("fit", ["--trainer.max_steps", "1"], "trains nothing"),
        ("test", ["--ckpt_path", str(trained[0] / "checkpoints" / "last.ckpt")], "cannot continue a run"),
        ("test", multiclass, "expects exactly one"),
        ("test", ["--model.multiclass", "[Fracture]"], "which is not scored"),
        ("test", ["--model.checkpoint", "null", "--model.backbone", "mpma_vit_t16"], "needs the tokeniser"),
    ]:
        assert main([subcommand_, *words, *more]) == 1
        assert line in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("kind", ["both", "text"])
def test_multimodal_classification(
    kind: str, trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = label_arguments("multimodal", phantom, trained[0], tmp_path, "--model.input", kind)
    words += ["--data.labels", PLANTED]
    assert main(["fit", *words, "--trainer.max_steps", "2", "--trainer.val_check_interval", "1"]) == 0
    row = results(tmp_path, "results.json")
    assert row["protocol"] == "cls-multimodal" and row["input"] == kind and 0 < row["metrics"]["val/auroc"] <= 1
    assert ("fusion" in row["parameters"]) == (kind == "both") and ("image" in row["parameters"]) == (kind == "both")
    assert main(["test", *words, "--ckpt_path", "best"]) == 0
    films = ["--data.report_root", "null"]
    assert main(["test", *words, *films, "--ckpt_path", "best"]) == 1
    assert "the data have no text" in capsys.readouterr().err.strip().splitlines()[-1]


LONGER = [pytest.param(name, marks=pytest.mark.full) for name in ("mimic_cxr_expert", "nih_google", "padchest")]


@pytest.mark.parametrize("name", ["chexpert_500", "openi", *LONGER])
def test_zero_shot_on_sets_of_their_own_protocol(
    name: str, phantom: Path, trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """The id belongs to the data set; the mean of the competition's classes stands beside that of all."""
    path = EXPERIMENTS / "zero_shot" / f"{name}.yaml"
    start(path, phantom, phantom, tmp_path, "--model.checkpoint", str(trained[0]))
    row = results(tmp_path)
    assert row["protocol"].startswith("zs-") and row["protocol"] != "zs-prompt"
    metrics = row["metrics"]
    assert 0 <= metrics["test/combined/auroc"] <= 1
    core = [metrics[key] for key in (f"test/combined/auroc/{name}" for name in FIVE) if key in metrics]
    if name in ("chexpert_500", "mimic_cxr_expert"):
        assert metrics["test/combined/auroc_core"] == pytest.approx(sum(core) / len(core))


def test_error_a_protocol_of_another_data_set(
    phantom: Path, trained: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = label_arguments("zero_shot", phantom, trained[0], tmp_path, "--model.protocol", "zs-chexpert-500")
    assert main(["test", *words]) == 1
    assert "is defined on CheXpert500DataModule, the data are CheXpertDataModule" in capsys.readouterr().err
