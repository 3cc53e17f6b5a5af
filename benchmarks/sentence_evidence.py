"""Pointing game of drafted sentences on the phantom: does a sentence point at what it speaks of?

python -m mpma_lightning predict --config experiments/demo/report_generation.yaml --ckpt_path best
python benchmarks/sentence_evidence.py runs/demo/report_generation/drafts.jsonl --phantom data/phantom

Counts the sentences that state one finding which the film shows. Beside them: a random point, and the centre of the
lung that the sentence names.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from data_modules.phantom.truth import read_films
from mpma_lightning.evaluation.grounding import guess_scores, inside
from mpma_lightning.evaluation.metric import by_name

PLANTED_AS = {"Lung Opacity": "Consolidation", "Pneumonia": "Consolidation"}
"""A label of a sentence to the finding that was planted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drafts", type=Path)
    parser.add_argument("--phantom", type=Path, default=Path("data/phantom"))
    options = parser.parse_args()
    films = {film.id: film for film in read_films(options.phantom)}
    hits: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    true: dict[bool | None, list[bool]] = defaultdict(list)
    for line in options.drafts.read_text().splitlines():
        draft = json.loads(line)
        film = films[draft["id"]]
        for sentence in draft["sentences"]:
            present = {PLANTED_AS.get(name, name) for name, state in sentence["findings"].items() if state == 1}
            if len(present) != 1 or "point" not in sentence:
                continue
            (name,) = present
            boxes = np.array([finding["box"] for finding in film.findings if finding["name"] == name], float)
            true[sentence["supported"]].append(len(boxes) > 0)
            if not len(boxes):
                continue
            region = inside(boxes, film.rows, film.columns)
            x, y = (
                min(int(value), size - 1) for value, size in zip(sentence["point"], region.shape[::-1], strict=True)
            )
            guesses = by_name(guess_scores(region, sentence["text"], (14, 14)))
            hits[name].append((float(region[y, x]), guesses["random_patch"], guesses["centre_of_named_lung"]))
    everything = [row for rows in hits.values() for row in rows]
    print(f"{'finding':28}{'sentences':>10}{'pointing game':>15}{'random patch':>14}{'named lung':>12}")
    for name, rows in [("all", everything), *sorted(hits.items())]:
        pointed, random, lung = np.mean(rows, axis=0) if rows else (np.nan,) * 3
        print(f"{name:28}{len(rows):10}{pointed:15.3f}{random:14.3f}{lung:12.3f}")
    for supported, known in true.items():
        print(f"supported = {supported}: {len(known)} sentences, {np.mean(known):.3f} of a finding that the film shows")


if __name__ == "__main__":
    main()
