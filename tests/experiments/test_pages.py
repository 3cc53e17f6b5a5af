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

from data_modules.catalogue import DATA_MODULES
from data_modules.phantom import write_phantom
from mpma_lightning.cli.main import COMMANDS, main
from mpma_lightning.cli.training import CommandReader, classes

TRAINING = ("fit", "validate", "test", "predict")
TASK_PAGE = ["What it does", "Try it", "Your data", "Settings that matter", "What is measured", "What is written",
             "Protocols"]  # fmt: skip

SET_PAGE = ["How to get it", "Layout", "Commands", "Splits and labels", "Traps", "Terms"]
OF_A_SET = ("check", "prepare", "split")
SETS = sorted(DATA_MODULES)


def headings(page: Path) -> list[str]:
    return re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)


def test_value_every_page_is_in_the_contents() -> None:
    listed = re.findall(r"^[\w/]+$", (ROOT / "docs/contents.md").read_text(), re.MULTILINE)
    pages = {path.relative_to(ROOT).with_suffix("").as_posix() for path in PAGES if path.parent == ROOT / "docs"}
    api = {f"docs/api/{package}/{package}" for package in ("mpma_lightning", "data_modules")}
    others = {"CONTRIBUTING", "experiments/cluster/README"} | api
    assert set(listed) == pages - {"docs/contents"} | others
    assert len(listed) == len(set(listed))


def test_value_the_pages_of_tasks_are_built_alike() -> None:
    pages = [page for page in PAGES if page.parent.name == "tasks"]
    assert len(pages) == 9 and {page.name: headings(page) for page in pages} == {page.name: TASK_PAGE for page in pages}
    index = (ROOT / "docs/tasks.md").read_text()
    listed = re.findall(r"^\| \[.*?\]\(tasks/(\w+\.md)\)", index, re.MULTILINE)
    assert sorted(listed) == [page.name for page in pages]


def test_value_every_set_has_a_page_and_all_are_built_alike() -> None:
    pages = {page.stem: page for page in PAGES if page.parent.name == "data_sets"}
    assert sorted(pages) == SETS
    for name, page in pages.items():
        assert headings(page) == SET_PAGE, name
        done = [line.words[0] for line in LINES if line.page == page]
        assert done[:4] == ["phantom", "check", "check", "prepare"] and {*done[4:]} <= {*TRAINING} and done[4:], name
        assert all(line.words[1] == name for line in LINES if line.page == page and line.words[0] in OF_A_SET)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_value_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("line", LINES, ids=str)
def test_value_commands_name_what_there_is(line: Line) -> None:
    assert line.words[0] in COMMANDS
    if line.words[0] in OF_A_SET and line.words[1] in DATA_MODULES:
        of_data = {word.removeprefix("--data.") for word in line.words if word.startswith("--data.")}
        assert of_data <= arguments(named(DATA_MODULES[line.words[1]]))
    if line.words[0] not in TRAINING or line.writes_its_own:
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
    if not line.writes_its_own:
        readers[line.words[0]].parser.parse_args(list(line.words))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pages") / "small"
    write_phantom(out, patients=40, seed=9, size=96, workers=1, layouts="all")
    return out


@pytest.mark.full
@pytest.mark.parametrize("name", SETS)
def test_value_commands_of_a_set_run_and_its_experiments_read_what_they_wrote(
    name: str, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readers: dict[str, CommandReader]
) -> None:
    lines = [line for line in LINES if line.page.stem == name and line.page.parent.name == "data_sets"]
    (tmp_path / "data").mkdir()
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "data/small").symlink_to(phantom)
    if name != "mimic_cxr":
        (tmp_path / lines[2].values("--root")[0]).symlink_to(phantom / "layouts" / name)
    for own in ("mimic-cxr-jpg", "mimic-cxr"):
        if not (tmp_path / "data" / own).exists():
            (tmp_path / "data" / own).symlink_to(phantom / own)
    monkeypatch.chdir(tmp_path)
    small = {"phantom": ["--patients", "40", "--seed", "9", "--size", "96", "--workers", "1"]}
    small["prepare"] = small["phantom"][-2:]
    tiny = ["--model.checkpoint", "null", "--model.backbone", "mpma_vit_t16", "--data.num_workers", "0"]
    for line in lines:
        if line.words[0] not in TRAINING:
            assert main([*line.words, *small.get(line.words[0], [])]) == 0, line
            continue
        words = [*line.words, *tiny]
        if pinned := merged(line.configs[0])["data"]["init_args"].get("pinned"):
            words += ["--data.pinned", str(phantom / "layouts" / name / Path(pinned).name)]
        reader = readers[line.words[0]]
        data = reader.parser.instantiate_classes(reader.parser.parse_args(words))[reader.name].data
        data.setup()
        assert sum(data.spec.counts.values()) > 0, line


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="`make docs` installs Sphinx")
def test_smoke_site(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "-c", "docs", ".", str(tmp_path)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "Memory-Augmented" in (tmp_path / "index.html").read_text()
