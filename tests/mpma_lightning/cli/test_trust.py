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
from mpma_lightning.lab.sweeps.plan import read_sweep

pytestmark = pytest.mark.usefixtures("toy")
EVIL = "from pathlib import Path\nPath('ran').touch()\nclass Logger: ...\n"


@pytest.fixture(autouse=True)
def evil(monkeypatch: pytest.MonkeyPatch, toy: Path) -> None:
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
    assert "reads the environment of this machine; --trust allows it" in capsys.readouterr().err
    assert main(["fit", "--config", "a.yaml", "--trust"]) == 0


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("trainer.logger: evil_logger.Logger", "would import the package 'evil_logger'"),
        ("trainer.logger: '{class_path: evil_logger.Logger}'", "would import the package 'evil_logger'"),
        ("config: '{trainer: {logger: evil_logger.Logger}}'", "would import the package 'evil_logger'"),
        ("data.root: '${oc.env:HOME}'", "reads the environment"),
        ("trainer.max_steps: 3", ""),
    ],
)
def test_error_a_sweep_is_trusted_as_its_configs_are(
    setting: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.yaml", f"# fit\n{EXPERIMENT}")
    write("sweep.yaml", f"stages: {{only: {{experiment: a.yaml, set: {{{setting}}}}}}}")
    assert main(["sweep", "sweep.yaml", "--print-commands"]) == (2 if told else 0)
    assert told in capsys.readouterr().err and not Path("ran").exists()


def test_value_the_runs_of_a_trusted_sweep_are_trusted() -> None:
    write("a.yaml", f"# fit\n{EXPERIMENT}")
    write("b.yaml", "trainer: {logger: evil_logger.Logger}")
    path = Path(write("sweep.yaml", "stages: {only: {experiment: [b.yaml, a.yaml]}}"))
    with pytest.raises(UsageError, match="would import the package"):
        read_sweep(path)
    (trial,) = read_sweep(path, trusted=True).trials
    assert trial.words(trial.steps[0])[-1] == "--trust" and trial.command().endswith(" --trust")
    write("own.yaml", "trusted: true\nstages: {only: {experiment: a.yaml}}")
    with pytest.raises(UsageError, match="unknown key 'trusted'"):
        read_sweep(Path("own.yaml"))
    (trial,) = read_sweep(Path(write("plain.yaml", "stages: {only: {experiment: a.yaml}}"))).trials
    assert "--trust" not in trial.words(trial.steps[0])


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
