"""A config of somebody else runs no code of theirs unless it is trusted."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from toy_run import EXPERIMENT, toy, write

from data_modules.errors import UsageError
from mpma_lightning.cli.config_files import check_config_files
from mpma_lightning.cli.main import main

pytestmark = pytest.mark.usefixtures("toy")
EVIL = "from pathlib import Path\nPath('ran').touch()\nclass Logger: ...\n"


@pytest.fixture(autouse=True)
def distrust(monkeypatch: pytest.MonkeyPatch, toy: Path) -> None:
    monkeypatch.setenv("MPMA_TRUST", "")
    monkeypatch.syspath_prepend(str(toy))
    write("evil_logger.py", EVIL)


@pytest.mark.parametrize(
    "text",
    [
        "trainer: {logger: {class_path: evil_logger.Logger}}",
        "trainer: {logger: evil_logger.Logger}",
        "trainer: {callbacks+: [evil_logger.Logger]}",
        "trainer: {callbacks+: [{class_path: evil_logger.Logger}]}",
        "model: evil_logger.Logger",
        "data: part.yaml",
    ],
)
def test_error_another_package(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("part.yaml", "class_path: evil_logger.Logger")
    write("a.yaml", EXPERIMENT)
    write("b.yaml", text)
    assert main(["fit", "--config", "a.yaml", "--config", "b.yaml"]) == 2
    assert "class 'evil_logger.Logger' would import the package 'evil_logger'" in capsys.readouterr().err
    assert not Path("ran").exists()
    assert main(["fit", "--config", "a.yaml", "--config", "b.yaml", "--trust"]) != 0  # it is no class of that kind
    assert Path("ran").exists() or "evil_logger" in capsys.readouterr().err


def test_error_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.yaml", EXPERIMENT.replace("root: here", "root: '${oc.env:HOME}'"))
    assert main(["fit", "--config", "a.yaml"]) == 2
    assert "reads what is outside the config; --trust allows it" in capsys.readouterr().err
    assert main(["fit", "--config", "a.yaml", "--trust"]) == 0


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)


@given(content=st.binary(max_size=200) | VALUES.map(lambda value: yaml.safe_dump(value).encode()))
def test_error_any_bytes_are_read_or_refused_in_one_line(content: bytes, toy: Path) -> None:
    path = toy / "any.yaml"
    path.write_bytes(content)
    try:
        check_config_files([path])
    except UsageError as error:
        assert str(path) in str(error) and "\n" not in str(error)


__all__ = ["toy"]
