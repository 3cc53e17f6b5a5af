"""The documentation site: no page is left out, and the pages build."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_value_every_page_is_in_the_contents() -> None:
    listed = re.findall(r"^[\w/]+$", (ROOT / "docs/contents.md").read_text(), re.MULTILINE)
    pages = {path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.glob("docs/*.md")}
    api = {f"docs/api/{package}/{package}" for package in ("mpma_lightning", "data_modules")}
    assert set(listed) == pages - {"docs/contents"} | {"CONTRIBUTING", "experiments/cluster/README"} | api
    assert len(listed) == len(set(listed))


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="`make docs` installs Sphinx")
def test_smoke_site(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "-c", "docs", ".", str(tmp_path)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "Memory-Augmented" in (tmp_path / "index.html").read_text()
