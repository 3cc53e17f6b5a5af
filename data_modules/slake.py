"""SLAKE: bilingual questions on 642 images; one language at a time."""

from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.errors import UserError
from data_modules.index.files import require_folder
from data_modules.questions import VQADataModule
from data_modules.text.question_files import question_frame, read_records

FILES = {"train": ("train.json",), "val": ("validate.json", "validation.json"), "test": ("test.json",)}
COLUMNS = {
    "id": "qid",
    "patient": "img_name",
    "text": "question",
    "answer": "answer",
    "answer_type": "answer_type",
    "question_type": "content_type",
    "base_type": "base_type",
}


class SLAKEDataModule(VQADataModule):
    """Official splits of one language (protocol ``slake-en`` for English) [Liu et al. 2021].

    Each language is split by image on its own: over both, training and test share images. So the language is filtered
    before anything else, and there is no bilingual option.

    Args:
        root: folder of ``train.json``, ``validate.json`` (or ``validation.json``), ``test.json`` and ``imgs``.
        language: value of ``q_lang``: en or zh.

    The other arguments are those of ``DataModule``.
    """

    def __init__(self, root: str, language: str = "en", **common: Any) -> None:
        super().__init__(**common)
        self.root, self.language, self.protocol = Path(root), language, f"slake-{language}"

    def read_index(self) -> pd.DataFrame:
        root = self.root / "Slake1.0" if (self.root / "Slake1.0").is_dir() else self.root
        require_folder(root, "SLAKE")
        if not (root / "imgs").is_dir():
            raise UserError(f"{root / 'imgs'}: folder not found; unpack imgs.zip there")
        parts = []
        for split, names in FILES.items():
            path = next((root / name for name in names if (root / name).is_file()), root / names[0])
            parts.append(self._questions(path).assign(split=split))
        frame = pd.concat(parts, ignore_index=True)
        graph = int((frame.pop("base_type") == "kvqa").sum())
        if graph:
            self.note(f"{graph:,} questions need the knowledge graph (kvqa), which is not read")
        return frame.assign(study=frame["id"], image=f"{root / 'imgs'}/" + frame["patient"])

    def _questions(self, path: Path) -> pd.DataFrame:
        records = read_records(path, (*COLUMNS.values(), "q_lang"), self.drop)
        languages = pd.Series([str(record["q_lang"]).strip() for record in records])
        chosen = [record for record, language in zip(records, languages, strict=True) if language == self.language]
        if not chosen:
            found = ", ".join(f"{name} {count:,}" for name, count in languages.value_counts().items())
            raise UserError(f"{path}: found no question in language {self.language!r} (found {found}); correct "
                            "data.language")  # fmt: skip
        self.drop("other language", len(records) - len(chosen))
        return question_frame(path, chosen, COLUMNS, self.drop)
