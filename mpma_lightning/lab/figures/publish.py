"""A figure as a file for a paper, with its caption in the file and beside it."""

from pathlib import Path
from typing import Any

import matplotlib

from data_modules.files import whole_file, write_whole
from mpma_lightning.lab.figures.wanted import Drawn

RESOLUTION = 600
"""Dots an inch of a PNG file, and of images in the others."""
_EDITABLE: Any = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.hashsalt": "mpma", "savefig.bbox": None}
"""Letters stay letters in a PDF file; an SVG file of the same figure has the same bytes."""


def caption(drawn: Drawn) -> str:
    """What the figure shows, then run, checkpoint, protocol, data and samples."""
    lines = [line.strip() for line in str(drawn.figure.get_label()).splitlines()]
    shown = " ".join(f"{line[0].upper()}{line[1:]}." for line in (line.rstrip(".:") for line in lines) if line)
    return " ".join([shown, *drawn.told])


def publish(drawn: Drawn, out: Path) -> Path:
    """Write the figure to ``out`` and its caption beside it, to ``<name>.txt``, which is returned."""
    text = caption(drawn)
    metadata = {
        ".png": {"Title": out.stem, "Description": text},
        ".pdf": {"Title": out.stem, "Subject": text, "CreationDate": None},
        ".svg": {"Title": out.stem, "Description": text, "Date": None},
    }[out.suffix]
    with matplotlib.rc_context(_EDITABLE), whole_file(out) as partial:
        drawn.figure.savefig(partial, format=out.suffix[1:], dpi=RESOLUTION, metadata=metadata)
    beside = out.with_suffix(".txt")
    write_whole(beside, text + "\n")
    return beside
