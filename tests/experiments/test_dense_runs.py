"""Segmentation, detection and grounding, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shipped import EXPERIMENTS, SMALL, data_arguments, label_arguments, results

from mpma_lightning.backbones.checkpoint import read_checkpoint
from mpma_lightning.cli.main import main
from tests.data_modules.test_annotated_sets import dicom as radiograph

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
    assert row["protocol"] == "seg-finetune" and row["classes"] == ["Pneumothorax"]
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
    films = {name: (40 + 5 * n, 50) for n, name in enumerate(["scan.bmp", "scan.bmp.png", "scan.jpg", "scan.png"])}
    (tmp_path / "films").mkdir()
    for name, size in films.items():
        Image.new("L", size, 90).save(tmp_path / "films" / name)
    radiograph(tmp_path / "films" / "scan.dcm", np.full((50, 33), 90, np.uint8))
    assert main(["predict", *words, "--ckpt_path", "best", "--data.folder", str(tmp_path / "films")]) == 0
    for name, size in (films | {"scan.dcm": (33, 50)}).items():
        with Image.open(tmp_path / "masks" / f"{name}.png") as mask:
            assert mask.size == size
    other = annotated_arguments(phantom, trained[0], tmp_path, "segmentation", "--model.protocol", "seg-finetune")
    assert main(["test", *other, "--ckpt_path", str(tmp_path / "checkpoints" / "last.ckpt")]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "has masks of structure, the checkpoint's head predicts Pneumothorax: none in common" in line


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
    assert row["protocols"] == {"pointing_game": "ground-pointing", "absolute_cnr": "ground-cnr"}
    assert metrics["test/phrases"] == row["split_sizes"]["test"] > 5 and metrics["test/absolute_cnr"] > 0
    assert metrics["test/pointing_game_low"] <= metrics["test/pointing_game"] <= metrics["test/pointing_game_high"]
    assert abs(metrics["test/signed_cnr"]) <= metrics["test/absolute_cnr"] and 0 <= metrics["test/border_maxima"] <= 1
    assert metrics["test/random_patch"] < metrics["test/constant_patch"] < 1
    findings = [name.removeprefix("test/signed_cnr/") for name in metrics if name.startswith("test/signed_cnr/")]
    assert len(findings) > 3 and all(f"test/constant_patch/{name}" in metrics for name in findings)
    assert 0 < metrics["test/random_patch"] < metrics["test/centre_of_named_lung"] < 1
    assert (tmp_path / "pictures" / "test_overlay.png").stat().st_size > 10_000
    assert main(["test", *words, "--model.checkpoint_parts", "[]"]) == 0
    other = results(tmp_path)
    assert other["initialisation"] == "random" and other["metrics"]["test/signed_cnr"] != metrics["test/signed_cnr"]
    assert other["metrics"]["test/random_patch"] == metrics["test/random_patch"]
    assert main(["test", *words, "--model.protocol", "ground-radzero"]) == 0
    radzero = results(tmp_path)
    assert radzero["protocol"] == radzero["protocols"]["absolute_cnr"] == "ground-radzero"
    assert radzero["metrics"]["test/random_patch"] <= metrics["test/random_patch"], "the first box, not all"
    assert main(["predict", *words]) == 0
    maps = sorted((tmp_path / "maps").rglob("*.png"))
    assert len(maps) == row["split_sizes"]["test"]
    with Image.open(maps[0]) as drawn:
        assert drawn.mode == "L" and np.asarray(drawn).max() > 200
    for subcommand_, more, line in [
        ("fit", ["--trainer.max_steps", "1"], "trains nothing"),
        ("test", ["--ckpt_path", str(trained[0] / "checkpoints" / "last.ckpt")], "cannot continue a run"),
    ]:
        assert main([subcommand_, *words, *more]) == 1
        assert line in capsys.readouterr().err.strip().splitlines()[-1]
