"""PMC-VQA: multiple-choice questions on figures of open-access articles."""

from pathlib import Path
from typing import ClassVar

from data_modules.errors import UserError
from data_modules.questions import QuestionsDataModule

VERSIONS = (("train_2.csv", "test_2.csv"), ("train.csv", "test.csv"))


class PMCVQADataModule(QuestionsDataModule):
    """Columns Figure_path, Question, Answer (a text or a letter) and four choices; protocol ``pmc-vqa``.

    ``train_2.csv`` and ``test_2.csv``, the version without compound figures, are read where they are there, else
    ``train.csv`` and ``test.csv``. Images lie in ``images`` or ``figures``. The prediction is the likeliest of the four
    choices; most correct answers of the test set are in no training question, so a head over answers has a low ceiling.
    """

    protocol = "pmc-vqa"
    images: ClassVar[tuple[str, ...]] = ("images", "figures", "images_2", ".")
    choices: ClassVar[tuple[str, ...]] = ("Choice A", "Choice B", "Choice C", "Choice D")

    def parts(self) -> dict[Path, str | None]:
        for train, test in VERSIONS:
            if self.table is None and (self.root / train).is_file() and (self.root / test).is_file():
                return {self.root / train: "train", self.root / test: "test"}
        if self.table is None:
            raise UserError(f"{self.root}: found no {' and '.join(VERSIONS[0])} (nor {' and '.join(VERSIONS[1])}); "
                            "download xmcmic/PMC-VQA from huggingface.co")  # fmt: skip
        return super().parts()
