"""Report generation through the command line: fit, test, drafts, drafts with gaps, and files for other programs."""

import json
from pathlib import Path

import pandas as pd
import pytest
from shipped import EXPERIMENTS, SMALL, TINY, data_arguments, results

from mpma_lightning.cli.main import main

PATH = EXPERIMENTS / "demo" / "report_generation.yaml"


def arguments(phantom: Path, out: Path, *more: str) -> list[str]:
    words = ["--config", str(PATH), *data_arguments(PATH, phantom, phantom), *SMALL, "--data.batch_size", "8"]
    return [*words, "--trainer.default_root_dir", str(out), *more]


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_reports_are_fitted_scored_drafted_and_exported(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(phantom, tmp_path, "--model.checkpoint", str(trained[0]), "--model.decoder", "unmask")
    assert main(["fit", *words, "--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]) == 0
    row = results(tmp_path, "results.json")
    assert row["protocol"] == "rrg-mimic-report" and 0 <= row["metrics"]["val/finding_f1"] <= 1
    assert (tmp_path / "pictures" / "val_drafts.png").stat().st_size > 10_000

    assert main(["test", *words, "--ckpt_path", "best", "--model.given", "0.5"]) == 0
    metrics = results(tmp_path)["metrics"]
    for name in ("finding_f1", "bleu_4", "rouge_l", "cider"):
        assert metrics[f"test/{name}_low"] <= metrics[f"test/{name}"] <= metrics[f"test/{name}_high"]
        for baseline in ("most_frequent", "nearest_report"):
            assert metrics[f"test/{baseline}/{name}"] >= 0
    for baseline in ("most_frequent", "nearest_report"):
        gap = metrics["test/finding_f1"] - metrics[f"test/{baseline}/finding_f1"]
        assert metrics[f"test/gain_over_{baseline}"] == pytest.approx(gap, abs=1e-6)
    assert metrics["test/drafts_per_second"] > 0 and "test/infill/finding_f1" in metrics
    samples = pd.read_parquet(tmp_path / "samples_test.parquet")
    part, whole = samples["finding_f1/part"].sum(), samples["finding_f1/whole"].sum()
    assert metrics["test/finding_f1"] == pytest.approx(part / whole, abs=1e-6)

    words += ["--ckpt_path", "best"]
    assert main(["predict", *words]) == 0
    drafts = [json.loads(line) for line in (tmp_path / "drafts.jsonl").read_text().splitlines()]
    assert len(drafts) == row["split_sizes"]["test"]
    for draft in drafts:
        assert " ".join(sentence["text"] for sentence in draft["sentences"]) == draft["draft"]
        for sentence in draft["sentences"]:
            if "boxes" in sentence:
                assert sentence["boxes"] and (tmp_path / sentence["map"]).is_file() and len(sentence["point"]) == 2

    known = drafts[1]["id"]
    table = tmp_path / "mine.jsonl"
    table.write_text(json.dumps({"id": known, "draft": "Heart size is normal. [...] No Pneumothorax is seen."}) + "\n")
    assert main(["predict", *words, "--data.draft", str(table)]) == 0
    completed = [json.loads(line) for line in (tmp_path / "drafts.jsonl").read_text().splitlines()]
    assert [draft["id"] for draft in completed] == [known]
    assert completed[0]["draft"].startswith("Heart size is normal. ")
    assert completed[0]["draft"].endswith(" No Pneumothorax is seen.")
    assert len(completed[0]["draft"]) > len("Heart size is normal.  No Pneumothorax is seen.")

    assert main(["predict", *words, "--to", "rexrank"]) == 0
    studies = json.loads((tmp_path / "rexrank.json").read_text())
    assert sum(len(study["image_path"]) for study in studies.values()) == len(drafts) >= len(studies)
    for study in studies.values():
        assert set(study) == {"image_path", "key_image_path", "context", "section_findings", "model_prediction"}
        assert study["key_image_path"] == study["image_path"][0] and study["section_findings"]
        assert Path(study["key_image_path"]).is_file() and isinstance(study["model_prediction"], str)
    assert main(["predict", *words, "--to", "radeval"]) == 0
    both = json.loads((tmp_path / "radeval.json").read_text())
    assert len(both["references"]) == len(both["hypotheses"]) == len(drafts)

    for more, said in (
        (
            ["--to", "pdf"],
            "found predict --to pdf, expected a format that ReportGenerationTask writes: rexrank, radeval",
        ),
        (["--data.draft", str(tmp_path / "none.jsonl")], "none.jsonl does not exist"),
        (["--model.decoder", "causal"], "holds the decoder unmask, expected causal"),
    ):
        assert main(["predict", *words, *more]) == 1
        assert said in last_line(capsys)
    table.write_text('{"id": "nobody", "draft": "Edema."}\n')
    assert main(["predict", *words, "--data.draft", str(table)]) == 1
    assert "found id 'nobody' (1 of 1), expected an id of the samples to predict" in last_line(capsys)
    table.write_text(json.dumps({"id": known, "draft": ""}) + "\n")
    assert main(["predict", *words, "--data.draft", str(table)]) == 1
    assert "row 1 has an empty draft" in last_line(capsys)


def test_reports_from_left_to_right_and_errors(
    trained: tuple[Path, list[str]], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(phantom, tmp_path, "--model.checkpoint", str(trained[0]))
    short = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "0", "--model.causal.depth", "2"]
    assert main(["fit", *words, *short]) == 0
    few = ["--trainer.limit_test_batches", "1", "--model.causal.depth", "2"]
    assert main(["test", *words, *few, "--ckpt_path", "last"]) == 0
    assert results(tmp_path)["metrics"]["test/drafts_per_second"] > 0
    for more, said in (
        (["--model.given", "0.5"], "model.given is 0.5; expected 0 with model.decoder causal"),
        (["--model.protocol", "rrg-mimic-findings"], "drafts findings, found data.sections findings+impression"),
        (["--ckpt_path", "random"], "the report decoder is not trained"),
    ):
        assert main(["test", *words, *few, *more]) == 1
        assert said in last_line(capsys)


def test_error_a_checkpoint_without_fusion(phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From an image encoder alone the causal decoder starts; unmasking has nothing to write through."""
    path = EXPERIMENTS / "demo" / "classification.yaml"
    words = ["--config", str(path), *data_arguments(path, phantom, phantom), *SMALL, *TINY]
    words += ["--model.checkpoint", "null", "--model.backbone", "mpma_vit_t16", "--trainer.max_steps", "1"]
    words += ["--data.batch_size", "4", "--trainer.limit_val_batches", "0", "--trainer.default_root_dir"]
    assert main(["fit", *words, str(tmp_path / "labels")]) == 0
    short = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "0"]
    words = arguments(phantom, tmp_path, "--model.checkpoint", str(tmp_path / "labels"), *short)
    assert main(["fit", *words, "--model.decoder", "unmask"]) == 1
    assert "has no fusion, through which model.decoder unmask writes" in last_line(capsys)
    assert main(["fit", *words]) == 0
