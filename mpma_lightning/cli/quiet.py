"""Silences warnings of other packages that a user of this package cannot act on; each line says why."""

import logging
import warnings

_MUTED = [
    r".*does not have many workers",  # num_workers is a documented argument of every data set
    r"LightningCLI's args parameter is intended",  # we pass argv ourselves
    r"Checkpoint directory .* exists and is not empty",  # a run is continued by the same command
    r"The number of training batches .* is smaller than the logging interval",  # small sets, debug runs
    r"It is recommended to use `self.log\(.*sync_dist=True",  # metrics of an epoch are gathered before they are logged
    r"Found \d+ module\(s\) in eval mode at the start of training",  # a frozen encoder stays in eval mode
    r"Be aware that when using `ckpt_path`, callbacks used to create",  # the guards of fit exist in fit only
    r"You have overridden `on_before_batch_transfer` in `LightningModule`",  # tasks do: masks are of a task
    r".*configure_optimizers` returned `None`",  # a linear probe trains its heads itself
    r".*isinstance\(treespec, LeafSpec\)",  # torch's own deprecation, inside lightning
]


def silence_noise() -> None:
    """Add the filters; calling it again changes nothing."""
    for message in _MUTED:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_is_for_users)


_NOT_FOR_USERS = (
    "💡 Tip:",  # advertisements for other products
    "TPU available",  # nobody asked for one
    "Loading `train_dataloader` to estimate",  # the number of steps is told
    "Restoring states from",  # the next line says that it is done
    "`Trainer(limit_",  # what an option does is in its help
    "Detected KeyboardInterrupt",  # the command says how to go on
    "\nDetected KeyboardInterrupt",
)


def _is_for_users(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_NOT_FOR_USERS)
