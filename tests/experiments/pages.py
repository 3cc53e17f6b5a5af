"""The pages of the documentation, and the command lines on them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from shipped import ROOT

PROGRAM = ".venv/bin/python -m mpma_lightning "
_FOLDERS = (ROOT / "docs", ROOT / "docs/tasks", ROOT / "docs/data_sets")
PAGES = [ROOT / "README.md", *sorted(page for folder in _FOLDERS for page in folder.glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_IN_A_TABLE = re.compile(r"^\|.*?`((?:fit|validate|test|predict) --config [^`]*)`", re.MULTILINE)


@dataclass(frozen=True)
class Line:
    """A command line: its page, and its words after the program."""

    page: Path
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {' '.join(self.words)}"

    def values(self, option: str) -> list[str]:
        """What follows ``option`` wherever it occurs."""
        return [value for word, value in zip(self.words, self.words[1:], strict=False) if word == option]

    @property
    def configs(self) -> list[Path]:
        return [ROOT / name for name in self.values("--config")]

    @property
    def writes_its_own(self) -> bool:
        """Whether it reads an experiment that its page tells the reader to write."""
        return not all(name.startswith("experiments/") for name in self.values("--config"))


def lines_of(page: Path) -> list[Line]:
    """The lines of its blocks that call the program, and the commands in its tables."""
    text = page.read_text()
    blocks = "\n".join(block for kind, block in _BLOCK.findall(text) if not kind).replace("\\\n", " ")
    called = [line.removeprefix(PROGRAM) for line in blocks.splitlines() if line.startswith(PROGRAM)]
    return [Line(page, tuple(shlex.split(line, comments=True))) for line in (*called, *_IN_A_TABLE.findall(text))]


LINES = [line for page in PAGES for line in lines_of(page)]
