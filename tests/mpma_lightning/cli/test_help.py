"""What a new user reads: the help of every command."""

import pytest

from mpma_lightning.cli.main import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_value_help_is_for_users(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert main([name, "--help"]) == 0
    except SystemExit as leaving:  # argparse's own
        assert leaving.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: python -m mpma_lightning")
    assert "Raises:" not in shown and "{}" not in shown.splitlines()
