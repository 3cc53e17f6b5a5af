"""The command line over every shipped experiment, on one phantom."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from data_modules.phantom import write_phantom
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
)
SHIPPED = sorted(p for p in EXPERIMENTS.rglob("*.yaml") if subcommand(p))


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, patients=60, seed=3, size=128, layouts="roco,slake,vqa_rad")
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


def data_arguments(path: Path, phantom: Path, pairs: Path) -> list[str]:
    if "root: data/pairs" in path.read_text():
        return ["--data.root", str(pairs)]
    for name in ("vqa_rad", "slake", "roco"):
        if f"root: data/{name}" in path.read_text() or f"layouts/{name}" in path.read_text():
            return ["--data.root", f"{phantom}/layouts/{name}"]
    return ["--data.image_root", f"{phantom}/mimic-cxr-jpg", "--data.report_root", f"{phantom}/mimic-cxr"]


def start(path: Path, phantom: Path, pairs: Path, out: Path, *more: str) -> None:
    arguments = [
        *data_arguments(path, phantom, pairs),
        "--data.batch_size",
        "8",
        "--trainer.default_root_dir",
        str(out),
    ]
    if "checkpoint: runs/demo/pretraining" in path.read_text():  # not there in tests: random weights
        arguments += ["--model.checkpoint", "null", "--model.backbone", "mpma_vit_t16"]
    arguments += ["--trainer.precision", "32-true", *more]
    assert main([subcommand(path) or "", "--config", str(path), *arguments, *SMALL]) == 0


def shipped(paths: list[Path], slow: tuple[str, ...]) -> list[object]:
    return [
        pytest.param(p, id=str(p.relative_to(EXPERIMENTS)), marks=[pytest.mark.full] * (p.stem in slow)) for p in paths
    ]


@pytest.mark.parametrize("path", shipped(SHIPPED, PAPER_SCALE))
def test_every_experiment_is_built(path: Path, phantom: Path, pairs: Path, tmp_path: Path) -> None:
    start(path, phantom, pairs, tmp_path, "--trainer.max_steps", "0")
    assert (tmp_path / "config.yaml").is_file()


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
    assert row["steps"] == 4 and row["split_sizes"]["train"] > 20 and len(row["manifest_hash"]) == 64
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
    for part in ("image", "text"):
        assert metrics[f"gradient/report_reconstruction/{part}"] > 0
    pictures = {p.name for p in (run / "pictures").glob("*.png")}
    assert {"reconstruction.png", "report.png", "similarity.png", "word_maps_0.png"} <= pictures
    assert list(run.glob("events.out.tfevents*"))


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


def test_vqa_fit_test_and_predict(phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Baselines and ceiling beside the result; answers with probabilities; another vocabulary is one line."""
    path = EXPERIMENTS / "demo" / "vqa.yaml"
    start(path, phantom, phantom, tmp_path, "--trainer.max_steps", "2", "--trainer.val_check_interval", "2")
    row = json.loads((tmp_path / "results.json").read_text())
    assert row["protocol"] == "vqa-rad" and row["dropped"]["frame question"] > 0
    for name in ("accuracy", "question_only", "majority", "ceiling"):
        assert 0 <= row["metrics"][f"val/{name}/closed"] <= 1
    words = ["--config", str(path), *data_arguments(path, phantom, phantom), *SMALL, "--ckpt_path", "last"]
    words += ["--model.checkpoint", "null", "--model.backbone", "mpma_vit_t16"]
    words += ["--trainer.default_root_dir", str(tmp_path)]
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


def test_retrieval_fit(phantom: Path, tmp_path: Path) -> None:
    path = EXPERIMENTS / "demo" / "retrieval.yaml"
    start(path, phantom, phantom, tmp_path, "--trainer.max_steps", "2", "--trainer.val_check_interval", "2")
    row = json.loads((tmp_path / "results.json").read_text())
    metrics = row["metrics"]
    assert metrics["val/pairs"] == row["split_sizes"]["val"] and metrics["val/contrast_loss"] > 0
    assert 0 < metrics["val/i2t_map"] <= 1 and metrics["val/t2i_r10"] >= metrics["val/t2i_r1"]
