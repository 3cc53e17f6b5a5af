"""What the page answers, without the page: an image file and words in, tables, figures and reports out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from data_modules.errors import UserError
from data_modules.index.labels import same_class
from mpma_lightning.evaluation.zero_shot import load_prompts
from mpma_lightning.figures.sheet import COLUMNS, drawn_on
from mpma_lightning.inference import Model
from mpma_lightning.lab.app.reports import Found, Reports
from mpma_lightning.lab.figures.opened import weights_said
from mpma_lightning.lab.figures.phrase import sentence_map
from mpma_lightning.lab.figures.wanted import Drawn

Answer = Literal["scores", "place", "answer", "nearest"]


@dataclass(frozen=True)
class Film:
    """An image that was dropped: uint8 (H, W) or (H, W, 3)."""

    name: str
    pixels: np.ndarray


class Viewer:
    """Answers of one checkpoint; every method raises UserError where :meth:`lacks` says something, or the file or the
    words cannot be read.

    Args:
        model: as :func:`mpma_lightning.load` gives it.
        name: of the run.
        prompts: a shipped prompt file or a path; of other classes the prompts are their name, and "no" before it.
        reports: to search in.
    """

    def __init__(
        self, model: Model, name: str, prompts: str | Path = "chest_xray", reports: Reports | None = None
    ) -> None:
        self.model, self.name, self.reports = model, name, reports
        self.prompts = load_prompts(prompts)

    @property
    def said(self) -> str:
        """The weights, and what they hold."""
        return f"{weights_said(self.model.path)}; it holds {', '.join(self.model.parts)}"

    @property
    def classes(self) -> str:
        """Those that have prompts."""
        return ", ".join(self.prompts.positive)

    def lacks(self, answer: Answer) -> str:
        """Why ``answer`` cannot be given, and what to do; '' where it can."""
        held = set(self.model.parts)
        if answer == "answer":
            wanted = "" if self.model.can_answer else "head for answers: start the page with a run of VQATask"
        elif answer == "place":
            wanted = "" if held & {"align_local", "align_global"} else "local or global alignment of images and texts"
        else:
            wanted = "" if "align_global" in held else "global alignment of images and texts"
        if wanted:
            return f"This checkpoint has no {wanted}."
        if self.model.tokenizer is None:
            return "This checkpoint has no tokeniser: start the page with --tokenizer FOLDER."
        if answer == "nearest" and self.reports is None:
            return "No data are known: start the page with --store FOLDER, a store that `prepare` wrote."
        return ""

    def film(self, path: str | Path | None) -> Film:
        """The image, as the model reads it before the crop."""
        if path is None:
            raise UserError("found no image; choose one first")
        name = Path(path).name
        try:
            return Film(name, self.model.preparation.read(path))
        except UserError as error:  # its remedy is for a file of a data set
            found = str(error).replace(str(path), name)
            raise UserError(f"{found.rpartition('; ')[0] or found}; choose another file") from None

    def scores(self, path: str | Path | None, classes: str) -> pd.DataFrame:
        """Zero-shot scores, a row a class, highest first: ``global``, and ``local`` where the model has it.

        Args:
            path: of the image.
            classes: names, separated by commas or lines.
        """
        self._require("scores")
        names = list(dict.fromkeys(name.strip() for name in classes.replace("\n", ",").split(",") if name.strip()))
        if not names:
            raise UserError("found no class; type some, separated by commas, such as: Edema, Pleural Effusion")
        film = self.film(path)
        table = self.model.zero_shot(film.pixels, {name: self._prompts_of(name) for name in names})
        kinds = {str(column).partition("/")[0]: None for column in table}
        rows = {kind: [float(table[f"{kind}/{name}"].iloc[0]) for name in names] for kind in kinds}
        return pd.DataFrame(rows, pd.Index(names, name="class")).sort_values("global", ascending=False)

    def place(self, path: str | Path | None, phrase: str) -> Drawn:
        """Where the image shows what ``phrase`` says, drawn as by `figure phrase` in one column."""
        self._require("place")
        phrase = _words(phrase, "phrase", "left pleural effusion")
        film = self.film(path)
        with drawn_on(COLUMNS["single"]):
            return sentence_map(self.model, film.pixels, phrase, film.name, self.name)

    def answer(self, path: str | Path | None, question: str) -> pd.DataFrame:
        """The likeliest answers with their ``probability``."""
        self._require("answer")
        question = _words(question, "question", "is there an effusion?")
        found = self.model.answer(self.film(path).pixels, question)
        return pd.DataFrame({"probability": list(found.values())}, pd.Index(list(found), name="answer"))

    def nearest(self, path: str | Path | None) -> Found:
        """The reports nearest to the image, with theirs."""
        self._require("nearest")
        assert self.reports is not None
        return self.reports.nearest(self.model.embed_images(self.film(path).pixels, aligned=True)[0])

    def _prompts_of(self, name: str) -> dict[str, list[str]]:
        known = {finding.lower(): finding for finding in self.prompts.positive}
        finding = known.get(name.lower()) or same_class(name, list(self.prompts.positive))
        if finding is None:
            return {"positive": [name.lower()], "negative": [f"no {name.lower()}"]}
        return {"positive": self.prompts.positive[finding], "negative": self.prompts.negative[finding]}

    def _require(self, answer: Answer) -> None:
        if reason := self.lacks(answer):
            raise UserError(reason)


def _words(text: str, what: str, example: str) -> str:
    if not text.strip():
        raise UserError(f"found no {what}; type one, such as: {example}")
    return text.strip()
