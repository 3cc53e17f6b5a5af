"""How much time and memory does scoring retrieval take, once the features are there?

    python benchmarks/retrieval.py --pairs 20000

Random unit features are written to disk and read back, as ``predict`` stores them; both directions are ranked with
several positives a query: R@1/5/10, median rank, mAP. No encoder runs here: N images and M texts take N + M passes.

Measured with one thread, imports included: 20,000 x 20,000 took 14 s of CPU and 1.11 GiB at most, 2,000 x 2,000 5 s
and 0.83 GiB (ranking alone: 0.6 s).
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from mpma_lightning.evaluation.both_directions import direction_scores, ranked_everywhere
from mpma_lightning.evaluation.metric import by_name


def features(count: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(count, width) float32 of length 1."""
    rows = rng.normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main() -> None:
    """Write, read, rank, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20000)
    parser.add_argument("--width", type=int, default=128, help="of the embeddings")
    parser.add_argument("--group", type=int, default=2, help="pairs of one study, on average")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "features.safetensors"
        groups = rng.integers(0, max(1, options.pairs // options.group), options.pairs)
        image, text = (features(options.pairs, options.width, rng) for _ in range(2))
        save_file({"image": image, "text": text, "group": groups}, stored)
        del image, text
        start = time.perf_counter()
        found = by_name(direction_scores(ranked_everywhere(load_file(stored))))
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{options.pairs:,} x {options.pairs:,}, width {options.width}, both directions: {seconds:.1f} s wall, "
        f"{time.process_time():.1f} s CPU of the whole process, peak memory {peak:.2f} GiB"
    )
    print(", ".join(f"{name} {value:.4g}" for name, value in found.items()))


if __name__ == "__main__":
    main()
