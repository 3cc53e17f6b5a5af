"""ReXGradient-160K: 160,000 studies with reports of 109,487 patients."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.base import DataModule
from data_modules.boundary import read_json
from data_modules.errors import UserError
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import require_folder
from data_modules.index.words import count_words
from data_modules.text.sections import clean

FILE = "{}_metadata_view_position.json"
SPLITS = ("train", "valid", "test")
SOURCE = "it comes with rajpurkarlab/ReXGradient-160K (huggingface.co); set data.root to its folder"
FRONTAL = ("PA", "AP", "POSTERO_ANTERIOR", "ANTERO_POSTERIOR", "AP AXIAL")
LATERAL = ("LATERAL", "LL", "RL", "LEFT LATERAL", "RIGHT LATERAL", "LLD", "RLD")
SIDES = dict.fromkeys(FRONTAL, "Frontal") | dict.fromkeys(LATERAL, "Lateral")
SECTIONS = {"findings+impression": ("Findings", "Impression"), "findings": ("Findings",), "impression": ("Impression",)}


class ReXGradientDataModule(DataModule):
    """Official splits of studies; the patient is the first part of a study's name.

    Args:
        root: folder of ``metadata`` (or of its files) and of ``deid_png``.
        sections: text of a report; of "findings+impression" one suffices.
        views: Frontal, Lateral, ``other`` (every other view position).

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        sections: Literal["findings+impression", "findings", "impression"] = "findings+impression",
        views: Sequence[Literal["Frontal", "Lateral", "other"]] = ("Frontal", "Lateral"),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root, self.sections, self.views = Path(root), sections, list(views)

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "ReXGradient-160K")
        folder = self.root / "metadata" if (self.root / "metadata").is_dir() else self.root
        parts = [self._studies(folder / FILE.format(split), split) for split in SPLITS]
        frame = pd.concat(parts, ignore_index=True)
        frame = self.leave_out(frame, ~frame["view"].isin(self.views), "view")
        words = frame["text"].map(count_words)
        frame = self.leave_out(frame, words == 0, f"report without {self.sections.replace('+', ' or ')}")
        words = words[words > 0]
        frame = self.leave_out(frame, words < self.text.min_tokens, f"text under {self.text.min_tokens} words")
        return frame.reset_index(drop=True)

    def _studies(self, path: Path, split: str) -> pd.DataFrame:
        """A row an image."""
        if not path.is_file():
            raise UserError(f"{path}: not found; {SOURCE}")
        content = read_json(path, "an object of studies")
        if not isinstance(content, dict) or not content:
            raise UserError(f"{path}: found {type(content).__name__}, expected an object of studies; download it again")
        names, studies = pd.Series(list(content)), pd.Series(list(content.values()), dtype=object)

        def problem(place: int) -> str:
            return (
                f"{path}: study {names[place]} has no list ImagePath with as many ImageViewPosition; download it again"
            )

        sound = studies.map(_is_study)
        kept = drop_faulty(studies, ~sound, problem, "study without images and views", self.drop)
        rows = [
            {
                "id": str(image).removeprefix("../"),
                "study": names[place],
                "patient": names[place].split("_")[0],
                "view": SIDES.get(str(view).strip().upper(), "other"),
                "text": clean(" ".join(str(study.get(part) or "") for part in SECTIONS[self.sections])),
                "split": split,
            }
            for place, study in zip(kept.index.tolist(), kept, strict=True)
            for image, view in zip(study["ImagePath"], study["ImageViewPosition"], strict=True)
        ]
        frame = pd.DataFrame(rows, columns=["id", "study", "patient", "view", "text", "split"])
        return frame.assign(image=f"{self.root}/" + frame["id"])


def _is_study(study: Any) -> bool:
    paths, views = (study.get(key) if isinstance(study, dict) else None for key in ("ImagePath", "ImageViewPosition"))
    return isinstance(paths, list) and isinstance(views, list) and len(paths) == len(views) > 0
