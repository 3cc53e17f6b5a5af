"""Which weights a command that evaluates takes where none are named."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mpma_lightning.runs.choice import checkpoint_to_evaluate

BEST, LAST = Path("run/checkpoints/best.ckpt"), Path("run/checkpoints/last.ckpt")


@pytest.mark.parametrize(("last", "best", "expected"), [(LAST, BEST, BEST), (LAST, None, LAST), (None, None, None)])
@pytest.mark.parametrize("starts_from", [None, "runs/pretraining"])
def test_value_what_the_run_has_trained_comes_before_what_it_started_from(
    last: Path | None, best: Path | None, expected: Path | None, starts_from: str | None
) -> None:
    run: Any = SimpleNamespace(last=lambda: last, best=lambda: best)
    assert checkpoint_to_evaluate(run, None, starts_from, "test") == expected
