"""Reads a sweep file: stages x methods x variants x seeds become trials, parents before their children."""

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data_modules.errors import UsageError, suggest
from data_modules.yaml_files import WordsStay, read_yaml
from mpma_lightning.cli.config_files import check_config_files
from mpma_lightning.cli.parse import parsed
from mpma_lightning.cli.trust import FLAG
from mpma_lightning.lab.records import PLANS
from mpma_lightning.lab.sweeps.trial import Slot, Step, Trial

Settings = dict[str, Any]
SUBCOMMANDS = ("fit", "validate", "test")
_OWN = {
    "seed_everything": "`seeds:`",
    "data.seed": "`seeds:`",
    "trainer.default_root_dir": "`runs:`",
    "model.checkpoint": "`after:` or a method's `checkpoint:`",
    "ckpt_path": "`test:`",
}
"""Settings that the sweep gives each trial itself, and what of the sweep file says them."""


@dataclass
class Method:
    """A row of the tables: an experiment of its own, or weights that exist already.

    Attributes:
        experiment: config files of its trial in this stage.
        set: dotted key to value, for that trial.
        weights_of: another method whose weights its dependants start from; it has no trial of its own.
        checkpoint: a file or run folder that exists; it has no trial of its own.
        downstream: dotted key to value, for every trial that starts from its weights.
    """

    experiment: str | list[str] = field(default_factory=list)
    set: dict = field(default_factory=dict)
    weights_of: str | None = None
    checkpoint: str | None = None
    downstream: dict = field(default_factory=dict)


@dataclass
class Stage:
    """Trials of one kind.

    Attributes:
        experiment: config file (or several) of every trial; a method's own comes after it.
        methods: name to experiment or to a mapping of its own keys; with ``after`` the default is those of that stage.
        after: a stage whose weights the trials start from, method by method and seed by seed; or its only method,
            where that stage has one and this stage names methods of its own.
        only, without: of the methods.
        set: dotted key to value, for every trial.
        set_for: method to such settings.
        grid: dotted key to the values it takes; every combination is a trial.
        seeds: of ``seed_everything`` and ``data.seed``; with ``after`` the default is those of that stage, and a seed
            that it lacks starts from its only one.
        run: the subcommand, where it is not the experiment's own: ``test`` of what usually is a fit.
        test: ``last`` or ``best``: a fit is followed by a test of that checkpoint.
        list: settings as in ``set``, one trial each.
    """

    experiment: str | list[str] = field(default_factory=list)
    methods: dict = field(default_factory=dict)
    after: str | None = None
    only: str | list[str] = field(default_factory=list)
    without: str | list[str] = field(default_factory=list)
    set: dict = field(default_factory=dict)
    set_for: dict[str, dict] = field(default_factory=dict)
    grid: dict = field(default_factory=dict)
    seeds: int | list[int] | None = None
    run: Literal["fit", "validate", "test"] | None = None
    test: Literal["last", "best"] | None = None
    list: Sequence = field(default_factory=tuple)  # `list` is the field itself here


@dataclass
class Sweep:
    """A sweep file.

    Attributes:
        path: the file itself.
        runs: folder of the run folders; default ``runs/sweeps/<name of the file>``. Sweeps that share it share the
            trials that are the same, and one report.
        seeds: where a stage names none.
        set: dotted key to value, for every trial.
        stages: by name, in the order of the file.
        search: turns the one trial of the sweep into a search.
        resources: what a trial needs of a worker, such as ``{GPU: 1}``; workers elsewhere declare what they have.
        cluster: where the trials run: ``class_path`` of a Dask cluster, its ``init_args``, and ``scale`` or ``adapt``;
            default this machine.
        trials: what the stages make.
    """

    path: Path
    runs: Path
    seeds: int | list[int] = 0
    set: dict = field(default_factory=dict)
    stages: dict = field(default_factory=dict)
    search: dict | None = None
    resources: dict[str, float] = field(default_factory=dict)
    cluster: dict = field(default_factory=dict)
    trusted: bool = False
    trials: list[Trial] = field(default_factory=list)


