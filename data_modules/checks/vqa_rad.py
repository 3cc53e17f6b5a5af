"""VQA-RAD in the MEVF arrangement: the leaks and quirks of its questions, on top of those of its images."""

from pathlib import Path

import pandas as pd

from data_modules.base import DataModule
from data_modules.checks.result import CheckResult, examine_rows
from data_modules.images.folder import SUFFIXES
from data_modules.text.answers import twins
from data_modules.text.question_files import read_records
from data_modules.vqa_rad import VQARADDataModule

FILES = {"trainset.json": "train", "valset.json": "val", "testset.json": "test"}
FIELDS = ("qid", "image_name", "question", "answer", "answer_type", "phrase_type")
OFFICIAL = {"train": 3064, "test": 451}


def examine(data: DataModule, result: CheckResult) -> pd.DataFrame | None:
    """One row per question of both official splits, whatever the protocol; an image stands for its patient."""
    assert isinstance(data, VQARADDataModule)
    root = data.root
    if not (root / "trainset.json").exists():  # the public JSON or the hub form
        return examine_rows(data, result)
    data.read_index()  # raises what would stop a run
    there = {name: split for name, split in FILES.items() if name != "valset.json" or (root / name).is_file()}
    records = {split: read_records(root / name, FIELDS, result.left_out) for name, split in there.items()}
    parts = [pd.DataFrame(own, columns=list(FIELDS)).assign(split=split) for split, own in records.items()]
    frame = pd.concat(parts, ignore_index=True)
    result.counts |= {f"{split} questions": int(n) for split, n in frame["split"].value_counts().items()}
    for split, official in OFFICIAL.items():
        if (count := int((frame["split"] == split).sum())) != official:
            result.add("info", "counts", f"{count:,} {split} questions, officially {official:,}")
    _quirks(frame, result)
    _leaks(frame, result)
    frame = data.located(frame.assign(id=frame["qid"].astype(str), patient=frame["image_name"]))
    folder, used = Path(frame["image"].iloc[0]).parent, set(frame["image_name"])
    unused = [p.name for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES and p.name not in used]
    result.found("info", "unused image", unused, "no question is about it")
    return frame.assign(study=frame["id"])[["id", "patient", "study", "split", "image"]]


def _quirks(frame: pd.DataFrame, result: CheckResult) -> None:
    names = frame["split"] + " qid " + frame["qid"].astype(str) + ": " + frame["answer"].map(repr)
    result.found("info", "answer that is no text", names[~frame["answer"].map(lambda a: isinstance(a, str))], "read it")
    texts = frame["answer"].astype(str)
    result.found("info", "answer with tabs or edge spaces", names[texts != texts.map(_squeezed)], "squeeze it")
    kinds = frame["answer_type"].astype(str)
    result.found("info", "answer type with spaces", names[kinds != kinds.str.strip()], "strip it")


def _leaks(frame: pd.DataFrame, result: CheckResult) -> None:
    text, answer = (frame[name].map(lambda value: _squeezed(str(value)).lower()) for name in ("question", "answer"))
    plain = frame.assign(patient=frame["image_name"], text=text, answer=answer)
    train, test = plain[plain["split"] == "train"], plain[plain["split"] == "test"]
    framed = train["phrase_type"] == "frame"
    if framed.any():
        result.add("warning", "frame questions", f"{int(framed.sum()):,} of {len(train):,} training questions are "
                   "`frame` questions, made of others: leave them out of training")  # fmt: skip
    every, others = (twins(test, kept).dropna() for kept in (train, train[~framed]))
    asked = test["qid"].astype(str).str.cat(test["text"].astype(str), sep=": ").to_dict()
    listed = [f"qid {asked[row]} ~ {twin}" for row, twin in every.items()]
    framed_only = len(every.index.difference(others.index))
    result.found("error", "test question with a twin in training (same image and answer)", listed,
                 f"{framed_only} only through frame questions; leave those out")  # fmt: skip
    for kept, name in ((train, "all training questions"), (train[~framed], "training questions without frame")):
        unseen = ~test["answer"].isin(kept["answer"])
        result.add("info", "answers", f"{int(unseen.sum())} test answers are in none of {name}: no classifier "
                   f"over their {kept['answer'].nunique()} answers can give them")  # fmt: skip


def _squeezed(text: str) -> str:
    return " ".join(text.split())
