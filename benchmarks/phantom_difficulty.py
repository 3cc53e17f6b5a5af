"""How hard is the phantom? A linear model on thumbnails must not solve it; a small network must.

    python benchmarks/phantom_difficulty.py --patients 2500 --seed 0

Macro AUROC over the ten planted classes, first frontal film of every study, exact labels, train patients against test
patients: logistic regression on 16 x 16 thumbnails from 100 and from all training studies, and a small convolutional
network at 128 px from all of them.

Measured with 2500 patients, seed 0, on two shared CPU cores (about three minutes after writing the phantom):

    difficulty   thumbnail@100   thumbnail@all   network@all
    normal           0.700           0.835          0.974    15 epochs (0.968 after 10); fracture 0.78, others >= 0.97
    hard             0.625           0.742          0.948    10 epochs; fracture 0.76, lung lesion 0.85
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from data_modules.phantom import write_phantom
from data_modules.phantom.plan import PLANTED


def load(root: Path, side: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Images (N, side, side) uint8 and labels (N, 10) of the first frontal film of every study, by split."""
    jpg = root / "mimic-cxr-jpg"
    table = pd.read_csv(jpg / "mimic-cxr-2.0.0-metadata.csv.gz")
    table = table[table.ViewPosition.isin(["PA", "AP"])].drop_duplicates("study_id")
    table = table.merge(pd.read_csv(jpg / "mimic-cxr-2.0.0-split.csv.gz")[["dicom_id", "split"]], on="dicom_id")
    table = table.merge(
        pd.read_csv(root / "truth" / "labels.csv").drop(columns=["subject_id", "study_id"]), on="dicom_id"
    )
    images, labels = {}, {}
    for split, part in table.groupby("split"):
        films = []
        for row in track(part.itertuples(), f"Reading {split}", len(part)):
            path = jpg / f"files/p{str(row.subject_id)[:2]}/p{row.subject_id}/s{row.study_id}/{row.dicom_id}.jpg"
            film = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            assert film is not None, path
            films.append(cv2.resize(film, (side, side), interpolation=cv2.INTER_AREA))
        images[str(split)], labels[str(split)] = np.stack(films), part[list(PLANTED)].to_numpy()
    return images, labels


def thumbnail(images: dict[str, np.ndarray], labels: dict[str, np.ndarray], count: int | None, seed: int) -> np.ndarray:
    """AUROC of each class with logistic regression on 16 x 16 pixels, its C tuned by cross-validation."""
    x = {
        k: np.stack([cv2.resize(i, (16, 16), interpolation=cv2.INTER_AREA).ravel() for i in v]) / 255.0
        for k, v in images.items()
    }
    chosen = np.random.default_rng(seed).permutation(len(x["train"]))[:count]
    scores = []
    for k in track(range(len(PLANTED)), f"Thumbnail, {len(chosen)} studies"):
        y = labels["train"][chosen, k]
        if min(y.sum(), len(y) - y.sum()) < 3:
            scores.append(0.5)
            continue
        search = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
            {"logisticregression__C": [1e-4, 1e-3, 1e-2]},
            scoring="roc_auc",
            cv=3,
        )
        search.fit(x["train"][chosen], y)
        scores.append(roc_auc_score(labels["test"][:, k], search.decision_function(x["test"])))
    return np.array(scores)


def network(width: int = 24) -> nn.Module:
    """Five strided convolution stages and a pooled linear layer."""
    layers: list[nn.Module] = []
    channels = 1
    for out in (width, width, 2 * width, 4 * width, 4 * width):
        layers += [
            nn.Conv2d(channels, out, 3, 2, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False) if channels > 1 else nn.Identity(),
            nn.BatchNorm2d(out),
            nn.ReLU(),
        ]
        channels = out
    return nn.Sequential(
        *layers, nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4 * channels, len(PLANTED))
    )


def small_network(images: dict[str, np.ndarray], labels: dict[str, np.ndarray], epochs: int, seed: int) -> np.ndarray:
    """AUROC of each class with a small network trained on all labels."""
    torch.manual_seed(seed)
    x = {k: (torch.from_numpy(v).float()[:, None] / 255 - 0.45) / 0.28 for k, v in images.items()}
    y = torch.from_numpy(labels["train"]).float()
    model, count, batch = network(), len(y), 32
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=epochs * (count // batch))
    for _ in track(range(epochs), "Small network"):
        model.train()
        for part in torch.randperm(count)[: count // batch * batch].split(batch):
            shift = torch.randint(-6, 7, (2,))
            film = torch.roll(x["train"][part], shift.tolist(), (2, 3))
            loss = nn.functional.binary_cross_entropy_with_logits(model(film), y[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        scores = torch.cat([model(part) for part in x["test"].split(128)]).numpy()
    return np.array([roc_auc_score(labels["test"][:, k], scores[:, k]) for k in range(len(PLANTED))])


def main() -> None:
    """Write the phantom (or use --root), run the three models, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--difficulty", choices=["normal", "hard"], default="normal")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--root", type=Path, help="write the phantom here and keep it (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or Path(folder) / "phantom"
        print(write_phantom(root, args.patients, args.seed, difficulty=args.difficulty))
        images, labels = load(root, 128)
    columns = {
        "thumbnail@100": np.mean([thumbnail(images, labels, 100, seed) for seed in range(3)], 0),
        "thumbnail@all": thumbnail(images, labels, None, 0),
        "network@all": small_network(images, labels, args.epochs, args.seed),
    }
    table = pd.DataFrame(columns, index=list(PLANTED))
    table.insert(0, "prevalence", labels["test"].mean(0))
    table.loc["macro"] = table.mean()
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
