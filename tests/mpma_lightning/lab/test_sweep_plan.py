"""Sweep files: how they are laid out, what is refused, and that the shipped ones are read to the last line."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data_modules.errors import UsageError
from mpma_lightning.cli.main import main
from mpma_lightning.cli.training import CommandReader
from mpma_lightning.lab.sweeps.check import Checked
from mpma_lightning.lab.sweeps.plan import Method, Stage, Sweep, read_sweep
from mpma_lightning.lab.sweeps.trial import Slot, Step, Trial

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "experiments" / "sweeps").glob("*.yaml"))
QUICK = ("place", "search")
IN_ORDER = ("ablation", "settle", "variants", "phantom")
"""Sweeps that share settings, those of many others first."""
SWEEP = f"""
runs: out
seeds: [0, 1]
set: {{trainer.accelerator: cpu}}
stages:
  pretraining:
    methods:
      mpma: {ROOT}/experiments/ablations/mpma.yaml
      mrm: {{experiment: {ROOT}/experiments/ablations/mrm_like.yaml, set: {{trainer.max_steps: 7}}}}
      random: {{weights_of: mpma, downstream: {{model.checkpoint_parts: []}}}}
  probe:
    after: pretraining
    without: [mrm]
    experiment: {ROOT}/experiments/demo/classification.yaml
    grid: {{data.label_fraction: [0.1, 1.0]}}
    set_for: {{random: {{trainer.max_steps: 9}}}}
    test: best
