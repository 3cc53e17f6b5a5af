"""One phantom and one short pre-training for every test of the experiments."""

import json
from pathlib import Path

import pytest
from shipped import EXPERIMENTS, SMALL, TINY, data_arguments

from data_modules.phantom import write_phantom
from mpma_lightning.cli.main import main


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, patients=60, seed=3, size=128, workers=1, layouts="all")
    return out


@pytest.fixture(scope="session")
def pairs(phantom: Path) -> Path:
    """The phantom's frontal films as anyone's own pairs, with a number each, ``age``, and two labels."""

    def of(i: int) -> dict[str, int]:
        return {"Cardiomegaly": i % 2, "Pleural Effusion": int(i % 3 == 0)}

    rows = []
    for i, report in enumerate(sorted((phantom / "mimic-cxr").rglob("s5*.txt"))[:48]):
        folder = (
            phantom / "mimic-cxr-jpg" / report.relative_to(phantom / "mimic-cxr" / "mimic-cxr-reports").with_suffix("")
        )
        image = sorted(folder.glob("*.jpg"))[0].relative_to(phantom)
        text = report.read_text().split("IMPRESSION:")[-1].strip() or f"Study {i} is normal."
        rows.append({"image": str(image), "text": text, "patient": report.parent.name, "age": 20 + i} | of(i))
    (phantom / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return phantom


@pytest.fixture(scope="session")
def trained(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The demo's pre-training with memory for four steps, and its arguments."""
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
        "--model.backbone.fusion.memory=text",  # the recipe has none: what is logged of slots is looked at too
    ]
    arguments += ["--trainer.default_root_dir", str(run)]
    steps = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "2", "--model.check_every", "2"]
    assert main(["fit", *arguments, *steps]) == 0
    return run, arguments
