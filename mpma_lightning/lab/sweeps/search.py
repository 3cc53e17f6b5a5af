"""A sweep as a search: Optuna proposes, and every trial is an ordinary command run as any other."""

import json
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import optuna
from distributed import Future, wait
from optuna.pruners import MedianPruner, NopPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from data_modules.errors import UsageError, UserError
from data_modules.index.hashing import stable_hash
from mpma_lightning.cli.parse import parsed
from mpma_lightning.lab.events import read_curves
from mpma_lightning.lab.program import LOG
from mpma_lightning.lab.sweeps.plan import Sweep, as_word, check_own
from mpma_lightning.lab.sweeps.runner import Runner
from mpma_lightning.lab.sweeps.task import Outcome
from mpma_lightning.lab.sweeps.trial import Step, Trial

LOOK = 5.0
"""Seconds between looks at the curves of what runs."""


@dataclass
class Options:
    """``search:`` of a sweep file with one trial.

    Attributes:
        metric: of validation, such as ``val/zero_shot_auroc``; the last value of a run counts. Never of test.
        space: dotted key to ``{low, high}`` (with ``log: true``, or whole numbers) or to a list of values.
        trials: how many.
        direction: ``maximize`` or ``minimize``.
        pruning: ``median`` stops a trial whose metric is below the median of the others at its step; or ``none``.
        startup: trials before anything is pruned.
        seed: of the proposals.
    """

    metric: str
    space: dict
    trials: int = 20
    direction: Literal["maximize", "minimize"] = "maximize"
    pruning: Literal["median", "none"] = "median"
    startup: int = 5
    seed: int = 0


class Search:
    """Args:
        sweep: with ``search`` and one trial.
        complete: reads the lines of trials, and returns these with the hashes of their configs.
        storage: an Optuna URL or a journal file; ``None`` is ``<runs>/journal.log``, which needs no server.

    Raises:
        UsageError: ``search`` is not as it should be, or an end of a range is refused by the command.
    """

    def __init__(self, sweep: Sweep, complete: Callable[[Sequence[Trial]], list[Trial]], storage: str | None) -> None:
        self.sweep, self._complete, self.options = sweep, complete, _options(sweep)
        (self.base,) = complete(sweep.trials)
        space = self.options.space
        self.space = {key: _distribution(spec, f"{sweep.path}: search.space.{key}") for key, spec in space.items()}
        complete([self._trial(i, {key: _ends(spec)[i] for key, spec in space.items()}) for i in (0, 1)])
        self.study = self._study(storage)
        self._pruned: set[str] = set()

    def _study(self, storage: str | None) -> Any:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        where: Any = storage or str(self.sweep.runs / "journal.log")
        if "://" not in where:
            Path(where).parent.mkdir(parents=True, exist_ok=True)
            where = JournalStorage(JournalFileBackend(where))
        median = self.options.pruning == "median"
        study = optuna.create_study(
            storage=where,
            study_name=str(self.sweep.runs),
            load_if_exists=True,
            direction=self.options.direction,
            pruner=MedianPruner(n_startup_trials=self.options.startup) if median else NopPruner(),
        )
        self._refuse_another(study)
        return study

    def _refuse_another(self, study: Any) -> None:
        """UsageError where ``study`` was begun with another question: its values would not compare."""
        options, settings = self.options, self.base.steps[0].config_sha256
        asked = {"metric": options.metric, "direction": options.direction, "space": options.space, "config": settings}
        known = study.user_attrs.get("search")
        if known is None:
            study.set_user_attr("search", asked)
        elif different := [key for key in asked if known.get(key) != asked[key]]:
            key = different[0]
            raise UsageError(
                f"{self.sweep.path}: search: the study of {self.sweep.runs} was begun with {key} {known.get(key)!r}, "
                f"found {asked[key]!r}; give another `runs:` to begin a new one"
            )

    def run(self, runner: Runner) -> None:
        """Until the trials asked for are done. Prints the best.

        Raises:
            UserError: no trial has come to its end.
        """
        unfinished = self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
        waiting = [optuna.trial.Trial(self.study, frozen._trial_id) for frozen in unfinished]  # of a killed call
        running: dict[Future, tuple[Trial, Any]] = {}
        while True:
            while len(running) < runner.slots and (waiting or self._asked() < self.options.trials):
                proposal = waiting.pop() if waiting else self._ask()
                trial = self._complete([self._trial(proposal.number, proposal.params)])[0]
                running[runner.submit(trial)] = trial, proposal
                _say(f"start   {trial.folder}: {json.dumps(proposal.params)}")
            if not running:
                break
            with suppress(TimeoutError):
                wait(list(running), timeout=LOOK, return_when="FIRST_COMPLETED")
            for future in list(running):
                self._look(runner, *running[future])
                if future.done():
                    trial, proposal = running.pop(future)
                    self._tell(trial, proposal, runner.outcome(trial, future))
        self._tell_best()

    def _asked(self) -> int:
        waiting = TrialState.WAITING  # put there by hand, not taken yet
        return sum(trial.state != waiting for trial in self.study.get_trials(deepcopy=False))

    def _ask(self) -> Any:
        seed = stable_hash(self.options.seed, self._asked()) % 2**32  # a call that goes on does not draw the same again
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        return self.study.ask(fixed_distributions=self.space)

    def _folder(self, number: int) -> Path:
        return self.sweep.runs / self.base.stage / f"trial_{number:04d}"

    def _trial(self, number: int, values: dict[str, Any]) -> Trial:
        more = [word for key, value in values.items() for word in (f"--{key}", as_word(value))]
        step = Step((*self.base.steps[0].words, *more))
        return replace(self.base, variant=f"trial_{number:04d}", folder=self._folder(number), steps=(step,))

    def _look(self, runner: Runner, trial: Trial, proposal: Any) -> None:
        """Hand what validation has measured so far to the pruner, and stop the trial if it says so."""
        known = self.study.get_trials(deepcopy=False)[proposal.number].intermediate_values
        for step, value in read_curves(trial.folder).get(self.options.metric, []):
            if step not in known:
                proposal.report(value, step)
        if trial.id not in self._pruned and proposal.should_prune():
            self._pruned.add(trial.id)
            runner.stop([trial])

    def _tell(self, trial: Trial, proposal: Any, outcome: Outcome) -> None:
        record = trial.record(trial.steps[0])
        value = record.metrics.get(self.options.metric) if record else None
        if outcome.state == "done" and value is not None and math.isfinite(value):
            self.study.tell(proposal.number, values=value)
            _say(f"done    {trial.folder}: {self.options.metric} {value:.4g}, {outcome.seconds:.0f} s")
        elif trial.id in self._pruned and outcome.state == "stopped":
            self.study.tell(proposal.number, state=TrialState.PRUNED)
            _say(f"pruned  {trial.folder}")
        else:
            reason = outcome.reason if outcome.state != "done" else f"no {self.options.metric} in its record"
            self.study.tell(proposal.number, state=TrialState.FAIL)
            _say(f"failed  {trial.folder}: {reason}")

    def _tell_best(self) -> None:
        try:
            best = self.study.best_trial
        except ValueError:
            raise UserError(f"no trial of the search has ended well; see {self._folder(0) / LOG}") from None
        trial = self._trial(best.number, best.params)
        print(f"best of {self._asked()}: {self.options.metric} {best.value:.4g}")
        print(json.dumps(best.params))
        print(trial.command())


