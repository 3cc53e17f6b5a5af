"""Which evaluation protocol, and which metric of the best checkpoint, each shipped experiment's results go by."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from shipped import EXPERIMENTS, ROOT, SHIPPED, merged, subcommand

from data_modules.catalogue import DATA_MODULES
from mpma_lightning.cli.always_on import always_on
from mpma_lightning.cli.training import CommandReader
from mpma_lightning.tasks.vqa import VQATask

FINDING_F1 = ("val/finding_f1", "max")
AUROC, F1, NONE = ("val/auroc", "max"), ("val/f1", "max"), (None, None)
EXPECTED = {
    "pretraining": ("pretraining", *NONE),
    "ablations": ("pretraining", *NONE),
    "classification/*_linear": ("cls-linear-stored", *NONE),
    "classification/*_mrm": ("cls-finetune-mrm", *AUROC),
    "classification/nih_chestxray14_benchx": ("cls-finetune-benchx", *AUROC),
    "classification/rsna_pneumonia_benchx": ("cls-finetune-benchx", *F1),
    "classification/siim_pneumothorax_benchx": ("cls-finetune-benchx", *F1),
    "classification/covidx_benchx": ("cls-finetune-benchx", *F1),
    "classification/*_multimodal": ("cls-multimodal", *AUROC),
    "classification/progression": ("cls-progression", "val/macro_accuracy", "max"),
    "classification/own": ("cls-finetune", *AUROC),
    "classification/cxr_lt": ("cls-cxr-lt", "val/ap", "max"),
    "detection/annotated": ("det-coco", "val/map_50", "max"),
    "detection/vindr_cxr": ("det-coco", "val/map", "max"),
    "detection/chestx_det": ("det-coco", "val/map", "max"),
    "detection/rsna_coco": ("det-coco", "val/map", "max"),
    "detection/rsna_frozen": ("det-frozen", "val/map", "max"),
    "segmentation/annotated": ("seg-frozen-mgca", "val/dice_positive", "max"),
    "segmentation/siim_finetune": ("seg-finetune", "val/dice_positive", "max"),
    "segmentation/siim_frozen_mgca": ("seg-frozen-mgca", "val/loss", "min"),
    "grounding": ("ground-pointing", *NONE),
    "zero_shot/chexpert": ("zs-prompt", *NONE),
    "zero_shot/own": ("zs-prompt", *NONE),
    "zero_shot/mimic_cxr": ("zs-prompt", *NONE),
    "zero_shot/nih_chestxray14": ("zs-prompt", *NONE),
    "zero_shot/chexpert_500": ("zs-chexpert-500", *NONE),
    "zero_shot/mimic_cxr_expert": ("zs-mimic-expert", *NONE),
    "zero_shot/nih_google": ("zs-nih-google", *NONE),
    "zero_shot/openi": ("zs-openi-18", *NONE),
    "zero_shot/padchest": ("zs-padchest-physician", *NONE),
    "zero_shot/chexpert_5x200": ("zs-5x200", *NONE),
    "retrieval/pairs": ("ret-pairs", *NONE),
    "retrieval/roco": ("ret-roco-2k", *NONE),
    "retrieval/mimic_cxr_5x200": ("ret-mimic-5x200", *NONE),
    "vqa/slake_en": ("slake-en", "val/accuracy", "max"),
    "vqa/questions": ("vqa-questions", "val/accuracy", "max"),
    "vqa/path_vqa": ("path-vqa", "val/accuracy", "max"),
    "vqa/pmc_vqa": ("pmc-vqa", "val/accuracy", "max"),
    "vqa/vqa_med_2019": ("vqa-med-2019", "val/accuracy", "max"),
    "vqa/mimic_cxr_vqa": ("mimic-cxr-vqa", "val/accuracy", "max"),
    "vqa/vqa_rad": ("vqa-rad", "val/accuracy", "max"),
    "report_generation/iu_r2gen": ("rrg-iu-r2gen", *FINDING_F1),
    "report_generation/mimic_findings": ("rrg-mimic-findings", *FINDING_F1),
    "report_generation/pairs": ("rrg-pairs", *FINDING_F1),
    "demo/report_generation": ("rrg-mimic-report", *FINDING_F1),
    "demo/language": ("pretraining", *NONE),
    "demo/alignment": ("pretraining", *NONE),
    "demo/pretraining": ("pretraining", *NONE),
    "demo/classification": ("cls-finetune", *AUROC),
    "demo/linear_probe": ("cls-linear", *NONE),
    "demo/multimodal": ("cls-multimodal", *AUROC),
    "demo/segmentation": ("seg-finetune", "val/dice_positive", "max"),
    "demo/detection": ("det-coco", "val/map_50", "max"),
    "demo/grounding": ("ground-pointing", *NONE),
    "demo/zero_shot": ("zs-prompt", *NONE),
    "demo/retrieval": ("ret-roco-2k", *NONE),
    "demo/vqa": ("vqa-rad", "val/accuracy", "max"),
}


@pytest.fixture(scope="module")
def readers() -> dict[str, CommandReader]:
    return {name: CommandReader(name) for name in ("fit", "test")}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(EXPERIMENTS)))
def test_value_protocol_and_best_checkpoint(path: Path, readers: dict[str, CommandReader]) -> None:
    name = path.relative_to(EXPERIMENTS).with_suffix("")
    found = [value for key, value in EXPECTED.items() if fnmatchcase(str(name), key) or str(name.parent) == key]
    line = f'"{name}": ("<protocol id>", "val/<metric of the best checkpoint>", "max"),'
    assert len(found) == 1, f"{len(found)} entries of EXPECTED fit {name}; add one line, such as {line} (none: *NONE)"
    reader = readers[subcommand(path) or ""]
    words = [reader.name, "--config", str(path), "--model.checkpoint", "null", "--model.backbone", "mpma_vit_t16"]
    made = reader.parser.instantiate_classes(reader.parser.parse_args(words))[reader.name]
    protocol = made.data.protocol if isinstance(made.model, VQATask) else made.model.protocol
    folder = "checkpoints" if reader.name == "fit" else None
    monitoring = [
        (callback.monitor, callback.mode, callback.filename)
        for callback in always_on(made.model, made.trainer.callbacks, folder)
        if isinstance(callback, ModelCheckpoint) and callback.monitor
    ]
    assert (protocol, *(monitoring[0][:2] if monitoring else NONE)) == found[0]
    assert all(filename == "best" for _, _, filename in monitoring) and len(monitoring) <= 1


def test_value_the_page_of_data_sets_lists_the_protocol_of_every_experiment() -> None:
    page = (ROOT / "docs" / "data_sets.md").read_text()
    listed = {
        row[1]: re.findall(r"`([^`]+)`", row[0].split("|")[4]) for row in re.finditer(r"^\| \[`(\w+)`\].*$", page, re.M)
    }
    of_class = {kind: name for name, kind in DATA_MODULES.items()}
    for path in SHIPPED:
        name = path.relative_to(EXPERIMENTS).with_suffix("")
        set_name = of_class.get(merged(path)["data"]["class_path"])
        [(protocol, *_)] = [v for key, v in EXPECTED.items() if fnmatchcase(str(name), key) or str(name.parent) == key]
        known = listed[set_name] if set_name else [protocol]  # several corpora have no line of their own
        fitting = [it for it in known if it == protocol or (it.endswith("…") and protocol.startswith(it[:-1]))]
        assert fitting, f"{name} is of {protocol}: add it to the line of {set_name} in docs/data_sets.md"
