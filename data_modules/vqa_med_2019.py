"""VQA-Med-2019: 4,200 radiology images with questions on modality, plane, organ and abnormality."""

import re
from pathlib import Path
from typing import Literal

import pandas as pd

from data_modules.boundary import lines_of, read_text
from data_modules.errors import UserError
from data_modules.index.files import files_below
from data_modules.questions import QuestionsDataModule
from data_modules.text.answers import join_answers, normalise_answer, split_answers

FILES = {
    "train": "All_QA_Pairs_train.txt",
    "val": "All_QA_Pairs_val.txt",
    "test": "VQAMed2019_Test_Questions_w_Ref_Answers.txt",
}
FIELDS = {3: ["image", "question", "answer"], 4: ["image", "category", "question", "answer"]}
OPTIONAL = re.compile(r"\([^()]*\)")
ALTERNATIVES = "#"


def with_optional_parts(answers: str) -> str:
    """``answers`` with, for each that has parts in parentheses, the same without them and without the signs."""
    every = split_answers(answers)
    plain = [normalise_answer(OPTIONAL.sub(" ", answer)) for answer in every]
    bare = [normalise_answer(re.sub(r"[()]", " ", answer)) for answer in every]
    return join_answers([*every, *plain, *bare])


class VQAMed2019DataModule(QuestionsDataModule):
    """Official splits; protocol ``vqa-med-2019``. The three files lie anywhere below the root, and so do the images.

    A line is ``id|question|answer``, in the test file ``id|category|question|answer``. A reference answer may list
    alternatives (``#``), of which one suffices, and parts in parentheses, which may be left out.
    """

    protocol = "vqa-med-2019"
    several_answers: Literal["all", "any"] = "any"

    def parts(self) -> dict[Path, str | None]:
        found = {split: sorted(self.root.rglob(name)) for split, name in FILES.items()}
        if not any(found.values()):
            raise UserError(f"{self.root}: found none of {', '.join(FILES.values())}; download VQA-Med-2019 "
                            "(zenodo.org/records/10499039; the test set: github.com/abachaa/VQA-Med-2019)")  # fmt: skip
        return {paths[0]: split for split, paths in found.items() if paths}

    def cells(self, path: Path) -> pd.DataFrame:
        lines = [line for line in lines_of(read_text(path)) if line.strip()]
        width = 4 if path.name == FILES["test"] else 3
        rows = [[field.strip() for field in line.split("|", width - 1)] for line in lines]
        for place, row in enumerate(rows):
            if len(row) == width:
                continue
            raise UserError(
                f"{path}: found {len(row)} fields in line {place + 1}, expected {'|'.join(FIELDS[width])}; "
                "download the file again"
            )
        return pd.DataFrame(rows, columns=FIELDS[width], dtype="str").replace("", pd.NA)

    def separator(self, split: str | None) -> str:
        return ALTERNATIVES

    def _located(self, names: pd.Series) -> pd.Series:
        files = {file.stem: str(file) for file in files_below(self.root, [".jpg", ".jpeg", ".png"])}
        return names.map(lambda name: files.get(name, str(self.root / "images" / f"{name}.jpg")))

    def read_index(self) -> pd.DataFrame:
        frame = super().read_index()
        tested = frame["split"] == "test"
        frame.loc[tested, "answer"] = frame.loc[tested, "answer"].map(with_optional_parts)
        return frame
