"""``experiments init``: the shipped experiments as files of the user's own."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from data_modules.errors import UserError
from mpma_lightning.cli.config_files import experiments_folder


def main(argv: Sequence[str] = ()) -> None:
    """``init [--out DIR]``: copy every shipped experiment.

    Raises:
        UserError: the folder holds files already; nothing is overwritten.
    """
    parser = argparse.ArgumentParser(
        prog="python -m mpma_lightning experiments",
        description="Copies the shipped experiments, with their README and cluster files, into a folder. Commands name "
        "them from there: fit --config experiments/demo/pretraining.yaml",
    )
    parser.add_argument("action", choices=["init"], help="copy the experiments")
    parser.add_argument("--out", type=Path, default=Path("experiments"), help="the folder (default: experiments)")
    out: Path = parser.parse_args(list(argv)).out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not an empty folder; nothing is overwritten: choose another with --out DIR")
    source = experiments_folder()
    shutil.copytree(source, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    count = sum(1 for path in out.rglob("*.yaml"))
    print(f"{out}: {count} experiments, parts and sweeps")
