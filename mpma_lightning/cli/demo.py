"""The whole method on synthetic data: text encoder, alignment, pre-training, evaluation with baselines, a table."""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data_modules.errors import UserError
from data_modules.files import write_whole
from mpma_lightning.cli.config_files import defaults_file
from mpma_lightning.cli.main import run

RUNS, PHANTOM = Path("runs/demo"), Path("data/phantom")
PATIENTS = 2500
_ROWS = [
    ("zero-shot macro AUROC", "zero_shot_auroc", "zero_shot_auroc_random_init", "random init"),
    ("image→report R@10", "i2t_r10", "chance_r10", "chance, {pairs} pairs"),
    ("report→image R@10", "t2i_r10", "chance_r10", "chance, {pairs} pairs"),
    ("linear probe AUROC, 100 studies", "probe100_auroc", "probe100_auroc_random_init", "random init"),
    ("", "", "thumbnail100_auroc", "thumbnail, 100 studies"),
    ("", "", "thumbnail_auroc", "thumbnail, all studies"),
    ("reconstruction MSE", "reconstruction_mse", "interpolation_mse", "interpolation"),
    ("masked finding words right", "finding_word_accuracy", "finding_word_accuracy_shuffled_image", "another's image"),
    ("local gap", "local_gap", "", "0: words do not read their image"),
]
"""Rows of the table: its name, our result and the baseline by their keys in ``results.json``, and what that is."""


def main(argv: Sequence[str] = ()) -> None:
    """``[--seed N] [--out DIR] [--data DIR]``; UserError where a folder holds something else than the demo expects."""
    parser = argparse.ArgumentParser(
        prog="python -m mpma_lightning demo",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="The whole method on synthetic radiographs, on a CPU: write the data, train the text encoder, "
        "align image and text, pre-train MPMA, and compare it with baselines on held-out patients. The same command "
        "again continues where the last one stopped, and repeats the evaluation.",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the data, the initial weights and the training")
    parser.add_argument("--out", type=Path, default=RUNS, help="folder of the runs and of results.json")
    parser.add_argument("--data", type=Path, default=PHANTOM, help="folder of the synthetic data")
    options = parser.parse_args(list(argv))
    console, start = Console(), time.monotonic()

    console.rule("1/6 phantom: synthetic radiographs and reports in the MIMIC-CXR layout")
    run(["phantom", "--out", str(options.data), "--patients", str(PATIENTS), "--seed", str(options.seed)])
    console.rule("2/6 text encoder: masked language modelling of the reports")
    names = ("language", "alignment", "pretraining", "random_init")
    language, alignment, trained, random_init = (options.out / name for name in names)
    run(["fit", *_arguments(options, language)])
    console.rule("3/6 image encoder: alignment of whole images and reports")
    run(["fit", *_arguments(options, alignment), *_start_from(language, "text")])
    console.rule("4/6 pre-training MPMA")
    run(["fit", *_arguments(options, trained), *_start_from(alignment, "image,text,align_global,align_local")])
    console.rule("5/6 evaluation on held-out patients: trained, and the same network at random init")
    run(["test", *_arguments(options, trained), "--ckpt_path", "last"])
    run(["test", *_arguments(options, random_init, "pretraining"), "--ckpt_path", "random"])
    console.rule("6/6 baseline: logistic regression on 16×16 thumbnails")
    from mpma_lightning.cli.thumbnails import thumbnail_auroc  # torch, which --help does without

    thumbnail100, thumbnail = thumbnail_auroc(options.data, options.seed)

    results = _results(_metrics(trained), _metrics(random_init))
    results |= {"thumbnail100_auroc": thumbnail100, "thumbnail_auroc": thumbnail}
    results |= {"seed": options.seed, "seconds": round(time.monotonic() - start, 1)}
    write_whole(options.out / "results.json", json.dumps(results, indent=2) + "\n")
    console.print(_table(results))
    console.print(f"metrics   {options.out / 'results.json'}", f"pictures  {trained / 'pictures'}", sep="\n")
    console.print(f"curves    tensorboard --logdir {options.out}")
    console.print(f"next      a downstream run starts from --model.checkpoint {trained / 'checkpoints' / 'last.ckpt'}")


def _arguments(options: argparse.Namespace, folder: Path, experiment: str | None = None) -> list[str]:
    """Of ``experiments/demo/<experiment>.yaml`` (default: named like the folder) writing into ``folder``."""
    return [
        *("--config", str(defaults_file().parent / "demo" / f"{experiment or folder.name}.yaml")),
        *("--trainer.default_root_dir", str(folder)),
        *("--data.image_root", str(options.data / "mimic-cxr-jpg")),
        *("--data.report_root", str(options.data / "mimic-cxr")),
        *("--data.seed", str(options.seed)),
        *("--seed_everything", str(options.seed)),
    ]


def _start_from(folder: Path, parts: str) -> list[str]:
    return ["--model.checkpoint", str(folder), "--model.checkpoint_parts", f"[{parts}]"]


def _metrics(folder: Path) -> dict[str, float]:
    path = folder / "results_test.json"
    if not path.is_file():
        raise UserError(f"{path} was not written; delete {folder} and run the demo again")
    metrics: dict[str, float] = json.loads(path.read_text())["metrics"]
    return {name.removeprefix("test/"): value for name, value in metrics.items()}


def _results(trained: dict[str, float], random_init: dict[str, float]) -> dict[str, Any]:
    same = ["zero_shot_auroc", "i2t_r10", "t2i_r10", "chance_r10", "pairs", "probe100_auroc", "finding_word_accuracy"]
    same += ["finding_word_accuracy_shuffled_image", "interpolation_mse", "local_gap"]
    results: dict[str, Any] = {name: round(trained[name], 4) for name in same}
    results["pairs"] = int(trained["pairs"])
    results["reconstruction_mse"] = round(trained["image_reconstruction_loss"], 4)
    results["probe100_auroc_random_init"] = round(random_init["probe100_auroc"], 4)
    results["zero_shot_auroc_random_init"] = round(random_init["zero_shot_auroc"], 4)
    return results


def _table(results: dict[str, Any]) -> Table:
    title = f"MPMA on the phantom, seed {results['seed']}, {results['seconds']:.0f} s"
    table = Table(title=title, title_justify="left")
    for column in ("held-out metric", "MPMA", "baseline", ""):
        table.add_column(column, justify="right" if column in ("MPMA", "baseline") else "left")
    for name, ours, baseline, what in _ROWS:
        cells = [f"{results[key]:.3f}" if key else "" for key in (ours, baseline)]
        table.add_row(name, *cells, what.format(**results))
    return table
