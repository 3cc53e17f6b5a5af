"""Of all tests: the folder of real sample data, which is optional and never copied, and hypothesis' two profiles."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]

_COMMON = {
    "deadline": None,  # machines differ
    "database": None,  # no files beside the code
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
settings.register_profile("few", max_examples=25, derandomize=True, **_COMMON)
settings.register_profile("many", max_examples=400, **_COMMON)
settings.load_profile("few")  # `make test-full` asks for the other with --hypothesis-profile=many


@pytest.fixture(scope="session")
def sample_cases() -> Path:
    """Small files that broke readers: ``MPMA_SAMPLE_CASES``, default ``../shared/cases``; skips without them."""
    folder = Path(os.environ.get("MPMA_SAMPLE_CASES", ROOT.parent / "shared" / "cases"))
    if not folder.is_dir():
        pytest.skip(f"sample cases not found at {folder}; set MPMA_SAMPLE_CASES")
    return folder


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The real samples: ``MPMA_SAMPLE_DATA``, default ``../shared/data`` beside the repository; skips without them."""
    folder = Path(os.environ.get("MPMA_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"sample data not found at {folder}; set MPMA_SAMPLE_DATA")
    return folder
