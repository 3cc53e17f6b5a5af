"""What a new user reads: the help of every command."""

import pytest

from data_modules.catalogue import DATA_MODULES
from mpma_lightning.cli.main import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_value_help_is_for_users(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert main([name, "--help"]) == 0
    except SystemExit as leaving:  # argparse's own
        assert leaving.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: python -m mpma_lightning")
    if name in ("check", "prepare", "split"):
        assert all(f"{known} ({kind})" in " ".join(shown.split()) for known, kind in DATA_MODULES.items())
    assert "Raises:" not in shown and "{}" not in shown.splitlines()
