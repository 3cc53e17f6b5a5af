"""Reads every line of a sweep with the subcommands' own parser, before the first one runs."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data_modules.errors import UsageError, UserError
from mpma_lightning.cli.training import CommandReader
from mpma_lightning.lab.sweeps.trial import Step, Trial, read_row
from mpma_lightning.runs.identity import config_sha256


class Checked:
    """The effective config of every step; lines that differ in seed, run folder and start only are read once.

    Raises:
        UsageError, UserError: a line that its subcommand would refuse, with the trial's name.
    """

    def __init__(self, trials: Iterable[Trial], where: str = "sweep") -> None:
        self._readers: dict[str, CommandReader] = {}
        self._settings: dict[tuple[str, ...], str] = {}
        self.read(trials, where)

    def read(self, trials: Iterable[Trial], where: str = "sweep") -> None:
        """Read the lines that have not been read yet."""
        from rich.progress import track  # after lightning, whose Union[int, float] would else be read float first

        lines = {step.words: trial for trial in trials for step in trial.steps if step.words not in self._settings}
        title = f"Checking {len(lines)} kinds of command line"
        for words, trial in track(lines.items(), title, transient=True, disable=len(lines) < 2):
            try:
                self._settings[words] = json.dumps(self._read(words), default=str)
            except UsageError as error:
                raise UsageError(f"{where}: {trial.id}: {error}") from None
            except UserError as error:
                raise UserError(f"{where}: {trial.id}: {error}") from None

    def _read(self, words: tuple[str, ...]) -> dict[str, Any]:
        if words[0] not in self._readers:
            self._readers[words[0]] = CommandReader(words[0])
        return self._readers[words[0]].settings(words)

    def settings(self, trial: Trial, step: Step) -> dict[str, Any]:
        """The effective config of a step; its run folder is called RUN."""
        filled: dict[str, Any] = json.loads(trial.fill(self._settings[step.words]))
        return filled

    def row(self, trial: Trial, step: Step) -> dict[str, Any] | None:
        """The valid result row of a step: whole, and of this very config."""
        row = read_row(trial.folder / step.row_name)
        return row if row and row["config_sha256"] == self.config_sha256(trial, step) else None

    def config_sha256(self, trial: Trial, step: Step) -> str:
        """What the result row of a step must say."""
        return config_sha256(self.settings(trial, step), step.words[0])

    def check_files(self, trials: Iterable[Trial]) -> None:
        """UserError for data folders and given checkpoints that do not exist."""
        for trial in trials:
            for step in trial.steps:
                settings = self.settings(trial, step)
                data = (settings.get("data") or {}).get("init_args") or {}
                for key, value in data.items():
                    if key.endswith("root") and isinstance(value, str) and not Path(value).exists():
                        raise UserError(f"{trial.id}: data.{key} {value} does not exist; paths count from {Path.cwd()}")
            if trial.start and not trial.after and not Path(trial.start).exists():
                raise UserError(f"{trial.id}: checkpoint {trial.start} does not exist")
