"""Tables, names and lists of the kinds that broke readers, written here."""

import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from data_modules.errors import UserError
from data_modules.index.faulty import drop_faulty
from data_modules.index.files import existing_file, files_below
from data_modules.index.pair_tables import label_columns_to_numbers, read_pairs
from data_modules.index.partners import partners
from data_modules.index.tables import read_table
from data_modules.index.words import count_words


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a,b\n1,2\n3,4,5\n", r"found 3 fields in row 3, expected 2 as in the header"),
        ('a,b\n1,"two\nlines"\n\n3\n', r"found 1 fields in row 3 \(line 5\), expected 2"),
        ('a,b\n1,"x\n2,y\n3,"z"\n', r"broken CSV in row 2 \(lines 2 to 4"),
        ("a,b,a\n1,2,3\n", r"found column a 2 times in the header"),
        ("", "found an empty table"),
        ("\n,,\n", "found an empty table"),
    ],
)
def test_error_shape(text: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=line):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "raw",
    [
        b"a,b\n1,2\n",
        b"a;b\r\n1;2\r\n",
        b"a\tb\n1\t2\n",
        b"a,b\r1,2\r",
        b"\xef\xbb\xbfa, b,\n1 , 2,\n,,\n\n",
        b"a,b," + b"x" * 200_000 + b"\n1,2,3\n",
    ],
)
def test_value_separators_and_blank_rows(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(raw)
    assert read_table(tmp_path / "t.csv", ["a", "b"]).to_numpy().tolist() == [["1", "2"]]


def test_value_ids_of_floating_point_columns(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"image": ["a", "b"], "patient": [10003.0, None], "caption": [["No effusion.", "Clear."], None]}
    )
    table.to_parquet(tmp_path / "pairs.parquet")
    _, found = read_pairs(tmp_path, None)
    assert found["patient"].tolist()[0] == "10003" and found["caption"].tolist()[0] == "No effusion. Clear."
    table.assign(patient=[1284567890123456001.0, None]).to_parquet(tmp_path / "pairs.parquet")
    with pytest.raises(UserError, match=r"row 1, column patient is \d+ as a floating-point number"):
        read_pairs(tmp_path, None)


@pytest.mark.parametrize("value", ["2", "0.5", "inf", "nan", "-1"])
def test_error_labels(value: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(f"image,a,b\nx,1,\ny,0,{value}\n")
    path, table = read_pairs(tmp_path, None)
    with pytest.raises(UserError, match=rf"found '{value}' in row 3, column b, expected 1, 0 or blank"):
        label_columns_to_numbers(path, table, ["a", "b"])


def test_value_names(tmp_path: Path) -> None:
    composed, split = (unicodedata.normalize(form, "Größe.png") for form in ("NFC", "NFD"))
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / split).touch()
    (tmp_path / "real" / f"._{split}").touch()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    assert existing_file([tmp_path], f"real\\{composed}") == tmp_path / "real" / split
    assert [path.name for path in files_below(tmp_path / "linked", [".png"])] == [split]
    assert partners([f"a/{composed}"], [f"a/{split}"], "masks") == [0]
    assert partners(["s.png", "s.jpg"], ["s.jpg", "s.png"], "masks") == [1, 0]
    with pytest.raises(UserError, match=r"found images s\.png and s\.jpg and of masks only s\.tif"):
        partners(["s.png", "s.jpg"], ["s.tif"], "masks")


def test_value_words_of_scripts_without_spaces() -> None:
    assert count_words("双肺纹理清晰, no change") == 8 and count_words("No pleural effusion.") == 3


def test_value_a_few_faulty_records() -> None:
    dropped: dict[str, int] = {}

    def few(problems: int, total: int, kind: str) -> list[int]:
        rows = pd.Series(range(total))
        return drop_faulty(rows, rows < problems, lambda place: f"row {place + 7}", kind, dropped.__setitem__).tolist()

    assert few(1, 5, "blank") == [1, 2, 3, 4] and few(10, 1000, "blank answer") == list(range(10, 1000))
    assert dropped == {"blank": 1, "blank answer": 10}
    for problems, total in ((2, 5), (11, 1000), (1, 1)):
        with pytest.raises(UserError, match="row 7"):
            few(problems, total, "blank")
