"""``experiments init``: the shipped experiments as files of one's own."""

from pathlib import Path

import pytest

from data_modules.yaml_files import read_yaml
from mpma_lightning.cli import config_files
from mpma_lightning.cli.main import main

SHIPPED = Path(__file__).parents[3] / "experiments"


def test_every_experiment_is_copied_and_nothing_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["experiments", "init"]) == 0
    files = {path.relative_to(SHIPPED) for path in SHIPPED.rglob("*") if path.is_file()}
    assert files == {path.relative_to("experiments") for path in Path("experiments").rglob("*") if path.is_file()}
    assert f"{sum(path.suffix == '.yaml' for path in files)} experiments" in capsys.readouterr().out
    assert read_yaml(Path("experiments/defaults.yaml")) == read_yaml(SHIPPED / "defaults.yaml")
    Path("experiments/mine.yaml").write_text("a: 1")
    assert main(["experiments", "init"]) == 1
    assert "nothing is overwritten" in capsys.readouterr().err
    assert main(["experiments", "init", "--out", "other"]) == 0


def test_an_installed_package_holds_its_experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As setup.py puts them: inside of the package, with no checkout around it."""
    inside = tmp_path / "site-packages" / "mpma_lightning" / "experiments"
    inside.mkdir(parents=True)
    (inside / "defaults.yaml").write_text("trainer: {}")
    monkeypatch.setattr(config_files, "__file__", str(inside.parent / "cli" / "config_files.py"))
    assert config_files.experiments_folder() == inside
