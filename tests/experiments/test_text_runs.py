"""Question answering and retrieval, through the command line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from safetensors import safe_open
from shipped import EXPERIMENTS, SMALL, data_arguments, results, start

from mpma_lightning.cli.main import main


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
        assert main([subcommand_, *words, "--ckpt_path", "random"]) == 1
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
        callback = f"[{{class_path: Predictions, init_args: {{file: {file}}}}}]"
        assert main(["predict", *words, "--ckpt_path", "last", "--trainer.callbacks", callback]) == 0
    table = pa.ipc.open_file(tmp_path / "features.arrow").read_all().to_pydict()
    with safe_open(tmp_path / "features.safetensors", "numpy") as stored:
        assert json.loads(stored.metadata()["id"]) == table["id"] and len(table["id"]) == pairs
        for name in ("image_embedding", "text_embedding"):
            assert np.allclose(stored.get_tensor(name), np.array(table[name]), atol=1e-6)
    bad = "[{class_path: Predictions, init_args: {file: features.npy}}]"
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


LONGER = [pytest.param(name, marks=pytest.mark.full) for name in ("vqa_med_2019", "pmc_vqa", "path_vqa")]


@pytest.mark.parametrize("name", ["questions", "mimic_cxr_vqa", *LONGER])
def test_vqa_of_other_tables(name: str, phantom: Path, tmp_path: Path) -> None:
    """Choices, lists of answers and alternatives, trained for two steps and tested."""
    path = EXPERIMENTS / "vqa" / f"{name}.yaml"
    small = ["--model.backbone", "mpma_vit_t16", "--data.image_size", "32", "--trainer.limit_val_batches", "2"]
    start(path, phantom, phantom, tmp_path, "--trainer.max_steps", "2", "--trainer.val_check_interval", "2", *small)
    words = ["--config", str(path), *data_arguments(path, phantom, phantom), *SMALL, *small, "--data.batch_size", "64"]
    words += ["--trainer.default_root_dir", str(tmp_path), "--ckpt_path", "last", "--trainer.limit_test_batches", "2"]
    assert main(["test", *words]) == 0
    row = results(tmp_path)
    assert row["protocol"] == {"questions": "vqa-questions"}.get(name, name.replace("_", "-"))
    metrics = row["metrics"]
    assert 0 <= metrics["test/accuracy"] <= metrics["test/ceiling"] <= 1
    assert ("test/token_f1/open" in metrics) == ("test/accuracy/open" in metrics)
    assert main(["predict", *words]) == 0
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert answers and all(isinstance(answer["prediction"], str) for answer in answers)
