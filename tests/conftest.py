"""Fixtures of all tests: the folder of real sample data, which is optional and never copied."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The real samples: ``MPMA_SAMPLE_DATA``, default ``../shared/data`` beside the repository; skips without them."""
    folder = Path(os.environ.get("MPMA_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"sample data not found at {folder}; set MPMA_SAMPLE_DATA")
    return folder
