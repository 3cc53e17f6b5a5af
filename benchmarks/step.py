"""What a training step costs: variants of this project and, where a checkout is given, the official MRM, M3AE or MGCA.

    python benchmarks/step.py [--rows mrm mrm-cross …] [--official mrm CHECKOUT --official-python PYTHON] [--check]

Every row is a process of its own. The first row (the official one where it is given) lives throughout; each of the
others takes turns with it, a step each, so that whatever else the machine does hits both alike. README.md says how to
read the figures. Ratios are written to benchmarks/results.json. With ``--check`` they are compared with what is written
there, and nothing is written: it ends with 1 where a row has become slower beside the first one than the tolerance
allows.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data_modules.machine import cores

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
ROWS = ("mrm-all", "mrm", "mrm-cross", "mpma", "mpma-cross", "mpma-384", "mpma-384-cross", "recipe", "demo")
WARM_UP = 2


@dataclass(frozen=True)
class Official:
    """An official code, whose step ``steps/<name>.py`` takes.

    Attributes:
        title: of the code.
        model: the file of a checkout that holds its model.
        beside: our rows of the same objectives.
    """

    title: str
    model: str
    beside: tuple[str, ...]


OFFICIAL = {
    "mrm": Official("MRM", "model_mrm.py", ROWS),
    "m3ae": Official("M3AE", "m3ae/modules/m3ae_module.py", ("m3ae",)),
    "mgca": Official("MGCA", "mgca/models/mgca/mgca_module.py", ("mgca",)),
}


class Row:
    """A process that steps when it is told to."""

    def __init__(self, name: str, command: list[str], threads: int) -> None:
        idle = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}  # waits without using a core
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | idle
        )
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.about = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: the process ended with status {self.process.wait()}; its message is above")
        return json.loads(line)

    def ask(self, word: str) -> dict[str, Any]:
        """Its answer to ``step`` or ``end``."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self._answer()

    def step(self, counts: bool) -> None:
        """One step, which counts or not."""
        answer = self.ask("step")
        self.seconds += [answer["seconds"]] * counts
        self.losses += [answer["loss"]] * counts

    def end(self) -> None:
        """End the process, and note its memory."""
        self.about |= self.ask("end")
        self.process.communicate()


def figures(row: Row, seconds: list[float], beside: list[float]) -> dict[str, Any]:
    """Of a row: ``beside`` are the steps of the first row that were taken in turns with it."""
    median = statistics.median(seconds)
    quarters = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [median] * 3
    return {
        "ratio": round(median / statistics.median(beside), 3),
        "median_s": round(median, 4),
        "minimum_s": round(min(seconds), 4),
        "spread": round((quarters[2] - quarters[0]) / median, 3),
        "steps": len(seconds),
        "loss": round(statistics.fmean(row.losses), 3),
        "peak_mib": round(row.about["peak_mib"]),
        "activations_mib": round(row.about["peak_mib"] - row.about["held_mib"]),
        "parameters": row.about["parameters"],
        "torch": row.about["torch"],
    }


def measured(commands: dict[str, list[str]], steps: int, threads: int) -> dict[str, dict[str, Any]]:
    """The figures of every row, by name."""
    names, found = list(commands), {}
    first = Row(names[0], commands[names[0]], threads)
    for _ in range(WARM_UP):
        first.step(counts=False)
    alone = not names[1:]
    for name in names[1:]:
        row, before = Row(name, commands[name], threads), len(first.seconds)
        for number in range(WARM_UP + steps):
            first.step(number >= WARM_UP)
            row.step(number >= WARM_UP)
        row.end()
        found[name] = figures(row, row.seconds, first.seconds[before:])
        print(line(name, found[name]), flush=True)
    for _ in range(steps * alone):
        first.step(counts=True)
    first.end()
    own = figures(first, first.seconds, first.seconds)
    print(line(names[0], own), flush=True)
    return {names[0]: own} | found


