"""A store that was prepared before the code was rearranged still loads, pixel by pixel.

``made_before`` holds four images of 20 x 24 pixels, value 10 x + y + 7 n modulo 256, as raw pixels.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_modules.checks import check
from data_modules.errors import UserError
from data_modules.images.source import image_source
from data_modules.pairs import PairsDataModule

MADE_BEFORE = Path(__file__).parent / "made_before"


def test_value_rows_and_images(tmp_path: Path) -> None:
    store = shutil.copytree(MADE_BEFORE, tmp_path / "store")
    data = PairsDataModule(str(store), label_columns=["sick"], image_size=16, num_workers=0)
    data.setup()
    assert data.index is not None and data.spec.counts == {"train": 2, "val": 1, "test": 1}
    assert data.spec.manifest_hash == "c1d273b87ba71eb34f15adc46dc1e49dca005bf90293ea01ca3b0d3f72e420a5"
    assert data.spec.classes == ["sick"] and data.index["sick"].tolist() == [1, 0, 1, 0]
    rows, columns = np.mgrid[:24, :20]
    for reference, name in zip(data.index["image"], data.index["id"], strict=True):
        expected = (columns * 10 + rows + 7 * int(name[0])).astype(np.uint8)
        assert (image_source(reference).read() == expected).all() and image_source(reference).size() == (20, 24)
    assert data.samples("test")[0]["image"].shape == (1, 16, 16)
    result = check("pairs", store, PairsDataModule(str(store), label_columns=["sick"]), decode_all=True)
    assert not [finding for finding in result.findings if finding.severity == "error"]


def test_error_other_arguments() -> None:
    with pytest.raises(UserError, match=r"was prepared with label_columns \['sick'\], found data.label_columns \[\]"):
        PairsDataModule(str(MADE_BEFORE)).setup()


class LaterDataModule(PairsDataModule):
    """Pairs, with an argument that did not exist when the store was made."""

    def __init__(self, root: str, reader: str = "first", **more: Any) -> None:
        super().__init__(root, **more)
        self.reader = reader


def test_value_and_error_an_option_that_came_later(tmp_path: Path) -> None:
    store = shutil.copytree(MADE_BEFORE, tmp_path / "store")
    manifest = json.loads((store / "manifest.json").read_text()) | {"module": "LaterDataModule"}
    (store / "manifest.json").write_text(json.dumps(manifest))
    data = LaterDataModule(str(store), label_columns=["sick"])
    data.setup()
    assert data.spec.counts == {"train": 2, "val": 1, "test": 1}
    with pytest.raises(UserError, match=r"was prepared with reader 'first', found data.reader 'second'"):
        LaterDataModule(str(store), reader="second", label_columns=["sick"]).setup()
