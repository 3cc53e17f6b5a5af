"""Reads a sweep file: stages x methods x variants x seeds become trials, parents before their children."""

import itertools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_modules.errors import UsageError, suggest
from data_modules.yaml_files import WordsStay, read_yaml
from mpma_lightning.cli.config_files import check_config_files
from mpma_lightning.lab.records import PLANS
from mpma_lightning.lab.sweeps.language import Settings, as_list, check_own, filled, mapping, names, path_name
from mpma_lightning.lab.sweeps.trial import Slot, Step, Trial

SUBCOMMANDS = ("fit", "validate", "test")


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

    experiment: Any = None
    set: Settings = field(default_factory=dict)
    weights_of: str | None = None
    checkpoint: str | None = None
    downstream: Settings = field(default_factory=dict)


@dataclass
class Stage:
    """Trials of one kind.

    Attributes:
        experiment: config file (or several) of every trial; a method's own comes after it.
        methods: name to experiment or :class:`Method`; with ``after`` the default is those of that stage.
        after: a stage whose weights the trials start from, method by method and seed by seed; or its only method,
            where that stage has one and this stage names methods of its own.
        only, without: of the methods.
        set: dotted key to value, for every trial.
        set_for: method to such settings.
        grid: dotted key to the values it takes; every combination is a trial.
        list: such settings, one trial each.
        seeds: of ``seed_everything`` and ``data.seed``; with ``after`` the default is those of that stage, and a seed
            that it lacks starts from its only one.
        run: the subcommand, where it is not the experiment's own: ``test`` of what usually is a fit.
        test: ``last`` or ``best``: a fit is followed by a test of that checkpoint.
    """

    experiment: Any = None
    methods: dict[str, Any] = field(default_factory=dict)
    after: str | None = None
    only: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    set: Settings = field(default_factory=dict)
    set_for: dict[str, Settings] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    list: Any = field(default_factory=list)
    seeds: Any = None
    run: str | None = None
    test: str | None = None


@dataclass
class Sweep:
    """A sweep file.

    Attributes:
        runs: folder of the run folders; default ``runs/sweeps/<name of the file>``. Sweeps that share it share the
            trials that are the same, and one report.
        seeds: where a stage names none.
        set: dotted key to value, for every trial.
        stages: by name, in the order of the file.
        search: turns the one trial of the sweep into a search; see ``sweeps/search.py``.
        resources: what a trial needs of a worker, such as ``{GPU: 1}``; workers elsewhere declare what they have.
        cluster: where the trials run: ``class_path`` of a Dask cluster, its ``init_args``, and ``scale`` or ``adapt``;
            default this machine.
    """

    path: Path
    runs: Path
    seeds: Any = field(default_factory=lambda: [0])
    set: Settings = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    search: Settings | None = None
    resources: dict[str, float] = field(default_factory=dict)
    cluster: Settings = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)


def read_sweep(path: Path) -> Sweep:
    """Read and lay out ``path``; nothing heavy is imported.

    Raises:
        UsageError: file, key and nearest right spelling.
    """
    check_config_files([path])
    content = read_yaml(path, WordsStay)
    runs = Path(str(content.pop("runs", Path("runs", "sweeps", path.stem))))
    sweep = filled(Sweep, content, str(path), path=path, runs=runs)
    if not sweep.stages:
        raise UsageError(f"{path}: found no stages; expected `stages:` with at least one")
    sweep.stages = {
        name: filled(Stage, stage, f"{path}: stages.{name}")
        for name, stage in names(sweep.stages, f"{path}: stages").items()
    }
    for name, stage in sweep.stages.items():
        sweep.trials += _Layout(sweep, name, stage).trials()
    twice = [trial.id for trial in sweep.trials if sum(other.id == trial.id for other in sweep.trials) > 1]
    if twice:
        raise UsageError(f"{path}: two trials are called {twice[0]}; a list or seeds name the same thing twice")
    return sweep


def plan_file(sweep: Sweep) -> Path:
    """Where a sweep says what its trials are."""
    return sweep.runs / PLANS.replace("*", sweep.path.stem)