def line(name: str, row: dict[str, Any]) -> str:
    """One row of the table."""
    return (
        f"{name:<16}{row['ratio']:>7.2f}{1 / row['ratio']:>7.2f} x{row['median_s']:>9.3f} s{row['minimum_s']:>9.3f} s"
        f"{row['spread']:>7.0%}{row['peak_mib']:>9,} MiB{row['activations_mib']:>9,} MiB{row['loss']:>9.2f}"
    )


def lost(now: dict[str, Any], before: dict[str, Any], tolerance: float) -> list[str]:
    """A sentence for each row whose ratio is above the stored one by more than the tolerance."""
    return [
        f"{name}: {row['ratio']:.2f} of the first row's time, was {before[name]['ratio']:.2f}; more than "
        f"{tolerance:.0%} slower"
        for name, row in now.items()
        if name in before and row["ratio"] > before[name]["ratio"] * (1 + tolerance)
    ]


def processor() -> str:
    """Its name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    models = [it for it in info.read_text().splitlines() if it.startswith("model name")] if info.is_file() else []
    return models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine()


def options() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ours = (*ROWS, *(row for official in OFFICIAL.values() for row in official.beside if row not in ROWS))
    parser.add_argument("--rows", nargs="+", choices=ours, metavar="ROW", help=", ".join(ours))
    parser.add_argument("--steps", type=int, default=8, help=f"that count, after {WARM_UP} that do not")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--official", nargs=2, metavar=("CODE", "CHECKOUT"), help=f"{', '.join(OFFICIAL)}, and where it lies"
    )
    parser.add_argument("--official-python", default=sys.executable, help="an interpreter with its libraries")
    parser.add_argument("--check", action="store_true", help="compare with the stored ratios")
    parser.add_argument("--tolerance", type=float, default=0.15, help="by how much a ratio may grow (0.15)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    code, checkout = given.official or (None, "")
    if code and code not in OFFICIAL:
        sys.exit(f"error: --official is {code}; expected one of {', '.join(OFFICIAL)}, then its checkout")
    if code and not (Path(checkout) / OFFICIAL[code].model).is_file():
        title, model = OFFICIAL[code].title, OFFICIAL[code].model
        sys.exit(f"error: {checkout} has no {model}; expected a checkout of the official code of {title}")
    given.rows = given.rows or list(OFFICIAL[code].beside if code else ROWS)
    return given


def main() -> None:
    given = options()
    common = [f"--{name}={getattr(given, name)}" for name in ("batch", "threads", "precision", "device")]
    commands = {}
    if given.official:
        code, checkout = given.official
        start = [given.official_python, str(HERE / "steps" / f"{code}.py"), str(Path(checkout).resolve())]
        commands[f"official {OFFICIAL[code].title}"] = [*start, *common]
    commands |= {row: [sys.executable, str(HERE / "steps" / "ours.py"), row, *common] for row in given.rows}
    settings = f"{given.device}, {given.precision}, batch {given.batch}, {given.threads} threads"
    key = f"{settings}, beside {next(iter(commands))}"
    stored = json.loads(given.results.read_text()) if given.results.is_file() else {}
    if given.check and key not in stored:
        sys.exit(f"error: {given.results} has no ratios of: {key}; run without --check first")
    environment = {"processor": processor(), "cores": cores(), "system": platform.platform(), "python": sys.version[:6]}
    if given.device == "cuda":
        environment["gpu"] = torch.cuda.get_device_name()
    print(
        *(f"{name} {value}" for name, value in environment.items()), f"load {os.getloadavg()[0]:.1f} before", sep="; "
    )
    print(f"{key}; median of {given.steps} steps after {WARM_UP}\n")
    print(f"{'':<16}{'time':>7}{'speed':>9}{'median':>11}{'minimum':>11}{'spread':>7}{'peak':>13}"
          f"{'- weights':>13}{'loss':>9}")  # fmt: skip
    found = measured(commands, given.steps, given.threads)
    if given.check:
        slower = lost(found, stored[key]["rows"], given.tolerance)
        sys.exit("\n".join(slower) if slower else 0)
    stored[key] = {"environment": environment | {"load_after": round(os.getloadavg()[0], 1)}, "rows": found}
    given.results.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
