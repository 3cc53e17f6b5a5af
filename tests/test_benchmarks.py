"""The benchmark of steps measures what its rows answer, and sees a row that became slower. It times nothing here."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "step.py"
ROW = """
import json, sys
seconds, said = iter(map(float, sys.argv[2:])), []
print(json.dumps({"torch": "0", "parameters": 7}), flush=True)
for line in sys.stdin:
    with open(sys.argv[1], "a") as log:
        print(sys.argv[2], line.strip(), file=log)
    answer = {"seconds": next(seconds), "loss": 2.5} if line == "step\\n" else {"peak_mib": 30.0, "held_mib": 10.0}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def step() -> ModuleType:
    spec = importlib.util.spec_from_file_location("step_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_value_rows_take_turns_with_the_first(step: ModuleType, tmp_path: Path) -> None:
    """Warm-up steps of 100 s do not count; the ratio is of the first row's steps between those of the row."""
    (tmp_path / "row.py").write_text(ROW)
    log = tmp_path / "log"

    def command(*seconds: int) -> list[str]:
        return [sys.executable, "-S", str(tmp_path / "row.py"), str(log), *map(str, seconds)]

    commands = {"first": command(100, 101, 102, 103, 4, 4, 4, 104, 105, 8, 8, 8), "half": command(90, 91, 1, 2, 3),
                "same": command(80, 81, 8, 8, 8)}  # fmt: skip
    found = step.measured(commands, 3, 1)
    assert [found[name]["ratio"] for name in commands] == [1.0, 0.5, 1.0]
    half = found["half"]
    assert (half["median_s"], half["minimum_s"], half["spread"], half["steps"]) == (2.0, 1.0, 1.0, 3)
    assert (half["loss"], half["peak_mib"], half["activations_mib"]) == (2.5, 30, 20)
    told = [line.split()[0] for line in log.read_text().splitlines() if "step" in line]
    assert told == ["100"] * 2 + ["100", "90"] * 5 + ["100", "80"] * 5


def test_error_a_row_that_ends(step: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"broken: the process ended with status 3"):
        step.measured({"broken": [sys.executable, "-S", "-c", "raise SystemExit(3)"]}, 1, 1)


def test_value_a_lever_that_is_lost(step: ModuleType) -> None:
    before = {"a": {"ratio": 1.0}, "b": {"ratio": 0.5}, "gone": {"ratio": 0.1}}
    now = {"a": {"ratio": 1.0}, "b": {"ratio": 0.57}, "new": {"ratio": 9.0}}
    assert step.lost(now, before, 0.15) == []
    (said,) = step.lost(now, before, 0.1)
    assert said == "b: 0.57 of the first row's time, was 0.50; more than 10% slower"


def test_error_nothing_to_compare_with(step: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = tmp_path / "results.json"
    stored.write_text(json.dumps({"cpu, fp32, batch 8, 1 threads, beside demo": {}}))
    words = ["step.py", "--rows", "demo", "--batch", "4", "--device", "cpu", "--threads", "1", "--check"]
    monkeypatch.setattr(sys, "argv", [*words, "--results", str(stored)])
    with pytest.raises(SystemExit, match="has no ratios of: cpu, fp32, batch 4, 1 threads, beside demo; run without"):
        step.main()


def test_error_no_official_code(step: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["step.py", "--official", "mrm", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"has no model_mrm\.py; expected a checkout of the official code of MRM"):
        step.main()
    monkeypatch.setattr(sys, "argv", ["step.py", "--official", "clip", str(tmp_path)])
    with pytest.raises(SystemExit, match="--official is clip; expected one of mrm, m3ae, mgca, then its checkout"):
        step.main()


def test_value_rows_beside_an_official_code(step: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official code comes first, in its own interpreter, and our row of its objectives takes turns with it."""
    (tmp_path / "mgca/models/mgca").mkdir(parents=True)
    (tmp_path / "mgca/models/mgca/mgca_module.py").touch()
    asked: dict[str, list[str]] = {}

    def measured(commands: dict[str, list[str]], *_: int) -> dict[str, object]:
        asked.update(commands)
        return {}

    monkeypatch.setattr(step, "measured", measured)
    words = ["step.py", "--official", "mgca", str(tmp_path), "--official-python", "old", "--device", "cpu"]
    results = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", [*words, "--batch", "5", "--threads", "1", "--results", str(results)])
    step.main()
    assert list(asked) == ["official MGCA", "mgca"]
    common = ["--batch=5", "--threads=1", "--precision=fp32", "--device=cpu"]
    steps = SCRIPT.parent / "steps"
    assert asked["official MGCA"] == ["old", str(steps / "mgca.py"), str(tmp_path.resolve()), *common]
    assert asked["mgca"] == [sys.executable, str(steps / "ours.py"), "mgca", *common]
    assert list(json.loads(results.read_text())) == ["cpu, fp32, batch 5, 1 threads, beside official MGCA"]
