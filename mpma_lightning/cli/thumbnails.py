"""The demo's baseline: logistic regression on 16×16 thumbnails."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from data_modules.loading.loader import collate
from data_modules.mimic_cxr import MIMICCXRDataModule
from mpma_lightning.evaluation.classification import macro
from mpma_lightning.evaluation.linear_probe import ProbeEvaluator, linear_probe, thumbnails

SHOTS, DRAWS = 100, 5


def thumbnail_auroc(folder: Path, seed: int) -> tuple[float, float]:
    """Macro AUROC from 100 labelled training studies and from all of them, on the test images of the other metrics.

    Args:
        folder: of the phantom.
        seed: of the data.
    """
    data = MIMICCXRDataModule(str(folder / "mimic-cxr-jpg"), str(folder / "mimic-cxr"), image_size=96, seed=seed)
    data.setup("test")
    train, train_labels = _read(data.probe_samples(), "training thumbnails")
    test, test_labels = _read(data.samples("test"), "test thumbnails")
    common = (train, train_labels, test, test_labels, data.spec.classes)
    few = next(iter(ProbeEvaluator(SHOTS, DRAWS).evaluate(*common).values()))
    return round(few, 4), round(macro(linear_probe(*common)), 4)


def _read(samples: Any, title: str) -> tuple[np.ndarray, np.ndarray]:
    batches = [collate([samples[i]]) for i in track(range(len(samples)), title)]
    return thumbnails(torch.cat([b["image"] for b in batches])), torch.cat([b["labels"] for b in batches]).numpy()
