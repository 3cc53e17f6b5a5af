"""The documentation: no page is left out, links and commands are right, and the site builds."""

import importlib.util
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from pages import LINES, PAGES, Line
from shipped import ROOT, merged, subcommand

from mpma_lightning.cli.main import COMMANDS
from mpma_lightning.cli.training import CommandReader, classes

TRAINING = ("fit", "validate", "test", "predict")
TASK_PAGE = ["What it does", "Try it", "Your data", "Settings that matter", "What is measured", "What is written",
             "Protocols"]  # fmt: skip


def headings(page: Path) -> list[str]:
    return re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)


def test_value_every_page_is_in_the_contents() -> None:
    listed = re.findall(r"^[\w/]+$", (ROOT / "docs/contents.md").read_text(), re.MULTILINE)
    pages = {path.relative_to(ROOT).with_suffix("").as_posix() for path in PAGES}
    api = {f"docs/api/{package}/{package}" for package in ("mpma_lightning", "data_modules")}
    others = {"CONTRIBUTING", "experiments/cluster/README"} | api
    assert set(listed) == pages - {"docs/contents", "README"} | others
    assert len(listed) == len(set(listed))


def test_value_the_pages_of_tasks_are_built_alike() -> None:
    pages = [page for page in PAGES if page.parent.name == "tasks"]
    assert len(pages) == 9 and {page.name: headings(page) for page in pages} == {page.name: TASK_PAGE for page in pages}
    index = (ROOT / "docs/tasks.md").read_text()
    assert re.findall(r"^\| \[.*?\]\(tasks/(\w+\.md)\) \|", index, re.MULTILINE) == [
        name.rpartition("/")[2] + ".md"
        for name in re.findall(r"^docs/tasks/\w+$", (ROOT / "docs/contents.md").read_text(), re.MULTILINE)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_value_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("line", LINES, ids=str)
def test_value_commands_name_what_there_is(line: Line) -> None:
    assert line.words[0] in COMMANDS
    if line.words[0] not in TRAINING:
        return
    assert line.configs and all(path.is_file() for path in line.configs)
    experiment = next(path for path in line.configs if parts_of(path))
    assert line.words[0] != "fit" or subcommand(experiment) == "fit"
    for word in line.words:
        part, _, name = word.removeprefix("--").partition(".")
        if word.startswith("--") and name:
            kind = Trainer if part == "trainer" else named(parts_of(experiment)[part])
            assert name.split(".")[0].split("=")[0].rstrip("+") in arguments(kind), word


@cache
def parts_of(path: Path) -> dict[str, str]:
    """The names of its task and of its data module; empty for an overlay, which names none."""
    settings = merged(path)
    found = {name: settings.get(name, {}).get("class_path") for name in ("model", "data")}
    return found if all(found.values()) else {}


@cache
def named(name: str) -> type:
    """The task or the data module of that name."""
    every = list(classes())
    for kind in every:
        every += [own for own in kind.__subclasses__() if own not in every]
    return next(kind for kind in every if kind.__name__ == name)


@cache
def arguments(kind: type) -> set[str]:
    """Of it and of what it derives from."""
    return {name for base in kind.__mro__ if "__init__" in vars(base) for name in inspect.signature(base).parameters}


@pytest.fixture(scope="module")
def readers() -> dict[str, CommandReader]:
    return {name: CommandReader(name) for name in TRAINING}


@pytest.mark.full
@pytest.mark.parametrize("line", [line for line in LINES if line.words[0] in TRAINING], ids=str)
def test_value_training_commands_are_read(line: Line, readers: dict[str, CommandReader]) -> None:
    readers[line.words[0]].parser.parse_args(list(line.words))


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="`make docs` installs Sphinx")
def test_smoke_site(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "-c", "docs", ".", str(tmp_path)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "Memory-Augmented" in (tmp_path / "index.html").read_text()
