"""A sweep as a search: Optuna proposes, and every trial is an ordinary command run as any other."""

import json
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distributed import Future, wait

from data_modules.errors import UsageError, UserError, suggest
from data_modules.index.hashing import stable_hash
from mpma_lightning.lab.events import read_curves
from mpma_lightning.lab.program import LOG
from mpma_lightning.lab.sweeps.language import check_own
from mpma_lightning.lab.sweeps.plan import Sweep
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
    space: dict[str, Any]
    trials: int = 20
    direction: str = "maximize"
    pruning: str = "median"
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
        self.space = _distributions(self.options.space, f"{sweep.path}: search.space")
        check_own(self.options.space, f"{sweep.path}: search.space")
        complete([self._trial(i, {key: _ends(v)[i] for key, v in self.options.space.items()}) for i in (0, 1)])
        self.study = self._study(storage)
        self._pruned: set[str] = set()

    def _study(self, storage: str | None) -> Any:
        optuna = _optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        where: Any = storage or str(self.sweep.runs / "journal.log")
        if "://" not in where:
            Path(where).parent.mkdir(parents=True, exist_ok=True)
            where = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(where))
        pruner = optuna.pruners.NopPruner()
        if self.options.pruning == "median":
            pruner = optuna.pruners.MedianPruner(n_startup_trials=self.options.startup)
        kind = {"direction": self.options.direction, "pruner": pruner}
        study = optuna.create_study(storage=where, study_name=str(self.sweep.runs), load_if_exists=True, **kind)
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
        unfinished = self.study.get_trials(deepcopy=False, states=[_optuna().trial.TrialState.RUNNING])
        waiting = [_optuna().trial.Trial(self.study, frozen._trial_id) for frozen in unfinished]  # of a killed call
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
        waiting = _optuna().trial.TrialState.WAITING  # put there by hand, not taken yet
        return sum(trial.state != waiting for trial in self.study.get_trials(deepcopy=False))

    def _ask(self) -> Any:
        seed = stable_hash(self.options.seed, self._asked()) % 2**32  # a call that goes on does not draw the same again
        self.study.sampler = _optuna().samplers.TPESampler(seed=seed, constant_liar=True)
        return self.study.ask(fixed_distributions=self.space)

    def _folder(self, number: int) -> Path:
        return self.sweep.runs / self.base.stage / f"trial_{number:04d}"

    def _trial(self, number: int, values: dict[str, Any]) -> Trial:
        more = [word for key, value in values.items() for word in (f"--{key}", _word(value))]
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
        states, record = _optuna().trial.TrialState, trial.record(trial.steps[0])
        value = record["metrics"].get(self.options.metric) if record else None
        if outcome.state == "done" and value is not None and math.isfinite(value):
            self.study.tell(proposal.number, values=value)
            _say(f"done    {trial.folder}: {self.options.metric} {value:.4g}, {outcome.seconds:.0f} s")
        elif trial.id in self._pruned and outcome.state == "stopped":
            self.study.tell(proposal.number, state=states.PRUNED)
            _say(f"pruned  {trial.folder}")
        else:
            reason = outcome.reason if outcome.state != "done" else f"no {self.options.metric} in its record"
            self.study.tell(proposal.number, state=states.FAIL)
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
    said, where = sweep.search or {}, f"{sweep.path}: search"
    known = list(Options.__dataclass_fields__)
    for key in said:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}{suggest(key, known)}")
    if not isinstance(said.get("metric"), str) or not isinstance(said.get("space"), dict) or not said["space"]:
        raise UsageError(f"{where}: expected a metric, and a space of `key: values` lines")
    for key in ("trials", "startup", "seed"):
        if type(said.get(key, 1)) is not int or said.get(key, 1) < 0:
            raise UsageError(f"{where}.{key}: found {said[key]!r}, expected a whole number of 0 or more")
    options = Options(**said)
    if not options.metric.startswith("val/"):
        raise UsageError(f"{where}.metric: found {options.metric!r}, expected a metric of validation, such as val/loss")
    if options.direction not in ("maximize", "minimize") or options.pruning not in ("median", "none"):
        raise UsageError(f"{where}: direction is maximize or minimize, pruning is median or none")
    if len(sweep.trials) != 1 or len(sweep.trials[0].steps) != 1:
        raise UsageError(f"{where}: found {len(sweep.trials)} trials; a search needs one fit, with one seed")
    return options


def _distributions(space: dict[str, Any], where: str) -> dict[str, Any]:
    made, kinds = {}, _optuna().distributions
    for key, spec in space.items():
        if isinstance(spec, list) and spec and all(isinstance(v, str | int | float | bool | None) for v in spec):
            made[key] = kinds.CategoricalDistribution(spec)
        elif isinstance(spec, dict) and {"low", "high"} <= set(spec) <= {"low", "high", "log"}:
            low, high = spec["low"], spec["high"]
            if not all(isinstance(v, int | float) for v in (low, high)) or not low < high:
                raise UsageError(f"{where}.{key}: found low {low!r}, high {high!r}; expected numbers, the lower first")
            whole = isinstance(low, int) and isinstance(high, int)
            kind = kinds.IntDistribution if whole else kinds.FloatDistribution
            made[key] = kind(low, high, log=bool(spec.get("log", False)))
        else:
            raise UsageError(f"{where}.{key}: found {spec!r}, expected a list of values, or low and high (and log)")
    return made


def _ends(spec: Any) -> tuple[Any, Any]:
    return (spec[0], spec[-1]) if isinstance(spec, list) else (spec["low"], spec["high"])


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("a search needs Optuna: pip install 'mpma-lightning[sweep]'") from None
    return optuna
