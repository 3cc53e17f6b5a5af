"""Damage to a checkpoint file is noticed, to the bit."""

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_modules.errors import UserError
from mpma_lightning.backbones.checkpoint import read_checkpoint
from mpma_lightning.backbones.seal import damage
from mpma_lightning.backbones.tensor_files import read_file
from mpma_lightning.runs.checkpoints import AtomicCheckpointIO

STATE = {"global_step": 7, "state_dict": {f"layer{n}": torch.arange(9.0) + n for n in range(3)}}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sealed") / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint(STATE, path)
    return path.read_bytes()


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_value_a_sealed_file_reads_as_any_other(sealed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(sealed)
    assert damage(path) is None
    for mmap in (False, True):
        found = torch.load(path, weights_only=True, mmap=mmap)
        assert found["global_step"] == 7
        assert all(torch.equal(found["state_dict"][n], value) for n, value in STATE["state_dict"].items())  # type: ignore[attr-defined]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.full
def test_error_every_single_bit_of_a_small_file(sealed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    unnoticed = []
    for bit in range(len(sealed) * 8):
        path.write_bytes(flipped(sealed, bit))
        if damage(path) is None:
            unnoticed.append(bit)
    assert not unnoticed


@pytest.mark.parametrize("place", range(20))
def test_error_one_bit_in_each_of_twenty_places(place: int, sealed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    part = len(sealed) * 8 // 20
    path.write_bytes(flipped(sealed, random.Random(place).randrange(place * part, (place + 1) * part)))
    with pytest.raises(UserError, match=r"a\.ckpt cannot be read \("):
        read_file(path, mmap=True)


def test_error_a_changed_tensor_of_a_file_without_a_seal(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(STATE, path)
    assert damage(path) is None
    content = path.read_bytes()
    place = content.index(STATE["state_dict"]["layer2"].numpy().tobytes())  # type: ignore[index]
    path.write_bytes(flipped(content, place * 8 + 3))
    assert torch.load(path, weights_only=True), "torch alone does not notice"
    assert "check sum" in str(damage(path))


@given(noise=st.binary(max_size=300), place=st.integers(0, 10_000), alone=st.booleans())
def test_error_any_bytes_are_read_or_refused_in_one_line(
    noise: bytes, place: int, alone: bool, sealed: bytes, tmp_path: Path
) -> None:
    path, place = tmp_path / "a.ckpt", place % len(sealed)
    content = noise if alone else sealed[:place] + noise + sealed[place + len(noise) :]
    path.write_bytes(content)
    try:
        read_checkpoint(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert content == sealed
