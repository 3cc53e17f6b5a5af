"""Texts of a table for a tokeniser: the column that is named, else the first usual one."""

from pathlib import Path

import pytest

from data_modules.errors import UserError
from data_modules.text.text_files import read_texts


def test_value_and_error_column(tmp_path: Path) -> None:
    table = tmp_path / "reports.csv"
    table.write_text("path,befund,text\na.png,Kein Erguss.,No effusion.\n")
    assert list(read_texts(table)) == ["No effusion."] and list(read_texts(table, "befund")) == ["Kein Erguss."]
    with pytest.raises(UserError, match=r"no column befunt \(nearest: befund\)"):
        list(read_texts(table, "befunt"))
    table.write_text("path,befund\na.png,Kein Erguss.\n")
    with pytest.raises(UserError, match="name the one of the texts with --column"):
        list(read_texts(table))
    lines = tmp_path / "reports.txt"
    lines.write_text("No effusion.\n")
    with pytest.raises(UserError, match=r"reports\.txt is not a table, and has no column text; leave --column out"):
        read_texts(lines, "text")
