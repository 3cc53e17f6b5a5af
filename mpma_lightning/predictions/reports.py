"""Drafted reports: JSON lines with the evidence of every sentence, or the files that ReXrank and RadEval read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from data_modules.errors import UserError
from data_modules.files import whole_file, write_whole
from data_modules.images.transforms import Placement
from mpma_lightning.evaluation.reports.evidence import Sentence, boxes_of
from mpma_lightning.predictions.masks import png_path
from mpma_lightning.predictions.writer import PredictionWriter

FORMATS = ("rexrank", "radeval")
"""What ``predict --to`` may name, beside our own."""


class DraftWriter(PredictionWriter):
    """Writes ``drafts.jsonl``, and for each sentence that states a finding its map as ``evidence/<id>_<n>.png``.

    Boxes are x, y, width, height, and the point is the centre of the strongest cell, in pixels of the image file.
    ``rexrank`` writes an object of studies instead, whose draft is that of the study's first image; ``radeval`` lists
    of references and hypotheses.

    Args:
        form: one of ``FORMATS``; None: our own.
        table: ``id``, ``study``, ``image`` and, where the data have it, ``text`` of the samples.
        fit: how images were fitted into the crop.
    """

    def __init__(self, form: str | None, table: pa.Table, fit: str) -> None:
        super().__init__("drafts.jsonl" if form is None else f"{form}.json")
        self.form, self.fit = form, fit
        self.known = {row["id"]: row for row in table.to_pylist()}
        if form == "radeval" and "text" not in table.column_names:
            raise UserError("predict --to radeval: the data have no reports to compare the drafts with; expected some")

    def add(self, prediction: dict[str, Any]) -> None:
        rows = zip(
            *(prediction[name] for name in ("id", "draft", "sentences")), prediction["size"].tolist(), strict=True
        )
        for name, draft, sentences, size in rows:
            place = Placement.of(size[0], size[1], prediction["side"], self.fit)
            side = prediction["side"]
            told = [] if self.form else [self._sentence(name, n, one, place, side) for n, one in enumerate(sentences)]
            self.rows.append({"id": name, "draft": draft, "sentences": told})

    def _sentence(self, name: str, number: int, sentence: Sentence, place: Placement, side: int) -> dict[str, Any]:
        """``number``: of the sentence in the draft; ``side`` of the crop."""
        row: dict[str, Any] = {"text": sentence.text, "findings": sentence.findings}
        if sentence.score is not None:
            row |= {"evidence": round(sentence.score, 4), "supported": sentence.supported}
        if not any(sentence.findings.values()) or (heat := sentence.map) is None:
            return row
        scale = np.array([side / heat.shape[1], side / heat.shape[0]] * 2)
        corners = place.boxes_back(np.array(boxes_of(heat), float).reshape(-1, 4) * scale)
        row["boxes"] = [[round(v, 1) for v in (x1, y1, x2 - x1, y2 - y1)] for x1, y1, x2, y2 in corners.tolist()]
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        centre = np.array([[x + 0.5, y + 0.5, x + 0.5, y + 0.5]]) * scale
        row["point"] = [round(v, 1) for v in place.boxes_back(centre)[0, :2].tolist()]
        file = png_path(f"{name}_{number}", keep_ending=True)
        row["map"] = str(Path("evidence") / file)
        span = max(float(heat.max() - heat.min()), 1e-12)
        gray = ((heat - heat.min()) / span * 255).round().astype(np.uint8)
        picture = np.asarray(Image.fromarray(gray).resize((side, side), Image.Resampling.BILINEAR))
        with whole_file(self.path.parent / row["map"], within=self.path.parent) as partial:
            Image.fromarray(place.mask_back(picture)).save(partial, format="PNG")
        return row

    def write(self, rows: list[dict[str, Any]]) -> str:
        if self.form is None:
            write_whole(self.path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            return f"{len(rows)} drafts in {self.path}"
        content = self._rexrank(rows) if self.form == "rexrank" else self._radeval(rows)
        write_whole(self.path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
        further = f"; {len(rows) - len(content)} further images of these studies" if self.form == "rexrank" else ""
        return f"{len(rows)} drafts in {self.path}{further}"

    def _rexrank(self, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """By study: its images, the reference, and the draft of the first image; our data have no clinical context."""
        studies: dict[str, dict[str, Any]] = {}
        for row in rows:
            known = self.known[row["id"]]
            path = str(known["image"])
            study = studies.setdefault(
                str(known["study"]),
                {
                    "image_path": [],
                    "key_image_path": path,
                    "context": "",
                    "section_findings": known.get("text") or "",
                    "model_prediction": row["draft"],
                },
            )
            study["image_path"].append(path)
        return studies

    def _radeval(self, rows: list[dict[str, Any]]) -> dict[str, list[str]]:
        return {
            "references": [self.known[row["id"]]["text"] for row in rows],
            "hypotheses": [row["draft"] for row in rows],
        }