def _options(sweep: Sweep) -> Options:
    where = f"{sweep.path}: search"
    options = parsed(Options, sweep.search, where)
    if min(options.trials, options.startup, options.seed) < 0:
        raise UsageError(f"{where}: trials, startup and seed are whole numbers of 0 or more")
    if not options.metric.startswith("val/"):
        raise UsageError(f"{where}.metric: found {options.metric!r}, expected a metric of validation, such as val/loss")
    if len(sweep.trials) != 1 or len(sweep.trials[0].steps) != 1:
        raise UsageError(f"{where}: found {len(sweep.trials)} trials; a search needs one fit, with one seed")
    check_own(options.space, f"{where}.space")
    return options


def _distribution(spec: Any, where: str) -> Any:
    kinds = optuna.distributions
    if isinstance(spec, list) and spec and all(isinstance(value, str | int | float | bool | None) for value in spec):
        return kinds.CategoricalDistribution(spec)
    if not isinstance(spec, dict) or not {"low", "high"} <= set(spec) <= {"low", "high", "log"}:
        raise UsageError(f"{where}: found {spec!r}, expected a list of values, or low and high (and log)")
    low, high = spec["low"], spec["high"]
    if not all(isinstance(value, int | float) for value in (low, high)) or not low < high:
        raise UsageError(f"{where}: found low {low!r}, high {high!r}; expected numbers, the lower first")
    whole = isinstance(low, int) and isinstance(high, int)
    kind = kinds.IntDistribution if whole else kinds.FloatDistribution
    return kind(low, high, log=bool(spec.get("log", False)))


def _ends(spec: Any) -> tuple[Any, Any]:
    return (spec[0], spec[-1]) if isinstance(spec, list) else (spec["low"], spec["high"])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
