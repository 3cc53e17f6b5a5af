"""Content of files as dataclasses: what is refused, and what stays as it is."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from data_modules.errors import UsageError
from mpma_lightning.cli.parse import parsed


@dataclass
class Kind:
    name: str
    number: float = 1.0
    word: Literal["last", "best"] | None = None
    values: dict = field(default_factory=dict)
    class_path: str = ""


def test_value_types_defaults_and_null() -> None:
    values = {"a.b": "1e-3", "c": ["on", None, "{x: 1}"], "d": {"e": "null"}}
    kind = parsed(Kind, {"name": "12", "number": 3, "word": None, "values": values}, "file")
    assert kind == Kind("12", 3.0, None, {"a.b": "1e-3", "c": ["on", None, "{x: 1}"], "d": {"e": "null"}})
    assert parsed(Kind, {"word": "best"}, "file", name="given") == Kind("given", word="best")
    assert parsed(Kind, {"name": "a"}, "file").values is not parsed(Kind, {"name": "a"}, "file").values


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"name": "a", "nubmer": 1}, "file: unknown key 'nubmer'; did you mean 'number'?"),
        ({"name": "a", "class_path": "os.system", "init_args": {}}, "file: unknown key 'init_args'"),
        ({"number": 1}, "file: missing: name"),
        ({"name": None}, "file: missing: name"),
        ({"name": "a", "number": "many"}, "file: number: expected a number, got 'many'"),
        ({"name": "a", "word": "bset"}, "file: word: unknown choice 'bset'; did you mean 'best'?"),
        ({"name": "a", "values": [1]}, "file: values: expected a mapping, got '[1]'"),
        ({"name": "a", "number": "3"}, "file: number: found the text '3' where a value of another type belongs"),
        ({"name": "a", "values": "x: 3"}, "file: values: found the text 'x: 3'"),
        ({"name": "a", 3: 4}, "file: unknown key 3"),
        (["name"], "file: expected `key: value` lines, found ['name']"),
    ],
)
def test_error_content(content: Any, says: str) -> None:
    with pytest.raises(UsageError) as error:
        parsed(Kind, content, "file")
    assert str(error.value).startswith(says)
