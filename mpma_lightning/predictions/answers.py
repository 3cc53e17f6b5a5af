"""Answers to questions as JSON lines."""

import json
from typing import Any

from data_modules.files import write_whole
from mpma_lightning.predictions.writer import PredictionWriter


class AnswerWriter(PredictionWriter):
    """Writes id, question, prediction, and the most likely answers with their probabilities."""

    def __init__(self, file: str = "answers.jsonl") -> None:
        self.file = file
        self.answers: list[dict[str, Any]] = []

    def add(self, prediction: dict[str, Any]) -> None:
        rows = zip(*prediction.values(), strict=True)
        self.answers += [dict(zip(prediction, values, strict=True)) for values in rows]

    def held(self) -> list[dict[str, Any]]:
        return self.answers

    def write(self, ranks: list[list[dict[str, Any]]]) -> str:
        answers = [answer for rank in ranks for answer in rank]
        write_whole(self.path, "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers))
        return f"{len(answers)} answers in {self.path}"
