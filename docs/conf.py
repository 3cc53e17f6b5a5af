"""The documentation as a site: README.md as its front page, these pages, and the docstrings. `make docs` builds it."""

import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = html_title = "MPMA-Lightning"
extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.mermaid",
]
root_doc = "README"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "docs/tasks/*.md",
    "docs/data_sets/*.md",
    "docs/api/*/*.rst",
    "experiments/cluster/README.md",
]
exclude_patterns = ["docs/contents.md", "docs/api/*/modules.rst"]
html_theme = "furo"
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3
default_role = "code"
suppress_warnings = ["ref.python"]  # attributes of one name in two classes

apidoc_modules = [
    {"path": f"../{package}", "destination": f"docs/api/{package}", "separate_modules": True, "max_depth": 2}
    for package in ("mpma_lightning", "data_modules")
]
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "member-order": "bysource",
    "ignore-module-all": True,
}
autodoc_mock_imports = ["gradio"]
autodoc_inherit_docstrings = False
autodoc_typehints = "description"
napoleon_use_ivar = True


def add_contents(app: Sphinx, name: str, text: list[str]) -> None:
    """Below the front page and the two indexes, which GitHub shows as they are."""
    if name == root_doc:
        text[0] += "\n" + (ROOT / "docs/contents.md").read_text()
    elif name in ("docs/tasks", "docs/data_sets"):
        text[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n\n{Path(name).name}/*\n```\n"


def copy_front_page(app: Sphinx, failure: Exception | None) -> None:
    """Under the name that a web server looks for."""
    if failure is None and app.builder.format == "html":
        shutil.copy(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_contents)
    app.connect("build-finished", copy_front_page)
