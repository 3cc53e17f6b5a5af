"""VQA-RAD: the public JSON, the two-file arrangement of MEVF, and the hub form; three protocols."""

from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data_modules.errors import UserError
from data_modules.images.source import table_references
from data_modules.index.draws import hold_out_units, random_splits
from data_modules.index.faulty import Drop
from data_modules.index.files import require_folder
from data_modules.index.hub import is_hub_form, read_columns
from data_modules.index.splits import check_disjoint, normalise_splits
from data_modules.questions import DRAW_SEED, HELD_OUT, VQADataModule, picture_hash
from data_modules.text.answers import guess_types, normalise_answer, twins
from data_modules.text.question_files import question_frame, read_records

PUBLIC = "VQA_RAD Dataset Public.json"
FILES = {"trainset.json": "train", "valset.json": "val", "testset.json": "test"}
IMAGES = ("images", "VQA_RAD Image Folder", ".")
COLUMNS = {
    "id": "qid",
    "patient": "image_name",
    "text": "question",
    "answer": "answer",
    "answer_type": "answer_type",
    "question_type": "question_type",
    "phrase_type": "phrase_type",
}


class VQARADDataModule(VQADataModule):
    """Questions on radiology images, 3,064 + 451 in the MEVF arrangement [Lau et al. 2018].

    All test images also occur in training, and ``frame`` questions repeat test questions with their answers.

    Args:
        root: folder of ``VQA_RAD Dataset Public.json``, or of ``trainset.json`` and ``testset.json`` (a ``valset.json``
            is used when it is there), or of the hub form (Parquet or saved ``DatasetDict``; answer types are guessed).
            Images are in ``images``, ``VQA_RAD Image Folder`` or beside the files.
        protocol: ``vqa-rad``: no frame questions, 10 % of the training images held out for validation, vocabulary from
            train. ``vqa-rad-disjoint``: no frame questions, re-split 80/10/10 by image, vocabulary from train.
            ``vqa-rad-legacy``: everything in training, vocabulary from all splits, selection on test [M3AE].

    The other arguments are those of ``DataModule``.
    """

    def __init__(
        self,
        root: str,
        protocol: Literal["vqa-rad", "vqa-rad-disjoint", "vqa-rad-legacy"] = "vqa-rad",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root, self.protocol = Path(root), protocol
        self.vocabulary_splits = ("train", "val", "test") if protocol == "vqa-rad-legacy" else ("train",)

    def check_splits(self, frame: pd.DataFrame) -> None:
        """Images are shared by train and test officially; no image may be in val and in another split."""
        if self.protocol == "vqa-rad-disjoint":
            check_disjoint(frame)
        elif self.protocol == "vqa-rad":
            check_disjoint(frame[frame["split"] != "test"])

    def read_index(self) -> pd.DataFrame:
        require_folder(self.root, "VQA-RAD")
        frame = self._questions()
        frame["study"] = frame["id"]
        self._report_leaks(frame)
        if self.protocol != "vqa-rad-legacy":
            frame = self.leave_out(frame, frame["phrase_type"] == "frame", "frame question")
        splits = {"vqa-rad-disjoint": self._split_disjoint, "vqa-rad-legacy": self._split_legacy}
        return splits.get(self.protocol, self._split_held_out)(frame)

    def _questions(self) -> pd.DataFrame:
        if (self.root / PUBLIC).is_file():
            return self.located(_read_public(self.root / PUBLIC, self.drop))
        if (self.root / "trainset.json").is_file() or (self.root / "testset.json").is_file():
            parts = []
            for name, split in FILES.items():
                path = self.root / name
                if split != "val" or path.is_file():
                    records = read_records(path, tuple(COLUMNS.values()), self.drop)
                    parts.append(question_frame(path, records, COLUMNS, self.drop).assign(split=split))
            frame = pd.concat(parts, ignore_index=True)
            self._refuse_test_as_validation(frame)
            return self.located(frame)
        if is_hub_form(self.root):
            self.note("answer types guessed: yes and no are CLOSED, every other answer is OPEN")
            return _read_hub(self.root)
        raise UserError(
            f"{self.root}: found no questions, expected {PUBLIC}, or trainset.json and testset.json, or Parquet files; "
            "download VQA-RAD (osf.io/89kps)"
        )

    def _refuse_test_as_validation(self, frame: pd.DataFrame) -> None:
        """People copy the test set as the validation set that M3AE asks for."""
        asked = pd.MultiIndex.from_frame(frame[["patient", "text"]])
        val, test = (asked[frame["split"] == split] for split in ("val", "test"))
        again = val.isin(test)
        if self.protocol != "vqa-rad-legacy" and again.sum() > len(val) / 2:
            raise UserError(
                f"{self.root / 'valset.json'}: {again.sum():,} of {len(val):,} questions are those of testset.json, "
                "expected others, as no result is chosen on the test set; remove the file, so that training images "
                "are held out, or set data.protocol to vqa-rad-legacy"
            )

    def located(self, frame: pd.DataFrame) -> pd.DataFrame:
        """``frame`` with ``image``: the files named by ``patient``, in the first folder that has the first of them."""
        names = frame["patient"]
        folder = next(
            (self.root / f for f in IMAGES if (self.root / f / names.iloc[0]).is_file()), self.root / "images"
        )
        return frame.assign(image=f"{folder}/" + names)

    def _report_leaks(self, frame: pd.DataFrame) -> None:
        train, test = frame[frame["split"] != "test"], frame[frame["split"] == "test"]
        framed = train["phrase_type"] == "frame"
        shared = set(train["patient"]) & set(test["patient"])
        every, others = twins(test, train).notna(), twins(test, train[~framed]).notna()
        self.note(
            f"read {len(train):,} training questions ({int(framed.sum()):,} frame) on {train['patient'].nunique():,} "
            f"images and {len(test):,} test questions on {test['patient'].nunique():,}; {len(shared):,} are in both"
        )
        self.note(
            f"near-duplicate twins: {int(every.sum()):,} test questions have one in training on the same image with "
            f"the same answer, {int((every & ~others).sum()):,} of them through frame questions only"
        )

    def _split_legacy(self, frame: pd.DataFrame) -> pd.DataFrame:
        self.note("no validation split exists: selection on test [M3AE]; for comparison only")
        test = frame[frame["split"] == "test"]
        again = test.assign(id="val-" + test["id"], study="val-" + test["study"], split="val")
        return pd.concat([frame[frame["split"] != "val"], again], ignore_index=True)

    def _split_held_out(self, frame: pd.DataFrame) -> pd.DataFrame:
        if (frame["split"] == "val").any():
            return frame
        splits, held, images = hold_out_units(frame["split"], frame["patient"], HELD_OUT, DRAW_SEED)
        self.note(f"no validation split exists: {held} of {images} training images held out for it")
        return frame.assign(split=splits)

    def _split_disjoint(self, frame: pd.DataFrame) -> pd.DataFrame:
        self.note("re-split by image: no image is in two splits; not comparable with the official split")
        return frame.assign(split=random_splits(frame["patient"], DRAW_SEED))


def _read_public(path: Path, drop: Drop) -> pd.DataFrame:
    """Official records: a training record with a ``question_frame`` gives a second, ``frame`` question."""
    records = read_records(path, tuple(COLUMNS.values()), drop)
    rows: list[dict[str, Any]] = []
    for record in records:
        kind = str(record["phrase_type"]).strip()
        rows.append({**record, "phrase_type": kind})
        framed = str(record.get("question_frame") or "NULL").strip()
        if framed != "NULL" and not kind.startswith("test"):
            rows.append({**record, "qid": f"{record['qid']}-frame", "question": framed, "phrase_type": "frame"})
    frame = question_frame(path, rows, COLUMNS, drop)
    return frame.assign(split=frame["phrase_type"].str.startswith("test").map({True: "test", False: "train"}))


def _read_hub(root: Path) -> pd.DataFrame:
    """Questions and answers; equal image bytes are one image."""
    frame = read_columns(root, ("question", "answer")).rename(columns={"question": "text"})
    frame["image"] = table_references(root, frame["split"])
    frame["id"] = frame["split"] + "-" + frame.groupby("split").cumcount().astype(str)
    frame["split"] = normalise_splits(frame["split"], frame["id"])
    frame["patient"] = frame["image"].map(picture_hash)
    frame["answer"] = frame["answer"].map(normalise_answer)
    return frame.assign(answer_type=guess_types(frame["answer"]), question_type="", phrase_type="")
