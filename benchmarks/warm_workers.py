"""What a trial of a sweep costs to start: commands forked from a warm process beside commands in fresh ones.

    python benchmarks/warm_workers.py [--trials 30]

The trials are the shortest there are, one optimiser step of a small pre-training on a few films, one at a time. Each is
run both ways in turn, so that other work on the machine hits both alike. Ends with 1 where a result differs in a bit.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from data_modules.machine import cores
from data_modules.phantom import write_phantom
from mpma_lightning.lab import program

WAYS = {
    "warm": program.SERVER,
    "fresh": [sys.executable, "-c", "from mpma_lightning.lab.warm import fresh, serve; serve(fresh)"],
}
EXPERIMENT = Path(__file__).parents[1] / "experiments" / "ablations" / "mpma.yaml"


def words(folder: Path, run: Path, seed: int) -> list[str]:
    """The arguments of a trial."""
    settings = {
        "trainer.default_root_dir": run,
        "seed_everything": seed,
        "data.seed": seed,
        "data.image_root": folder / "phantom" / "mimic-cxr-jpg",
        "data.report_root": folder / "phantom" / "mimic-cxr",
        "data.batch_size": 4,
        "data.num_workers": 0,
        "trainer.max_steps": 1,
        "trainer.val_check_interval": 1,
        "trainer.limit_val_batches": 0,
        "model.backbone.image.size": 64,
    }
    return ["fit", "--config", str(EXPERIMENT), *(f"--{key}={value}" for key, value in settings.items())]


def result(run: Path) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Metrics and weights of a trial. Its checkpoint also holds its folder and its seconds, which always differ."""
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return json.loads((run / "results.json").read_text())["metrics"], checkpoint["state_dict"]


def same(one: tuple[dict[str, float], dict[str, Tensor]], other: tuple[dict[str, float], dict[str, Tensor]]) -> bool:
    """Equal in every bit."""
    (metrics, weights), (metrics_other, weights_other) = one, other
    equal = metrics == metrics_other and weights.keys() == weights_other.keys()
    return equal and all(torch.equal(weights[name], weights_other[name]) for name in weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=30)
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {cores()} cores, load {os.getloadavg()[0]:.1f} before")
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder, differ = Path(name), 0
        write_phantom(folder / "phantom", patients=12, seed=0, size=64, workers=1)
        for seed in range(-1, given.trials):  # the first one warms up, and is not counted
            left = []
            for way, program.SERVER in WAYS.items():
                run, begin = folder / way / str(seed), time.monotonic()
                if code := program.start(words(folder, run, seed + 1), run / "log.txt", os.environ, Path()).wait():
                    sys.exit(f"{(run / 'log.txt').read_text()}\nexit status {code}")
                seconds[way] += [time.monotonic() - begin] * (seed >= 0)
                print(f"{way:<6}{time.monotonic() - begin:>7.2f} s", flush=True)
                left.append(result(run))
            differ += not same(*left)
    for way, taken in seconds.items():
        print(f"{way:<6}{statistics.median(taken):>7.2f} s a trial (median of {len(taken)}), {sum(taken):.0f} s in all")
    print(f"{differ} of {given.trials + 1} trials differ in metrics or weights")
    sys.exit(differ > 0)


if __name__ == "__main__":
    main()