def read_sweep(path: Path, trusted: bool = False) -> Sweep:
    """Read and lay out ``path``; nothing heavy is imported. Trials of a ``trusted`` sweep are given ``--trust``.

    Raises:
        UsageError: file, key and nearest right spelling.
    """
    check_config_files([path], trusted)
    content = {"runs": f"runs/sweeps/{path.stem}", **read_yaml(path, WordsStay)}
    sweep = parsed(Sweep, content, str(path), path=path, trials=[], trusted=trusted)
    if not sweep.stages:
        raise UsageError(f"{path}: found no stages; expected `stages:` with at least one")
    if any(not number > 0 for number in sweep.resources.values()):
        raise UsageError(f"{path}: resources: found {sweep.resources!r}, expected numbers above 0, such as GPU: 1")
    for name in _names(sweep.stages, f"{path}: stages"):
        sweep.stages[name] = parsed(Stage, sweep.stages[name], f"{path}: stages.{name}")
    for name in sweep.stages:
        sweep.trials += _Layout(sweep, name).trials()
    if twice := [name for name, count in Counter(trial.id for trial in sweep.trials).items() if count > 1]:
        raise UsageError(f"{path}: two trials are called {twice[0]}; a list or seeds name the same thing twice")
    return sweep


def plan_file(sweep: Sweep) -> Path:
    """Where a sweep says what its trials are."""
    return sweep.runs / PLANS.replace("*", sweep.path.stem)


def check_own(settings: Settings, where: str, free: Collection[str] = ()) -> None:
    """UsageError for a setting, also a nested one, that the sweep gives each trial itself."""
    for key in _flat(settings):
        name = key.replace(".init_args", "")
        if name in _OWN and name not in free:
            raise UsageError(f"{where}: {key} is set by the sweep itself; give {_OWN[name]} in its place")


def _methods(sweep: Sweep, name: str) -> dict[str, Method]:
    """The methods of a stage, inherited ones included."""
    stage, where = sweep.stages[name], f"{sweep.path}: stages.{name}"
    earlier = list(sweep.stages)[: list(sweep.stages).index(name)]
    if stage.after is not None and stage.after not in earlier:
        raise UsageError(f"{where}.after: no earlier stage {stage.after!r}{suggest(stage.after, earlier)}")
    if stage.after is not None and not stage.methods:
        methods = _methods(sweep, stage.after)
    else:
        given = stage.methods or {name: {}}
        methods = {
            key: parsed(Method, {"experiment": given[key]} if isinstance(given[key], str | list) else given[key],
                        f"{where}.methods.{key}")
            for key in _names(given, f"{where}.methods")
        }  # fmt: skip
    only, without = _listed(stage.only), _listed(stage.without)
    for key in (*only, *without, *stage.set_for):
        if key not in methods:
            raise UsageError(f"{where}: no method {key!r} here{suggest(key, methods)}")
    return {key: method for key, method in methods.items() if key not in without and (not only or key in only)}


