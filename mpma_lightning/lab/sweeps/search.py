"""A sweep as a search: Optuna proposes, every trial is an ordinary command, and any number of workers join."""

import json
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from data_modules.errors import UsageError, UserError, suggest
from data_modules.index.hashing import stable_hash
from mpma_lightning.lab.events import read_curves
from mpma_lightning.lab.sweeps import worker
from mpma_lightning.lab.sweeps.check import Checked
from mpma_lightning.lab.sweeps.lock import Lock, alone, claim, is_held
from mpma_lightning.lab.sweeps.plan import Sweep
from mpma_lightning.lab.sweeps.trial import Step, Trial, write_json
from mpma_lightning.lab.sweeps.worker import LOG, environment, last_error

POLL, LOOK = 0.2, 5.0
"""Seconds between looks at the processes, and at their curves."""
STARTS = 3
"""Times one worker starts a trial that dies of a signal."""


@dataclass
class Options:
    """``search:`` of a sweep file with one trial.

    Attributes:
        metric: of validation, such as ``val/zero_shot_auroc``; the last value of a run counts. Never of test.
        space: dotted key to ``{low, high}`` (with ``log: true``, or whole numbers) or to a list of values.
        trials: how many, by all workers together.
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


@dataclass
class Job:
    """A trial that this worker runs."""

    trial: Trial
    proposal: Any
    lock: Lock
    process: subprocess.Popen
    slot: int
    looked: float = 0.0
    reported: set[int] = field(default_factory=set)


class Search:
    """Args:
        sweep: with ``search`` and one trial.
        checked: of that trial.
        storage: an Optuna URL or a journal file; ``None`` is ``<runs>/journal.log``, which needs no server.

    Raises:
        UsageError: ``search`` is not as it should be, or an end of a range is refused by the command.
    """

    def __init__(self, sweep: Sweep, checked: Checked, storage: str | None) -> None:
        self.sweep, self.checked, self.options = sweep, checked, _options(sweep)
        self.base = sweep.trials[0]
        self.space = _distributions(self.options.space, f"{sweep.path}: search.space")
        ends = [{key: _ends(spec)[i] for key, spec in self.options.space.items()} for i in (0, 1)]
        checked.read([self._trial(i, values) for i, values in enumerate(ends)], f"{sweep.path}: search")
        self.study = self._study(storage)
        self.starts: dict[int, int] = {}

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
        options, settings = self.options, self.checked.config_sha256(self.base, self.base.steps[0])
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

    def run(self, workers: int) -> None:
        """Until the trials asked for are done, by whichever worker. Prints the best.

        Raises:
            UserError: no trial has come to its end.
        """
        running: list[Job] = []
        try:
            while True:
                running = [job for job in running if not self._ended(job)]
                while len(running) < workers and (job := self._next(running, workers)) is not None:
                    running.append(job)
                if not running and not self._unfinished() and self._asked() >= self.options.trials:
                    break
                time.sleep(POLL)
        except BaseException:
            for job in running:
                job.process.terminate()
                job.process.wait()
                job.lock.release()
            raise
        self._tell_best()

    def _unfinished(self) -> list[Any]:
        return self.study.get_trials(deepcopy=False, states=[_optuna().trial.TrialState.RUNNING])

    def _asked(self) -> int:
        waiting = _optuna().trial.TrialState.WAITING  # put there by hand, not taken yet
        return sum(trial.state != waiting for trial in self.study.get_trials(deepcopy=False))

    def _next(self, running: list[Job], slots: int) -> Job | None:
        """A trial that another worker left behind, or a new one; ``None`` when there is neither."""
        slot = next(i for i in range(slots) if i not in {job.slot for job in running})
        with alone(self.sweep.runs / "ask.lock"):
            for frozen in self._unfinished():
                if not is_held(self._folder(frozen.number)):
                    return self._launch(_optuna().trial.Trial(self.study, frozen._trial_id), slot, slots)
            if self._asked() >= self.options.trials:
                return None
            seed = stable_hash(self.options.seed, self._asked()) % 2**32  # two workers never draw the same
            self.study.sampler = _optuna().samplers.TPESampler(seed=seed, constant_liar=True)
            return self._launch(self.study.ask(fixed_distributions=self.space), slot, slots)

    def _folder(self, number: int) -> Path:
        return self.sweep.runs / self.base.stage / f"trial_{number:04d}"

    def _trial(self, number: int, values: dict[str, Any]) -> Trial:
        more = [word for key, value in values.items() for word in (f"--{key}", _word(value))]
        step = Step((*self.base.steps[0].words, *more))
        label = f"trial_{number:04d}"
        return replace(self.base, variant=label, folder=self._folder(number), steps=(step,))

    def _launch(self, proposal: Any, slot: int, slots: int) -> Job | None:
        trial = self._trial(proposal.number, proposal.params)
        lock = claim(trial.folder)
        if lock is None:
            return None
        if self.study.get_trials(deepcopy=False)[proposal.number].state.is_finished():  # told since it was looked at
            lock.release()
            return None
        self.checked.read([trial])
        if self._value(trial) is not None:  # its worker died before it could tell
            self.study.tell(proposal.number, values=self._value(trial))
            lock.release()
            return None
        write_json(trial.folder / "trial.json", trial.plain())
        self.starts[proposal.number] = self.starts.get(proposal.number, 0) + 1
        with (trial.folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                [*worker.PROGRAM, *trial.words(trial.steps[0])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(slot, slots),
                pass_fds=[lock.descriptor],
            )
        return Job(trial, proposal, lock, process, slot)

    def _value(self, trial: Trial) -> float | None:
        row = self.checked.row(trial, trial.steps[0])
        return row["metrics"].get(self.options.metric) if row else None

    def _ended(self, job: Job) -> bool:
        job.lock.beat()
        code = job.process.poll()
        if code is None and time.monotonic() - job.looked < LOOK:
            return False
        job.looked = time.monotonic()
        self._report(job)
        states = _optuna().trial.TrialState
        if code is None:
            if not job.proposal.should_prune():
                return False
            job.process.terminate()
            job.process.wait()
            self.study.tell(job.proposal.number, state=states.PRUNED)
            _say(f"pruned  {job.trial.folder}")
        elif (killer := worker.killed_by(code)) and self.starts[job.proposal.number] < STARTS:
            _say(f"again   {job.trial.folder}: killed by signal {killer}; continues from its last checkpoint")
        elif code == 0 and (value := self._value(job.trial)) is not None:
            self.study.tell(job.proposal.number, values=value)
            _say(f"done    {job.trial.folder}: {self.options.metric} {value:.4g}")
        else:
            reason = last_error(job.trial.folder / LOG) or f"status {code}, no {self.options.metric} in its row"
            self.study.tell(job.proposal.number, state=states.FAIL)
            _say(f"failed  {job.trial.folder}: {reason}")
        job.lock.release()
        return True

    def _report(self, job: Job) -> None:
        """Hand what validation has measured so far to the pruner."""
        for step, value in read_curves(job.trial.folder).get(self.options.metric, []):
            if step not in job.reported:
                job.reported.add(step)
                job.proposal.report(value, step)

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
    if not said.get("metric") or not said.get("space"):
        raise UsageError(f"{where}: expected a metric and a space")
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
