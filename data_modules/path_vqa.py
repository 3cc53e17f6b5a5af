"""PathVQA: 32,632 questions on pathology images of two textbooks and a digital library."""

import pandas as pd

from data_modules.errors import UserError
from data_modules.questions import QuestionsDataModule


class PathVQADataModule(QuestionsDataModule):
    """Official splits of the hub's form (image, question, answer); protocol ``path-vqa``.

    The original ``qas/*.pkl`` are not read: loading a pickle runs whatever is in it. Equal image files are one image;
    those that are in two official splits are counted, not refused.
    """

    protocol = "path-vqa"

    def read_index(self) -> pd.DataFrame:
        if self.root.is_dir() and any(self.root.rglob("*_qa.pkl")) and not any(self.root.rglob("*.parquet")):
            raise UserError(
                f"{self.root}: found pickles, which run code when they are loaded, expected Parquet files; download "
                "flaviagiammarino/path-vqa from huggingface.co"
            )
        return super().read_index()

    def check_splits(self, frame: pd.DataFrame) -> None:
        several = frame.groupby("patient")["split"].nunique()
        if count := int((several > 1).sum()):
            self.note(f"{count:,} of {len(several):,} images are in two splits, officially")