class _Layout:
    """Lays one stage out."""

    def __init__(self, sweep: Sweep, name: str) -> None:
        self.sweep, self.name, self.where = sweep, name, f"{sweep.path}: stages.{name}"
        self.stage: Stage = sweep.stages[name]
        self.inherits = self.stage.after is not None and not self.stage.methods

    def trials(self) -> Iterator[Trial]:
        methods = _methods(self.sweep, self.name)
        for (name, method), variant, seed in itertools.product(methods.items(), self._variants(), self._seeds()):
            if self.inherits or not (method.weights_of or method.checkpoint):
                yield self._trial(name, method, variant, seed)

    def _trial(self, name: str, method: Method, variant: Settings, seed: int) -> Trial:
        stage, (after, start) = self.stage, self._start(name, method, seed)
        own = method.downstream if self.inherits else method.set
        settings = {**self.sweep.set, **stage.set, **own, **variant, **stage.set_for.get(name, {})}
        free = {"model.checkpoint"} if start is None else set()
        check_own(settings, self.where, free if stage.test else free | {"ckpt_path"})
        label = ",".join(f"{_path_name(key.rpartition('.')[2])}={_path_name(v)}" for key, v in variant.items())
        if len(label) > 200:
            raise UsageError(f"{self.where}: the variant {label[:40]}… has a name of over 200 characters")
        folder = self.sweep.runs.joinpath(self.name, name, label, f"seed_{seed}")
        files = [*_listed(stage.experiment), *([] if self.inherits else _listed(method.experiment))]
        return Trial(
            self.name, name, label, seed, folder, self._steps(files, settings, start is not None), after, start
        )

    def _variants(self) -> list[Settings]:
        stage = self.stage
        if stage.list and stage.grid:
            raise UsageError(f"{self.where}: found both grid and list; give one of them")
        points: Iterable[Any] = stage.list
        if not stage.list:
            points = (
                dict(zip(stage.grid, p, strict=True)) for p in itertools.product(*map(_listed, stage.grid.values()))
            )
        points = list(points)
        if wrong := [point for point in points if not isinstance(point, Mapping)]:
            raise UsageError(f"{self.where}.list: expected `key: value` lines, found {wrong[0]!r}")
        return [{str(key): value for key, value in point.items()} for point in points]

    def _seeds(self) -> list[int]:
        stage = self.stage
        while stage.seeds is None and stage.after:
            stage = self.sweep.stages[stage.after]
        seeds = _listed(self.sweep.seeds if stage.seeds is None else stage.seeds)
        if not seeds:
            raise UsageError(f"{self.where}: found no seeds, expected whole numbers")
        return seeds

    def _start(self, name: str, method: Method, seed: int) -> tuple[str | None, str | None]:
        """Id of the trial and path of the weights to start from."""
        if self.stage.after is None or method.checkpoint:
            return None, method.checkpoint
        source = method.weights_of or name
        earlier = [t for t in self.sweep.trials if t.stage == self.stage.after]
        every = [t for t in earlier if self.stage.methods or t.method == source]
        named = [t for t in every if t.seed == seed] or every
        if len(named) != 1:
            raise UsageError(
                f"{self.where}: {self.stage.after} has {len(named)} trials of method {source!r} for seed {seed}, "
                "expected one of this seed, or one in all; and `after` needs a stage without grid or list"
            )
        return named[0].id, str(named[0].folder)

    def _steps(self, experiments: list[str], settings: Settings, starts: bool) -> tuple[Step, ...]:
        if not experiments:
            raise UsageError(f"{self.where}: found no experiment; give `experiment: FILE`")
        files = [Path(os.path.relpath(self.sweep.path.parent / name)) for name in experiments]
        check_config_files(files, self.sweep.trusted)
        words: list[str | Slot] = [word for file in files for word in ("--config", str(file))]
        words += ["--trainer.default_root_dir", Slot.RUN, "--seed_everything", Slot.SEED, "--data.seed", Slot.SEED]
        words += ["--model.checkpoint", Slot.START] if starts else []
        words += [word for key, value in settings.items() for word in (f"--{key}", as_word(value))]
        words += [FLAG] * self.sweep.trusted
        subcommand = self.stage.run or _subcommand(files[-1])
        first = Step((subcommand, *words))
        if self.stage.test is None:
            return (first,)
        if subcommand != "fit":
            raise UsageError(f"{self.where}.test: {files[-1]} is run by {subcommand}; only a fit is followed by a test")
        return first, Step(("test", *words, "--ckpt_path", self.stage.test))


def _subcommand(file: Path) -> str:
    """The first comment of an experiment names it: ``# fit — …``."""
    found = re.match(r"#\s*(\w+)", file.read_text(encoding="utf-8"))
    if not found or found[1] not in SUBCOMMANDS:
        raise UsageError(f"{file}: the first line names no subcommand; expected `# fit — …`, `# test — …`")
    return found[1]


def _names(content: dict, where: str) -> list[str]:
    """The keys of ``content``, which become folders and rows of tables."""
    for name in content:
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]{0,99}", name):
            raise UsageError(
                f"{where}: the name {name!r} would be a folder; expected letters, digits, `_`, `.`, `+` and `-`, "
                "beginning with a letter or digit, and quoted where it is a number"
            )
    return list(content)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def as_word(value: Any) -> str:
    """A value of a setting, as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _path_name(value: Any) -> str:
    return re.sub(r"[^\w.+-]+", "_", as_word(value)).strip("_")


def _flat(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key
