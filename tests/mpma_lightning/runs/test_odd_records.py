"""The record of a run and what its checkpoint says of it, with any content: a value, or one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data_modules.errors import UserError
from mpma_lightning.runs.folder import Run
from mpma_lightning.runs.identity import check_continues, check_same_split, recorded

SETTINGS: dict[str, Any] = {
    "seed_everything": 0,
    "model": {"class_path": "T", "init_args": {"backbone": {"name": "mpma_vit_t16"}}},
    "data": {"class_path": "D", "init_args": {"root": "here", "split_file": "a.csv", "seed": 0}},
}
NAMES = st.sampled_from(
    ["seed_everything", "model", "data", "class_path", "init_args", "backbone", "image", "text", "root", "split_file"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("D"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def one_line(error: UserError) -> bool:
    return "\n" not in str(error)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of a version that did not write the settings of the data into checkpoints."""
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    torch.save({"global_step": 1, "state_dict": {}}, path)
    return path


@given(content=st.binary(max_size=80) | VALUES.map(lambda value: yaml.safe_dump(value).encode()))
def test_error_any_record_is_compared_or_refused(content: bytes, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(UserError) as found:  # no such record is that of SETTINGS
        check_continues(Run(tmp_path), SETTINGS, dict, sizes_are_known=False)
    assert one_line(found.value)
    try:
        check_same_split(checkpoint, SETTINGS)
    except UserError as error:
        assert one_line(error)


@pytest.mark.parametrize("callbacks", [None, [], "x", {"RunRecord": []}, {"RunRecord": None}, {}])
def test_value_odd_states_of_a_checkpoint_say_nothing(callbacks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"global_step": 1, "state_dict": {}, "callbacks": callbacks}, path)
    assert recorded(path) == {}


def test_value_a_path_that_cannot_exist_is_another_path(checkpoint: Path, tmp_path: Path) -> None:
    text = yaml.safe_dump({**SETTINGS, "data": {**SETTINGS["data"], "init_args": {"root": "here", "split_file": "\0"}}})
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match="was fitted on another split"):
        check_same_split(checkpoint, SETTINGS)
