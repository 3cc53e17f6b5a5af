"""Answers as HTML: everything is in the page itself, no file is written and none is fetched."""

import base64
import io
from html import escape

import numpy as np
import pandas as pd
from PIL import Image

from mpma_lightning.figures.canvas import RIGHT, WRONG
from mpma_lightning.lab.app.reports import Found
from mpma_lightning.lab.app.viewer import Film
from mpma_lightning.lab.figures.publish import caption
from mpma_lightning.lab.figures.wanted import Drawn

RESOLUTION = 220
"""Dots an inch of a figure."""
LONGEST = 800
"""Pixels of the longer side of a film."""


def film(shown: Film) -> str:
    """The image, with its name and size."""
    height, width = shown.pixels.shape[:2]
    said = f"{shown.name}, {width:,} × {height:,} pixels"
    return f"<figure class='film'>{_picture(shown.pixels, said)}{_caption(escape(said))}</figure>"


def figure(drawn: Drawn) -> str:
    """A figure above its caption."""
    file = io.BytesIO()
    drawn.figure.savefig(file, format="png", dpi=RESOLUTION)
    said = escape(caption(drawn))
    return f"<figure>{_image(file.getvalue(), said)}{_caption(said)}</figure>"


def table(values: pd.DataFrame) -> str:
    """Numbers with bars: from 0, each column on a scale of its own."""
    styled = values.rename_axis(columns=str(values.index.name)).rename_axis(index=None).style
    styled.format("{:.3f}").format_index(escape="html")
    for column in values:
        most = float(values[column].abs().max()) or 1.0
        least = -most if (values[column] < 0).any() else 0.0
        styled.bar([column], align="zero", vmin=least, vmax=most, color=[f"{WRONG}66", f"{RIGHT}66"])
    return styled.to_html(table_attributes='class="values"')


def reports(found: Found) -> str:
    """A card a report, with its image."""
    cards = []
    for place, near in enumerate(found.reports, start=1):
        more = f"; {near.others:,} more with the same words" if near.others else ""
        said = f"{place}. cosine {near.similarity:.3f}, {near.id}{more}"
        words = f"<div><p class='aside'>{escape(said)}</p><p>{escape(near.text)}</p></div>"
        cards.append(f"<li>{_picture(near.pixels, f'image of {near.id}')}{words}</li>")
    return f"<p class='aside'>{escape(found.said)}</p><ol class='reports'>{''.join(cards)}</ol>"


def problem(line: str) -> str:
    """A mistake, read out by screen readers."""
    return f"<p class='problem' role='alert'>{escape(line)}</p>"


def _caption(said: str) -> str:
    return f"<figcaption class='aside'>{said}</figcaption>"


def _picture(pixels: np.ndarray, said: str) -> str:
    shown = Image.fromarray(pixels)
    shown.thumbnail((LONGEST, LONGEST))
    file = io.BytesIO()
    shown.save(file, "png")
    return _image(file.getvalue(), escape(said))


def _image(png: bytes, said: str) -> str:
    return f"<img alt='{said}' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"