"""


def sweep_file(folder: Path, text: str = SWEEP) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def test_value_layout(tmp_path: Path) -> None:
    trials = {trial.id: trial for trial in read_sweep(sweep_file(tmp_path)).trials}
    assert list(trials)[:4] == [f"pretraining/{m}/seed_{s}" for m in ("mpma", "mrm") for s in (0, 1)]
    assert len(trials) == 4 + 2 * 2 * 2
    probe = trials["probe/random/label_fraction=0.1/seed_1"]
    assert probe.after == "pretraining/mpma/seed_1" and probe.folder == Path("out", probe.id)
    fit, test = (" ".join(probe.words(step)) for step in probe.steps)
    assert fit.startswith("fit --config") and test.startswith("test --config") and test.endswith("--ckpt_path best")
    for words in (fit, test):
        assert f"--trainer.default_root_dir {probe.folder} --seed_everything 1 --data.seed 1" in words
        assert "--model.checkpoint out/pretraining/mpma/seed_1 --trainer.accelerator cpu" in words
        assert "--model.checkpoint_parts [] --data.label_fraction 0.1 --trainer.max_steps 9" in words
    alone = " ".join(trials["pretraining/mrm/seed_0"].words(trials["pretraining/mrm/seed_0"].steps[0]))
    assert "--trainer.max_steps 7" in alone and "--model.checkpoint" not in alone


def test_value_one_pretraining_serves_other_seeds(tmp_path: Path) -> None:
    text = SWEEP.replace("  pretraining:\n", "  pretraining:\n    seeds: [5]\n")
    text = text.replace("    test: best", "    test: best\n    seeds: [0, 1, 2]")
    probes = [trial for trial in read_sweep(sweep_file(tmp_path, text)).trials if trial.stage == "probe"]
    assert {trial.seed for trial in probes} == {0, 1, 2}
    assert {trial.after for trial in probes} == {"pretraining/mpma/seed_5"}


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        ("witout: [mrm]", "without: [mrm]", "unknown key 'witout'; did you mean 'without'?"),
        ("without: [mmr]", "without: [mrm]", "no method 'mmr' here; did you mean 'mrm'?"),
        ("after: pretrainin", "after: pretraining", "no earlier stage 'pretrainin'; did you mean 'pretraining'?"),
        ("test: newest", "test: best", "test: unknown choice 'newest'; did you mean 'best'? (one of last, best)"),
        ("seeds: [zero]", "seeds: [0, 1]", "seeds: expected a whole number, got 'zero'"),
        ("set: {seed_everything: 3}", "set: {trainer.accelerator: cpu}", "set by the sweep itself; give `seeds:`"),
        ("set: {data: {init_args: {seed: 3}}}", "set: {trainer.accelerator: cpu}", "data.init_args.seed is set by the"),
        (
            "grid: {trainer.default_root_dir: [x]}",
            "grid: {data.label_fraction: [0.1, 1.0]}",
            "give `runs:` in its place",
        ),
        ("set_for: {random: {model.checkpoint: x}}", "set_for: {random: {trainer.max_steps: 9}}", "give `after:`"),
        ("      ..: {exp", "      mrm: {exp", "the name '..' would be a folder"),
        ("  ../x:\n", "  pretraining:\n", "the name '../x' would be a folder"),
        ("      mpma: {exp", "      mrm: {exp", "key 'mpma' was given in line 8; remove one"),
        ("demo/classifcation.yaml", "demo/classification.yaml", "did you mean 'classification.yaml'?"),
    ],
)
def test_error_in_a_sweep_file(tmp_path: Path, wrong: str, right: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        read_sweep(sweep_file(tmp_path, SWEEP.replace(right, wrong)))
    assert says in str(error.value)


def test_value_on_off_and_no_are_names(tmp_path: Path) -> None:
    text = SWEEP.replace("      mrm:", "      no:").replace("[mrm]", "[no]")
    text = text.replace("grid: {data.label_fraction: [0.1, 1.0]}", "grid: {model.pool: [on, off, true]}")
    trials = read_sweep(sweep_file(tmp_path, text)).trials
    assert {trial.method for trial in trials} == {"mpma", "no", "random"}
    assert {trial.variant for trial in trials if trial.stage == "probe"} == {"pool=on", "pool=off", "pool=true"}


def test_value_lines_read_together_are_as_each_read_alone(tmp_path: Path) -> None:
    text = SWEEP.replace("accelerator: cpu", "accelerator: cpu, data.num_workers: 1, trainer.logger: false")
    text = text.replace("trainer.max_steps: 9", "trainer.max_steps: 9, data.root: seed_1/987654321/RUN/START_FOLDER")
    trials = [t for t in read_sweep(sweep_file(tmp_path, text)).trials if t.method == "random"]
    checked, reader = Checked(), CommandReader("fit")
    assert len({trial.steps for trial in trials}) == 2 and len(trials) == 4
    for trial in trials:
        assert checked.settings(trial, trial.steps[0]) == reader.settings(trial.words(trial.steps[0]))
    assert len({step.config_sha256 for trial in checked.complete(trials, "") for step in trial.steps}) == 8


def test_error_typo_is_found_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = SWEEP.replace("model.checkpoint_parts", "model.chekpoint_parts")
    assert main(["sweep", str(sweep_file(tmp_path, text))]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "probe/random/label_fraction=0.1" in said and "has no argument 'chekpoint_parts'" in said
    assert not Path("out").exists()


def test_error_data_are_missed_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = SWEEP[: SWEEP.index("  probe:")]
    assert main(["sweep", str(sweep_file(tmp_path, text))]) == 1
    assert "data.image_root data/phantom/mimic-cxr-jpg does not exist" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=[pytest.mark.full] * (p.stem not in QUICK)) for p in SHIPPED]
)
def test_smoke_every_line_of_shipped_sweeps(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(path), "--print-commands"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("python -m mpma_lightning")]
    assert len(lines) == len(read_sweep(path).trials)


def new_lines(sweep: Sweep, known: set[tuple[str | Slot, str | Slot]]) -> list[tuple[Trial, Step]]:
    """Lines with a config file or the value of a setting that no line before them has; ``known`` grows by these."""
    lines = {step.words: (trial, step) for trial in sweep.trials for step in trial.steps}
    made = []
    for words in sorted(lines, key=len, reverse=True):
        settings = set(zip(words[1::2], words[2::2], strict=True))
        if not settings <= known:
            made.append(lines[words])
        known |= settings
    return made


@pytest.mark.parametrize("name", IN_ORDER)
def test_smoke_every_setting_of_shipped_sweeps(name: str) -> None:
    """Of each config file and setting one line is read; ``test_smoke_every_line_of_shipped_sweeps`` reads all."""
    known: set[tuple[str | Slot, str | Slot]] = set()
    for before in IN_ORDER[: IN_ORDER.index(name) + 1]:
        lines = new_lines(read_sweep(ROOT / "experiments" / "sweeps" / f"{before}.yaml"), known)
    assert 5 < len(lines) < 25
    checked = Checked()
    for trial, step in lines:
        assert checked.settings(trial, step)["seed_everything"] == trial.seed


def test_value_runs_of_the_phantom() -> None:
    trials = read_sweep(ROOT / "experiments" / "sweeps" / "phantom.yaml").trials
    assert len(trials) == 114
    probes = [step.words for trial in trials if trial.stage == "nih_chestxray14_linear" for step in trial.steps]
    # fit and test keep to the phantom's own test patients, whom pre-training did not see
    assert probes and all("official" in words for words in probes)


def test_value_settle_shares_trials_with_ablation() -> None:
    ablation, settle = (read_sweep(ROOT / "experiments" / "sweeps" / f"{n}.yaml") for n in ("ablation", "settle"))
    steps = {trial.folder: trial.steps for trial in ablation.trials}
    shared = [trial for trial in settle.trials if trial.folder in steps]
    assert len(shared) == 1 + 3 + 3  # language; mpma; its grounding
    assert all(trial.steps == steps[trial.folder] for trial in shared)


def test_value_stage_with_methods_of_its_own_starts_from_the_only_one(tmp_path: Path) -> None:
    text = SWEEP.replace(
        "stages:\n", f"stages:\n  language: {{seeds: [7], experiment: {ROOT}/experiments/demo/language.yaml}}\n"
    )
    text = text.replace("  pretraining:\n", "  pretraining:\n    after: language\n    seeds: [0, 1]\n")
    trials = {trial.id: trial for trial in read_sweep(sweep_file(tmp_path, text)).trials}
    assert {t.after for t in trials.values() if t.stage == "pretraining"} == {"language/language/seed_7"}
    words = " ".join(trials["pretraining/mrm/seed_1"].words(trials["pretraining/mrm/seed_1"].steps[0]))
    assert "--model.checkpoint out/language/language/seed_7" in words and "--trainer.max_steps 7" in words
    assert trials["probe/random/label_fraction=0.1/seed_1"].after == "pretraining/mpma/seed_1"


WORDS = st.sampled_from(["mpma", "a", "..", "best", "first", "experiment", "set"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=4,
)


def odd(kind: type) -> st.SearchStrategy:
    """Up to two right keys with anything in them."""
    keys = [field.name for field in fields(kind) if field.name not in ("path", "trials", "stages")]
    return st.dictionaries(st.sampled_from(keys), VALUES, max_size=2)


@given(sweep=odd(Sweep), stage=odd(Stage), method=odd(Method))
def test_error_odd_sweep_files_are_one_line(tmp_path: Path, sweep: dict, stage: dict, method: dict) -> None:
    file = f"{ROOT}/experiments/ablations/mpma.yaml"
    first = {"experiment": file, "methods": {"mpma": {"experiment": file, **method}}}
    stages = {"first": first, "second": {"experiment": file, **stage}}
    path = sweep_file(tmp_path, yaml.safe_dump(sweep | {"stages": stages}))
    try:
        read = read_sweep(path)
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert all(".." not in trial.folder.relative_to(read.runs).parts for trial in read.trials)
