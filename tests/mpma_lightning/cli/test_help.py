"""What a new user reads: the help of every command."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_modules.catalogue import DATA_MODULES
from mpma_lightning.cli.class_help import class_help
from mpma_lightning.cli.main import COMMANDS, main
from mpma_lightning.cli.short_help import ABOUT, TASKS, options_of
from mpma_lightning.cli.training import CommandReader, import_all
from mpma_lightning.tasks.base import Task

START = "python -m mpma_lightning"


@pytest.mark.parametrize("name", COMMANDS)
def test_value_help_is_for_users(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    begin = time.process_time()
    try:
        assert main([name, "--help"]) == 0
    except SystemExit as leaving:  # argparse's own
        assert leaving.code == 0
    assert time.process_time() - begin < 1.5
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: {START} {name}")
    if name in ("check", "prepare", "split"):
        assert all(f"{known} ({kind})" in " ".join(shown.split()) for known, kind in DATA_MODULES.items())
    assert "Raises:" not in shown and "{}" not in shown.splitlines()


def test_value_help_comes_without_torch() -> None:
    """In a process of its own, as this one has imported it."""
    lines = (
        "import contextlib, sys",
        "from mpma_lightning.cli.main import COMMANDS, main",
        "for name in COMMANDS:",
        "    with contextlib.suppress(SystemExit): main([name, '--help'])",
        "    assert 'torch' not in sys.modules, name",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ABOUT)
def test_value_the_short_help_names_options_that_there_are(name: str) -> None:
    parser = CommandReader(name)._parser(name)
    known = {action.dest for action in parser._actions}
    for option, _ in options_of(name):
        for spelling in option.split(", "):
            key = spelling.split()[0].lstrip("-").partition(".")
            assert (key[0] if key[0] in ("model", "data") else key[0] + key[1] + key[2]) in {*known, "c"}, spelling


def test_value_the_short_help_names_every_task() -> None:
    """Those that no other extends, and those that an experiment names."""
    import_all("mpma_lightning.tasks")
    kinds, every, last = [Task], set(), set()
    while kinds:
        kind = kinds.pop()
        below = [child for child in kind.__subclasses__() if child.__module__.startswith("mpma_lightning.")]
        kinds += below
        every.add(kind.__name__)
        last |= set() if below else {kind.__name__}
    texts = [path.read_text() for path in (Path(__file__).parents[3] / "experiments").rglob("*.yaml")]
    named = {name for text in texts for name in re.findall(r"class_path: (\w+Task)\b", text)}
    assert last | named == set(TASKS) <= every


def test_value_help_of_a_class_explains_what_is_inside_its_arguments() -> None:
    shown = class_help(START, "model", "PretrainingTask")
    assert shown.startswith(f"usage: {START} --model PretrainingTask")
    for key in (
        "check_every",
        "masking.image_ratio",
        "objectives.global_alignment.weight",
        "optim.lr",
        "backbone.name",
    ):
        assert f"--model.{key} " in shown, key
    assert ".help" not in shown and "Raises:" not in shown
    assert "--data.text.max_tokens " in class_help(START, "data", "PairsDataModule")


def test_error_help_of_an_unknown_class(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model.help", "PretrainingTsk"]) == 2
    assert "unknown class 'PretrainingTsk'; did you mean 'PretrainingTask'?" in capsys.readouterr().err
