"""The command line over every shipped experiment, on one phantom."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from data_modules.phantom import write_phantom
from mpma_lightning.callbacks.paired_evaluation import PairedEvaluation
from mpma_lightning.cli import main
from mpma_lightning.weights import read_checkpoint

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
SMALL = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--data.num_workers", "0"]
TINY = ["--model.backbone.image_options", "{depth: 1}", "--model.backbone.text_depth", "1"]


def subcommand(path: Path) -> str | None:
    """The first comment of an experiment names its subcommand: ``# fit — …``; parts name none."""
    word = path.read_text().split()[1]
    return word if word in ("fit", "validate", "test", "predict") else None


LACKING = ("mae", "mlm", "alignment")
PAPER_SCALE = (
    "mpma_vit_s16_mimic_cxr",
    "gloria",
    "mgca",
    "m3ae",
    "vqa_rad",
    "vqa_rad_disjoint",
    "vqa_rad_legacy",
    "slake_en",
    "roco",
)
SHIPPED = sorted(p for p in EXPERIMENTS.rglob("*.yaml") if subcommand(p))


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, patients=60, seed=3, size=128, layouts="all")
    return out


@pytest.fixture(scope="session")
def pairs(phantom: Path) -> Path:
    """The phantom's frontal films as anyone's own pairs."""
    rows = []
    for i, report in enumerate(sorted((phantom / "mimic-cxr").rglob("s5*.txt"))[:48]):
        folder = (
            phantom / "mimic-cxr-jpg" / report.relative_to(phantom / "mimic-cxr" / "mimic-cxr-reports").with_suffix("")
        )
        image = sorted(folder.glob("*.jpg"))[0].relative_to(phantom)
        text = report.read_text().split("IMPRESSION:")[-1].strip() or f"Study {i} is normal."
        rows.append({"image": str(image), "text": text, "patient": report.parent.name})
    (phantom / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return phantom


FIVE = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
LABELLED = {
    "chexpert": "CheXpertDataModule",
    "nih_chestxray14": "NIHChestXray14DataModule",
    "covidx": "COVIDxDataModule",
}
PLANTED = "[Atelectasis, Cardiomegaly, Edema]"
LABELLED_ARGUMENTS = {
    "chexpert": ["--data.labels", PLANTED, "--data.val_share", "0.2"],
    "nih_chestxray14": ["--data.labels", PLANTED],
    "covidx": [],
}
"""So small a phantom has a positive of few classes in every split."""


def module(path: Path) -> str:
    """The text that names the data module: of the experiment, or of the part file it points to."""
    text = path.read_text()
    parts = [path.parent / line.split(": ")[1] for line in text.splitlines() if line.startswith("data: ../")]
    return "".join([text, *(part.read_text() for part in parts)])


def corpora_arguments(phantom: Path) -> list[str]:
    modules = {
        "mimic": {
            "class_path": "MIMICCXRDataModule",
            "init_args": {"image_root": f"{phantom}/mimic-cxr-jpg", "report_root": f"{phantom}/mimic-cxr"},
        },
        "roco": {"class_path": "ROCODataModule", "init_args": {"root": f"{phantom}/layouts/roco"}},
        "own": {"class_path": "PairsDataModule", "init_args": {"root": f"{phantom}/layouts/pairs"}},
    }
    return ["--data.corpora", json.dumps(modules)]


def data_arguments(path: Path, phantom: Path, pairs: Path) -> list[str]:
    if "CorporaDataModule" in path.read_text():
        return corpora_arguments(phantom)
    if "root: data/pairs" in path.read_text():
        return ["--data.root", str(pairs)]
    if layout := next((name for name, title in LABELLED.items() if title in module(path)), None):
        root = f"{phantom}/layouts/{layout}"
        if "pinned:" in path.read_text():
            return ["--data.root", root, "--data.pinned", f"{root}/chexpert_5x200.csv"]
        return ["--data.root", root, *LABELLED_ARGUMENTS[layout]]
    if "MSCXRDataModule" in path.read_text():
        return ["--data.root", f"{phantom}/layouts/ms_cxr", "--data.image_root", f"{phantom}/mimic-cxr-jpg"]
    for name in ("siim_pneumothorax", "rsna_pneumonia", "annotated"):
        root = f"{phantom}/layouts/{name}"
        if f"root: data/{name}" in path.read_text() or f"layouts/{name}" in path.read_text():
            return ["--data.root", root, *["--data.lists", f"{root}/lists"] * ("lists:" in path.read_text())]
    if "report_root: null" in path.read_text():
        return ["--data.image_root", f"{phantom}/mimic-cxr-jpg", "--data.labels", PLANTED]
    for name in ("vqa_rad", "slake", "roco"):
        if f"root: data/{name}" in path.read_text() or f"layouts/{name}" in path.read_text():
            return ["--data.root", f"{phantom}/layouts/{name}"]
    mimic = ["--data.image_root", f"{phantom}/mimic-cxr-jpg", "--data.report_root", f"{phantom}/mimic-cxr"]
    if "pinned:" in path.read_text():
        return [*mimic, "--data.pinned", str(pinned_list(phantom))]
    return [*mimic, *["--data.labels", PLANTED] * ("ClassificationTask" in path.read_text())]


def pinned_list(phantom: Path) -> Path:
    """Up to three images of each of five classes alone, as 5x200 has 200; a list by path."""
    jpg, out = phantom / "mimic-cxr-jpg", phantom / "mimic_5x200.csv"
    labels = pd.read_csv(jpg / "mimic-cxr-2.0.0-chexpert.csv.gz")
    films = pd.read_csv(jpg / "mimic-cxr-2.0.0-metadata.csv.gz").query("ViewPosition in ['PA', 'AP']")
    positive = labels[FIVE] == 1
    labels = labels[positive.sum(axis=1) == 1].assign(kind=positive.idxmax(axis=1))
    chosen = (
        films.drop_duplicates("study_id").merge(labels[["study_id", "kind"]], on="study_id").groupby("kind").head(3)
    )
    out.write_text("Path\n" + "".join(f"files/somewhere/{name}.jpg\n" for name in chosen["dicom_id"]))
    return out


def start(path: Path, phantom: Path, pairs: Path, out: Path, *more: str) -> None:
    arguments = [
        *data_arguments(path, phantom, pairs),
        "--data.batch_size",
        "2" if "label_fraction" in path.read_text() else "8",
        "--trainer.default_root_dir",
        str(out),
    ]
    if (
        "checkpoint: runs/demo/pretraining" in path.read_text() and "--model.checkpoint" not in more
    ):  # not there in tests: random weights
        arguments += ["--model.checkpoint", "null", "--model.backbone", "mpma_vit_t16"]
    if "SegmentationTask" in path.read_text() or "DetectionTask" in path.read_text():
        arguments += ["--model.head_width", "16"]
    arguments += ["--trainer.precision", "32-true", *more]
    assert main([subcommand(path) or "", "--config", str(path), *arguments, *SMALL]) == 0


def shipped(paths: list[Path], slow: tuple[str, ...]) -> list[object]:
    return [
        pytest.param(p, id=str(p.relative_to(EXPERIMENTS)), marks=[pytest.mark.full] * (p.stem in slow)) for p in paths
    ]


@pytest.mark.parametrize("path", shipped(SHIPPED, PAPER_SCALE))
def test_every_experiment_is_built(
    path: Path, phantom: Path, pairs: Path, trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    weights = ["--model.checkpoint", str(trained[0])] if "checkpoint: runs/" in path.read_text() else []
    start(path, phantom, pairs, tmp_path, "--trainer.max_steps", "0", *weights)
    written = "config.yaml" if subcommand(path) == "fit" else f"{subcommand(path)}.yaml"
    assert (tmp_path / written).is_file()


def test_value_no_experiment_selects_what_predicting_nothing_wins() -> None:
    assert not [path for path in SHIPPED if "monitor: val/dice," in path.read_text()]


@pytest.mark.full
@pytest.mark.parametrize("path", shipped([p for p in SHIPPED if p.parent.name == "ablations"], ()))
def test_every_ablation_takes_steps(path: Path, phantom: Path, pairs: Path, tmp_path: Path) -> None:
    """Two steps, the first with the check that every loss reaches the encoders it should train; rows that lack a part
    also validate."""
    validation = ["--trainer.val_check_interval", "2"] if path.stem in LACKING else ["--trainer.limit_val_batches", "0"]
    start(
        path,
        phantom,
        pairs,
        tmp_path,
        "--trainer.max_steps",
        "2",
        "--trainer.enable_checkpointing",
        "false",
        *validation,
    )
    row = json.loads((tmp_path / "results.json").read_text())
    assert row["steps"] == 2 and row["metrics"]["train/loss"] > 0


@pytest.fixture(scope="session")
def trained(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The demo's pre-training for four steps, and its arguments."""
    run = tmp_path_factory.mktemp("run") / "pretraining"
    path = EXPERIMENTS / "demo" / "pretraining.yaml"
    arguments = [
        "--config",
        str(path),
        *data_arguments(path, phantom, phantom),
        *SMALL,
        *TINY,
        "--data.batch_size",
        "8",
    ]
    arguments += ["--trainer.default_root_dir", str(run)]
    steps = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "2", "--model.check_every", "2"]
    assert main(["fit", *arguments, *steps]) == 0
    return run, arguments


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
    assert 0 < metrics["val/memory_attention"] < 1
    for part in ("image", "text"):
        assert metrics[f"gradient/report_reconstruction/{part}"] > 0
    pictures = {p.name for p in (run / "pictures").glob("*.png")}
    assert {"reconstruction.png", "report.png", "similarity.png", "word_maps_0.png"} <= pictures
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
    assert again["seconds"] >= row["seconds"] - 5  # of the whole run, not of this call


def test_stopped_in_its_last_validation_is_measured_when_continued(
    trained: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, arguments = trained
    own = "{trainer: {callbacks+: [{class_path: ModelCheckpoint, init_args: {dirpath: '${trainer.default_root_dir}/c', "
    own += "every_n_train_steps: 1, save_last: true}}]}}"
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
    again = [*arguments[: arguments.index("--model.backbone.image_options")], "--data.batch_size", "8"]
    again += ["--model.checkpoint", str(run), "--model.backbone", "null", "--trainer.max_steps", "1"]
    again += ["--trainer.default_root_dir", str(tmp_path)]
    assert main(["fit", *again]) == 0
    assert json.loads((tmp_path / "results.json").read_text())["initialisation"] == "checkpoint"


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
        "--model.backbone.text_depth",
        "2",
        "--trainer.default_root_dir",
        str(tmp_path),
    ]
    assert main(["fit", *arguments, *other]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: model.backbone disagrees with checkpoint") and "text_depth: 2, not 1" in error


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


def label_arguments(name: str, phantom: Path, run: Path, out: Path, *more: str) -> list[str]:
    """Of a demo experiment of labels, from the trained run."""
    path = EXPERIMENTS / "demo" / f"{name}.yaml"
    words = ["--config", str(path), *data_arguments(path, phantom, phantom), *SMALL, "--model.checkpoint", str(run)]
    return [*words, "--data.batch_size", "8", "--trainer.default_root_dir", str(out), *more]


def results(run: Path, name: str = "results_test.json") -> dict[str, Any]:
    return json.loads((run / name).read_text())


def test_classification_is_tuned_tested_and_tested_on_other_data(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = label_arguments("classification", phantom, trained[0], tmp_path, "--data.label_fraction", "0.5")
    assert main(["test", *words]) == 1
    assert "head is not trained" in capsys.readouterr().err.strip().splitlines()[-1]
    assert main(["fit", *words, "--trainer.max_steps", "2", "--trainer.val_check_interval", "1"]) == 0
    row = results(tmp_path, "results.json")
    assert row["protocol"] == "cls-finetune-benchx" and row["label_fraction"] == 0.5
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


def test_exclusive_classes_have_an_accuracy(trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path) -> None:
    path = EXPERIMENTS / "classification" / "covidx_benchx.yaml"
    steps = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--model.checkpoint", str(trained[0])]
    start(path, phantom, phantom, tmp_path, *steps)
    metrics = results(tmp_path, "results.json")["metrics"]
    assert 0 <= metrics["val/accuracy"] <= 1 and metrics["val/label_loss"] > 0


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
    assert "'Pleural Other' has no positive among" in capsys.readouterr().err.strip().splitlines()[-1]


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
        ("test", ["--ckpt_path", str(trained[0] / "checkpoints" / "last.ckpt")], "no run of its own"),
        ("test", multiclass, "expects exactly one"),
        ("test", ["--model.multiclass", "[Fracture]"], "which is not scored"),
        ("test", ["--model.checkpoint", "null", "--model.backbone", "mpma_vit_t16"], "needs the tokeniser"),
    ]:
        assert main([subcommand_, *words, *more]) == 1
        assert line in capsys.readouterr().err.strip().splitlines()[-1]


def test_vqa_fit_test_and_predict(phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Baselines and ceiling beside the result; answers with probabilities; another vocabulary is one line."""
    path = EXPERIMENTS / "demo" / "vqa.yaml"
    start(path, phantom, phantom, tmp_path, "--trainer.max_steps", "2", "--trainer.val_check_interval", "2")
    row = json.loads((tmp_path / "results.json").read_text())
    assert row["protocol"] == "vqa-rad" and row["dropped"]["frame question"] > 0
    for name in ("accuracy", "question_only", "majority", "ceiling"):
        assert 0 <= row["metrics"][f"val/{name}/closed"] <= 1
    assert (tmp_path / "pictures" / "answers.png").stat().st_size > 10_000
    words = ["--config", str(path), *data_arguments(path, phantom, phantom), *SMALL]
    words += ["--model.checkpoint", "null", "--model.backbone", "mpma_vit_t16"]
    words += ["--trainer.default_root_dir", str(tmp_path)]
    for subcommand_ in ("validate", "test", "predict"):
        assert main([subcommand_, *words]) == 1
        assert "the answer head is not trained" in capsys.readouterr().err.strip().splitlines()[-1]
    words += ["--ckpt_path", "best"]
    assert main(["test", *words]) == 0
    metrics = results(tmp_path)["metrics"]
    for name in ("accuracy", "accuracy/open", "accuracy/closed", "accuracy/contrasted"):
        assert metrics[f"test/{name}_low"] <= metrics[f"test/{name}"] <= metrics[f"test/{name}_high"]
    patients = pd.read_parquet(tmp_path / "samples_test.parquet")["patient"]
    assert len(patients) == row["split_sizes"]["test"] > patients.nunique() > 1, "several questions on an image"
    assert main(["predict", *words]) == 0
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == row["split_sizes"]["test"]
    assert all(next(iter(a["probabilities"])) == a["prediction"] for a in answers)
    questions = json.loads((phantom / "layouts" / "vqa_rad" / "trainset.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    (other / "images").symlink_to(phantom / "layouts" / "vqa_rad" / "images")
    (other / "testset.json").write_text((phantom / "layouts" / "vqa_rad" / "testset.json").read_text())
    (other / "trainset.json").write_text(json.dumps([{**q, "answer": f"{q['answer']} indeed"} for q in questions]))
    assert main(["test", *words, "--data.root", str(other)]) == 1
    assert "answers with another vocabulary" in capsys.readouterr().err.strip().splitlines()[-1]


def retrieval_arguments(phantom: Path, out: Path, *more: str) -> list[str]:
    path = EXPERIMENTS / "demo" / "retrieval.yaml"
    words = ["--config", str(path), *data_arguments(path, phantom, phantom), *SMALL, "--data.batch_size", "8"]
    return [*words, "--trainer.default_root_dir", str(out), *more]


def test_retrieval_is_fitted_reranked_and_predicted(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    words = retrieval_arguments(phantom, tmp_path, "--model.checkpoint", "null", "--model.backbone", "mpma_vit_t16")
    assert main(["fit", *words, "--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]) == 0
    row = results(tmp_path, "results.json")
    metrics = row["metrics"]
    assert metrics["val/pairs"] == row["split_sizes"]["val"] and row["scorer"] == "dual"
    assert metrics["val/contrast_loss"] > 0 and metrics["val/matching_loss"] > 0
    assert 0 < metrics["val/i2t_map"] <= 1 and metrics["val/t2i_r10"] >= metrics["val/t2i_r1"]
    assert {p.name for p in (tmp_path / "pictures").iterdir()} == {"retrieval_i2t.png", "retrieval_t2i.png"}

    assert main(["test", *words, "--ckpt_path", "last", "--model.shortlist", "3"]) == 0
    said = caplog.text
    row = results(tmp_path)
    assert row["scorer"] == "rerank"
    metrics, pairs = row["metrics"], row["split_sizes"]["test"]
    assert metrics["test/pairs"] == pairs and pairs * 3 <= metrics["test/rerank/fused_pairs"] <= 2 * pairs * 3
    for name, line in (("i2t", "rerank image→text: "), ("t2i", "rerank text→image: ")):
        alpha = row["alpha"][name]
        assert metrics[f"test/rerank/{name}_alpha"] == pytest.approx(alpha)
        assert f"{line}α = {alpha:g}," in said if alpha else f"{line}no gain" in said
        assert metrics[f"test/rerank/{name}_r5"] >= metrics[f"test/{name}_r1"] * (alpha == 0)
        for metric in (f"test/{name}_r1", f"test/rerank/{name}_r5"):
            assert metrics[f"{metric}_low"] <= metrics[metric] <= metrics[f"{metric}_high"]
        assert metrics[f"test/rerank/{name}_r10"] == pytest.approx(metrics[f"test/{name}_r10"])  # 10 is beyond k

    for file in ("features.arrow", "features.safetensors"):
        callback = f"[{{class_path: FeatureWriter, init_args: {{file: {file}}}}}]"
        assert main(["predict", *words, "--ckpt_path", "last", "--trainer.callbacks", callback]) == 0
    table = pa.ipc.open_file(tmp_path / "features.arrow").read_all().to_pydict()
    with safe_open(tmp_path / "features.safetensors", "numpy") as stored:
        assert json.loads(stored.metadata()["id"]) == table["id"] and len(table["id"]) == pairs
        for name in ("image_embedding", "text_embedding"):
            assert np.allclose(stored.get_tensor(name), np.array(table[name]), atol=1e-6)
    bad = "[{class_path: FeatureWriter, init_args: {file: features.npy}}]"
    assert main(["predict", *words, "--ckpt_path", "last", "--trainer.callbacks", bad]) == 1
    assert "expected an ending of .parquet" in capsys.readouterr().err.strip().splitlines()[-1]


def test_rerank_errors(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = retrieval_arguments(phantom, tmp_path, "--model.checkpoint", str(trained[0]))
    for subcommand_, more, line in [
        ("test", [], "needs a model trained with the matching loss"),
        ("validate", [], "needs a model trained with the matching loss"),
        ("fit", ["--model.matching.weight", "0", "--trainer.max_steps", "1"], "model.matching.weight is 0"),
        ("test", ["--model.shortlist", "0"], "model.shortlist is 0"),
        ("test", ["--model.scorer", "dual", "--model.multiclass", "[Edema]"], "classes of the data: none"),
    ]:
        assert main([subcommand_, *words, *more]) == 1
        assert line in capsys.readouterr().err.strip().splitlines()[-1]


def test_zero_shot_retrieval_judges_no_untrained_head(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path
) -> None:
    words = retrieval_arguments(phantom, tmp_path, "--model.checkpoint", str(trained[0]), "--model.scorer", "dual")
    assert main(["test", *words]) == 0
    row = results(tmp_path)
    assert row["steps"] == 0 and row["metrics"]["test/contrast_loss"] > 0
    assert not [name for name in row["metrics"] if "matching" in name]


def test_retrieval_by_class(trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path) -> None:
    path = EXPERIMENTS / "retrieval" / "mimic_cxr_5x200.yaml"
    start(path, phantom, phantom, tmp_path, "--model.checkpoint", str(trained[0]), "--model.scorer", "dual")
    row = results(tmp_path)
    metrics = row["metrics"]
    assert row["protocol"] == "ret-mimic-5x200" and row["split_sizes"]["test"] == metrics["test/pairs"]
    for name in ("i2t", "t2i"):
        assert metrics[f"test/{name}_h5_low"] <= metrics[f"test/{name}_h5"] <= metrics[f"test/{name}_h5_high"]
        assert metrics[f"test/{name}_h1"] == metrics[f"test/{name}_p1"] <= metrics[f"test/{name}_h5"]
        assert metrics[f"test/{name}_p5"] <= metrics[f"test/{name}_h5"] and f"test/{name}_r1" not in metrics
    assert 0 < metrics["test/chance_h1"] < metrics["test/chance_h5"] <= 1


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


TWO_STEPS = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "1", "--model.head_width", "16"]


def annotated_arguments(phantom: Path, run: Path, out: Path, kind: str, *more: str) -> list[str]:
    """Of the experiment on anyone's own masks or boxes, from the trained run."""
    path = EXPERIMENTS / kind / "annotated.yaml"
    words = ["--config", str(path), *data_arguments(path, phantom, phantom), *SMALL, "--model.checkpoint", str(run)]
    return [*words, "--data.batch_size", "4", "--trainer.default_root_dir", str(out), *TWO_STEPS, *more]


def test_segmentation_is_fitted_tested_and_predicted(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = label_arguments("segmentation", phantom, trained[0], tmp_path, "--data.label_fraction", "0.9", *TWO_STEPS)
    words += ["--data.batch_size", "4"]
    assert main(["test", *words]) == 1
    assert "head of SegmentationTask is not trained" in capsys.readouterr().err.strip().splitlines()[-1]
    assert main(["fit", *words]) == 0
    row = results(tmp_path, "results.json")
    assert row["protocol"] == "seg-finetune-mrm" and row["classes"] == ["Pneumothorax"]
    assert row["label_fraction"] == 0.9 and row["initialisation"] == "checkpoint"
    assert row["metrics"]["val/mask_loss"] > 0 and 0 <= row["metrics"]["val/dice_mean_mask"] <= 1
    assert (tmp_path / "pictures" / "val_overlay.png").stat().st_size > 10_000
    assert main(["test", *words, "--ckpt_path", "best"]) == 0
    metrics = results(tmp_path)["metrics"]
    assert metrics["test/dice_low"] <= metrics["test/dice"] <= metrics["test/dice_high"]
    assert metrics["test/iou"] <= metrics["test/dice"] and 0 < metrics["test/dice_empty_prediction"] < 1
    assert main(["predict", *words, "--ckpt_path", "best"]) == 0
    masks = sorted((tmp_path / "masks").glob("*.png"))
    assert len(masks) == row["split_sizes"]["test"]
    film = next((phantom / "mimic-cxr-jpg").rglob(f"{masks[0].stem}.jpg"))
    with Image.open(masks[0]) as mask, Image.open(film) as image:
        assert mask.size == image.size and set(np.unique(mask)) <= {0, 255}
    other = annotated_arguments(phantom, trained[0], tmp_path, "segmentation", "--model.protocol", "seg-finetune-mrm")
    assert main(["test", *other, "--ckpt_path", str(tmp_path / "checkpoints" / "last.ckpt")]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "has structure drawn, the checkpoint's head finds Pneumothorax: none in common" in line


def test_a_frozen_encoder_stays_as_it_was(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *annotated_arguments(phantom, trained[0], tmp_path, "segmentation")]) == 0
    assert results(tmp_path, "results.json")["protocol"] == "seg-frozen-mgca"
    before = read_checkpoint(trained[0]).state
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    after = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    assert after and all(torch.equal(value, before[name]) for name, value in after.items())
    boxes = annotated_arguments(phantom, trained[0], tmp_path, "detection")
    assert main(["test", *boxes, "--ckpt_path", str(tmp_path / "checkpoints" / "last.ckpt")]) == 1
    assert "is of a SegmentationTask; fit a DetectionTask first" in capsys.readouterr().err.strip().splitlines()[-1]


def test_detection_is_fitted_predicted_and_tested_on_fewer_classes(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = annotated_arguments(phantom, trained[0], tmp_path, "detection")
    assert main(["fit", *words]) == 0
    row = results(tmp_path, "results.json")
    assert row["protocol"] == "det-coco" and len(row["classes"]) == 5 and row["metrics"]["val/classifier_loss"] > 0
    assert {"val/map", "val/map_50", "val/mar_100", "val/published_images"} <= set(row["metrics"])
    assert (tmp_path / "pictures" / "val_overlay.png").stat().st_size > 10_000

    coco = json.loads((phantom / "layouts" / "annotated" / "boxes.json").read_text())
    coco["categories"] = [{"id": 1, "name": "Fracture"}, {"id": 5, "name": "Cardiomegaly"}]
    coco["annotations"] = [{**a, "category_id": 5} for a in coco["annotations"] if a["category_id"] == 1]
    (phantom / "layouts" / "annotated" / "hearts.json").write_text(json.dumps(coco))
    assert main(["test", *words, "--data.boxes", "hearts.json", "--ckpt_path", "last"]) == 0
    metrics = results(tmp_path)["metrics"]
    assert metrics["test/map"] == metrics["test/map/Cardiomegaly"] and "test/map/Consolidation" not in metrics
    assert metrics["test/map_low"] <= metrics["test/map"] <= metrics["test/map_high"]

    assert main(["predict", *words, "--ckpt_path", "last", "--data.folder", str(phantom / "layouts/covidx/test")]) == 0
    assert main(["predict", *words, "--ckpt_path", "last"]) == 0
    found = json.loads((tmp_path / "boxes.json").read_text())
    assert [category["name"] for category in found["categories"]] == row["classes"]
    assert len(found["images"]) == row["split_sizes"]["test"]
    sizes = {image["id"]: (image["width"], image["height"]) for image in found["images"]}
    for box in found["annotations"]:
        x, y, width, height = box["bbox"]
        assert x >= 0 and y >= 0 and x + width <= sizes[box["image_id"]][0] + 0.02 and 0.05 <= box["score"] <= 1
        assert y + height <= sizes[box["image_id"]][1] + 0.02

    rsna = label_arguments("detection", phantom, trained[0], tmp_path, *TWO_STEPS)
    assert main(["test", *rsna, "--ckpt_path", "last"]) == 1
    assert "none in common" in capsys.readouterr().err.strip().splitlines()[-1]


def test_grounding(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = label_arguments("grounding", phantom, trained[0], tmp_path)
    assert main(["test", *words]) == 0
    row = results(tmp_path)
    metrics = row["metrics"]
    assert row["protocols"] == {"pointing_game": "ground-pointing", "cnr": "ground-cnr"}
    assert metrics["test/phrases"] == row["split_sizes"]["test"] > 5 and metrics["test/cnr"] > 0
    assert metrics["test/pointing_game_low"] <= metrics["test/pointing_game"] <= metrics["test/pointing_game_high"]
    assert 0 < metrics["test/random_patch"] < metrics["test/centre_of_named_lung"] < 1
    assert (tmp_path / "pictures" / "test_overlay.png").stat().st_size > 10_000
    assert main(["test", *words, "--model.checkpoint_parts", "[]"]) == 0
    other = results(tmp_path)
    assert other["initialisation"] == "random" and other["metrics"]["test/cnr"] != metrics["test/cnr"]
    assert other["metrics"]["test/random_patch"] == metrics["test/random_patch"]
    assert main(["predict", *words]) == 0
    maps = sorted((tmp_path / "maps").rglob("*.png"))
    assert len(maps) == row["split_sizes"]["test"]
    with Image.open(maps[0]) as drawn:
        assert drawn.mode == "L" and np.asarray(drawn).max() > 200
    for subcommand_, more, line in [
        ("fit", ["--trainer.max_steps", "1"], "trains nothing"),
        ("test", ["--ckpt_path", str(trained[0] / "checkpoints" / "last.ckpt")], "no run of its own"),
    ]:
        assert main([subcommand_, *words, *more]) == 1
        assert line in capsys.readouterr().err.strip().splitlines()[-1]
