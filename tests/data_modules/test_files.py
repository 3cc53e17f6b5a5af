"""Files are written whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from full_disk import full_disk

from data_modules.errors import UserError
from data_modules.files import whole_file, write_whole


@pytest.fixture(name="full_disk")
def on_a_full_disk() -> Iterator[None]:
    """No file can become larger than 1000 bytes."""
    with full_disk(1000):
        yield


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_value_content_and_nothing_beside(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b.txt", "größer\n")
    write_whole(tmp_path / "a" / "b.txt", "größer als\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "größer als\n".encode()
    assert names(tmp_path / "a") == ["b.txt"]


@pytest.mark.usefixtures("full_disk")
def test_error_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    path.write_text("before")
    with pytest.raises(
        UserError, match=rf"^{path} could not be written \(File too large\); the file of before stays\."
    ):
        write_whole(path, "x" * 2000)
    assert path.read_text() == "before" and names(tmp_path) == ["b.txt"]
    with pytest.raises(UserError, match=r"new\.txt could not be written \(File too large\)\. Make room"):
        write_whole(tmp_path / "new.txt", "x" * 2000)
    assert names(tmp_path) == ["b.txt"]


def test_error_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(UserError, match=r"b\.txt could not be written \("):
        write_whole(tmp_path / "b.txt", "x")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/b\.txt could not be written \("):
        write_whole(tmp_path / "file" / "b.txt", "x")


def test_value_an_error_of_the_writer_keeps_its_kind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "b.txt") as partial:
        partial.write_text("half")
        _ = 1 / 0
    assert names(tmp_path) == []


def test_value_links_are_replaced_and_never_followed(tmp_path: Path) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.mkdir(), run.mkdir()
    (outside / "precious.txt").write_text("precious")
    (run / "b.txt").symlink_to(outside / "precious.txt")
    write_whole(run / "b.txt", "mine", within=run)
    assert (outside / "precious.txt").read_text() == "precious" and (run / "b.txt").read_text() == "mine"
    (run / "pictures").symlink_to(outside)
    with pytest.raises(UserError, match=r"run/pictures is a link out of .*run \(to .*outside\)"):
        write_whole(run / "pictures" / "precious.txt", "mine", within=run)
    assert (outside / "precious.txt").read_text() == "precious"
    write_whole(run / "pictures" / "other.txt", "allowed where no folder is named")