def methods_of(sweep: Sweep, name: str) -> dict[str, Method]:
    """The methods of a stage, inherited ones included."""
    stage, where = sweep.stages[name], f"{sweep.path}: stages.{name}"
    earlier = list(sweep.stages)[: list(sweep.stages).index(name)]
    if stage.after is not None and stage.after not in earlier:
        raise UsageError(f"{where}.after: no earlier stage {stage.after!r}{suggest(stage.after, earlier)}")
    if stage.after is None or stage.methods:
        given = names(stage.methods or {name: {}}, f"{where}.methods")
        methods = {key: _method(value, f"{where}.methods.{key}") for key, value in given.items()}
    else:
        methods = methods_of(sweep, stage.after)
    for key in (*stage.only, *stage.without, *stage.set_for):
        if key not in methods:
            raise UsageError(f"{where}: no method {key!r} here{suggest(key, methods)}")
    return {k: m for k, m in methods.items() if k not in stage.without and (not stage.only or k in stage.only)}


class _Layout:
    """Lays one stage out."""

    def __init__(self, sweep: Sweep, name: str, stage: Stage) -> None:
        self.sweep, self.name, self.stage, self.where = sweep, name, stage, f"{sweep.path}: stages.{name}"
        if stage.test not in (None, "last", "best"):
            raise UsageError(f"{self.where}.test: found {stage.test!r}, expected last or best")
        if stage.run not in (None, *SUBCOMMANDS):
            raise UsageError(f"{self.where}.run: found {stage.run!r}, expected one of {', '.join(SUBCOMMANDS)}")

    def trials(self) -> Iterator[Trial]:
        stage, methods = self.stage, methods_of(self.sweep, self.name)
        for (method, said), variant, seed in itertools.product(methods.items(), self._variants(), self._seeds()):
            inherits = stage.after is not None and not stage.methods
            if not inherits and (said.weights_of or said.checkpoint):
                continue
            after, start = self._start(method, said, seed)
            own = said.downstream if inherits else said.set
            settings = {**self.sweep.set, **stage.set, **own, **variant, **stage.set_for.get(method, {})}
            check_own(settings, self.where, ["model.checkpoint"] * (start is None) + ["ckpt_path"] * (not stage.test))
            label = ",".join(
                f"{path_name(key.rpartition('.')[2])}={path_name(value)}" for key, value in variant.items()
            )
            if len(label) > 200:
                raise UsageError(f"{self.where}: the variant {label[:40]}… has a name of over 200 characters")
            folder = self.sweep.runs.joinpath(self.name, method, label, f"seed_{seed}")
            experiment = [] if inherits else as_list(said.experiment)
            steps = self._steps([*as_list(stage.experiment), *experiment], settings, start is not None)
            yield Trial(self.name, method, label, seed, folder, steps, after, start)

    def _variants(self) -> list[Settings]:
        if self.stage.list and self.stage.grid:
            raise UsageError(f"{self.where}: found both grid and list; give one of them")
        if self.stage.list:
            return [dict(mapping(item, f"{self.where}.list")) for item in as_list(self.stage.list)]
        values = [as_list(value) for value in self.stage.grid.values()]
        return [dict(zip(self.stage.grid, point, strict=True)) for point in itertools.product(*values)]

    def _seeds(self) -> list[int]:
        stage = self.stage
        while stage.seeds is None and stage.after:
            stage = self.sweep.stages[stage.after]
        seeds = as_list(self.sweep.seeds if stage.seeds is None else stage.seeds)
        if not seeds or not all(type(seed) is int for seed in seeds):
            raise UsageError(f"{self.where}: found seeds {seeds!r}, expected whole numbers")
        return seeds

    def _start(self, method: str, said: Method, seed: int) -> tuple[str | None, str | None]:
        """Id of the trial and path of the weights to start from."""
        if self.stage.after is None or said.checkpoint:
            return None, said.checkpoint
        source = said.weights_of or method
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
        check_config_files(files)
        words: list[str | Slot] = [word for file in files for word in ("--config", str(file))]
        words += ["--trainer.default_root_dir", Slot.RUN, "--seed_everything", Slot.SEED, "--data.seed", Slot.SEED]
        words += ["--model.checkpoint", Slot.START] if starts else []
        for key, value in settings.items():
            words += [f"--{key}", value if isinstance(value, str) else json.dumps(value, default=str)]
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


def _method(value: Any, where: str) -> Method:
    if isinstance(value, str | list):
        return filled(Method, {"experiment": value}, where)
    return filled(Method, value, where)
