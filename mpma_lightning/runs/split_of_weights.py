"""Says where the weights that a run starts from may have seen the samples that it tests."""

from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_info

from data_modules.base import DataModule, attached_data
from mpma_lightning.runs.identity import fitted_data

_DRAW = ("label_columns", "seed", "split_file")
"""Arguments of a data module that decide a split that is drawn."""


class SplitOfWeights(Callback):
    """Prints one line where the split of the run is drawn, and that of the run of ``model.checkpoint`` was another one
    of the same data, so that pre-training may have seen test samples."""

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        data = attached_data(trainer)
        if pl_module.source is None or not data.drawn:
            return
        path = Path(pl_module.source.path)
        if changed := drawn_otherwise(data, fitted_data(path)[0]):
            rank_zero_info(
                f"  note: the split is drawn, and {path} was trained on another one ({' and '.join(changed)} differ): "
                "it may have seen the test samples; draw one by `split` and give it to both by --data.split_file"
            )

    on_test_start = on_fit_start


def drawn_otherwise(data: DataModule, fitted: Any) -> list[str]:
    """Which arguments give ``data`` another drawn split than the run of ``fitted`` had; none if its data are others.

    Args:
        data: of this run.
        fitted: the section ``data`` of the config of the other run, or None.
    """
    if not isinstance(fitted, dict) or fitted.get("class_path", "").rpartition(".")[2] != type(data).__name__:
        return []
    given = fitted.get("init_args") or {}
    if any(Path(given.get(name) or "").resolve() != root.resolve() for name, root in data.roots().items()):
        return []
    return [f"data.{name}" for name in _DRAW if (given.get(name) or None) != (getattr(data, name, None) or None)]
