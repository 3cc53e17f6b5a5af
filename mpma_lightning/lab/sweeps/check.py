"""Reads every line of a sweep with the subcommands' own parser, before the first one runs."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_modules.errors import UserError
from mpma_lightning.cli.training import CommandReader
from mpma_lightning.lab.sweeps.trial import Slot, Step, Trial
from mpma_lightning.runs.identity import config_sha256


class Checked:
    """The effective config of every step. Lines that differ in seed, run folder and start only are read once, with
    random words in the places of these, which are then replaced in the text of the config.
    """

    def __init__(self) -> None:
        self._readers: dict[str, CommandReader] = {}
        self._kinds: dict[tuple[str | Slot, ...], str] = {}
        self._marks = {Slot.SEED: str(2**30 + secrets.randbelow(2**30))}
        self._marks |= {slot: f"{slot.name.lower()}-{secrets.token_hex(8)}" for slot in (Slot.RUN, Slot.START)}

    def complete(self, trials: Sequence[Trial], where: str) -> list[Trial]:
        """``trials`` with the hash that each record must have.

        Raises:
            UsageError, UserError: a line that its subcommand would refuse, with the trial's name.
        """
        from rich.progress import track  # after lightning, whose Union[int, float] would else be read float first

        few = len({step.words for trial in trials for step in trial.steps} - set(self._kinds)) < 2
        made = []
        for trial in track(trials, "Reading every command line", transient=True, disable=few):
            try:
                hashes = [config_sha256(self.settings(trial, step), step.subcommand) for step in trial.steps]
            except UserError as error:
                raise type(error)(f"{where}: {trial.id}: {error}") from None
            steps = tuple(replace(step, config_sha256=sha) for step, sha in zip(trial.steps, hashes, strict=True))
            made.append(replace(trial, steps=steps))
        return made

    def settings(self, trial: Trial, step: Step) -> dict[str, Any]:
        """The effective config of a step, plain types."""
        if step.words not in self._kinds:
            words = [self._marks[word] if isinstance(word, Slot) else word for word in step.words]
            self._kinds[step.words] = json.dumps(self._read(words), default=str)
        text = self._kinds[step.words]
        for slot, value in trial.values().items():
            text = text.replace(self._marks[slot], json.dumps(value)[1:-1])
        settings: dict[str, Any] = json.loads(text)
        return settings

    def _read(self, words: list[str]) -> dict[str, Any]:
        if words[0] not in self._readers:
            self._readers[words[0]] = CommandReader(words[0])
        return self._readers[words[0]].settings(words)

    def check_files(self, trials: Sequence[Trial]) -> None:
        """UserError for data folders and given checkpoints that do not exist."""
        for trial in trials:
            for step in trial.steps:
                data = (self.settings(trial, step).get("data") or {}).get("init_args") or {}
                for key, value in data.items():
                    if key.endswith("root") and isinstance(value, str) and not Path(value).exists():
                        raise UserError(f"{trial.id}: data.{key} {value} does not exist; paths count from {Path.cwd()}")
            if trial.start and not trial.after and not Path(trial.start).exists():
                raise UserError(f"{trial.id}: checkpoint {trial.start} does not exist")
