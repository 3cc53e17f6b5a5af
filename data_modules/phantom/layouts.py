"""The same phantom in the layouts of other data sets: one module `<name>_layout.py` each, with `write(films, out)`."""

import importlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

from data_modules.errors import UserError
from data_modules.phantom.truth import read_films

LAYOUTS = (
    "annotated",
    "chestx_det",
    "chexpert",
    "chexpert_500",
    "chexpert_plus",
    "covidx",
    "cxr_lt",
    "mimic_cxr_expert",
    "mimic_cxr_vqa",
    "ms_cxr",
    "ms_cxr_t",
    "nih_chestxray14",
    "nih_google",
    "openi",
    "padchest",
    "padchest_gr",
    "pairs",
    "path_vqa",
    "pmc_vqa",
    "questions",
    "rexgradient",
    "roco",
    "rsna_pneumonia",
    "siim_pneumothorax",
    "slake",
    "vindr_cxr",
    "vqa_med_2019",
    "vqa_rad",
    "web_shards",
)


def chosen_layouts(names: Sequence[str]) -> Sequence[str]:
    """``names``, or every one for ``all``; UserError for an unknown name."""
    if unknown := [name for name in names if name not in (*LAYOUTS, "all")]:
        raise UserError(f"found --layouts {unknown[0]}, expected some of {', '.join(LAYOUTS)}, or all")
    return LAYOUTS if "all" in names else tuple(names)


def write_layouts(phantom: Path, names: Sequence[str]) -> None:
    """Write `<phantom>/layouts/<name>` for each of ``names`` (``all``: every one); a finished one is left as it is.

    Raises:
        UserError: unknown name, or the phantom is not finished.
    """
    chosen = chosen_layouts(names)
    missing = [name for name in chosen if not (phantom / "layouts" / name).exists()]
    films = read_films(phantom) if missing else []
    for name in track(missing, "Writing layouts", disable=not missing):
        draft, final = phantom / "layouts" / f"{name}.part", phantom / "layouts" / name
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        importlib.import_module(f"data_modules.phantom.{name}_layout").write(films, draft)
        draft.replace(final)


def link(source: Path, target: Path) -> None:
    """A file under a second name: a hard link, or a copy where the file system knows none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
