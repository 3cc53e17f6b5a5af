"""Answers to questions as JSON lines."""

import json
from typing import Any

from data_modules.files import write_whole
from mpma_lightning.predictions.writer import PredictionWriter


class AnswerWriter(PredictionWriter):
    """Writes id, question, prediction, and the most likely answers with their probabilities."""

    def write(self, rows: list[dict[str, Any]]) -> str:
        write_whole(self.path, "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in rows))
        return f"{len(rows)} answers in {self.path}"
