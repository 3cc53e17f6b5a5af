"""Checkpoints written whole or not at all, and the newest whole one of a run."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn

from data_modules.errors import UserError
from mpma_lightning.backbones.checkpoint import read_file


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file, brings it to the disk, then renames; Lightning's own goes through the folder for
    temporary files, which may lie on another disk, and copying from there can be interrupted."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """UserError when it cannot be written, such as on a full disk; a file of that name stays as it was."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        partial = path.with_name(f"{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except (OSError, RuntimeError) as error:  # torch's writer hides the system's error in a RuntimeError
            partial.unlink(missing_ok=True)
            cause = error if isinstance(error, OSError) else error.__context__ or error
            reason = getattr(cause, "strerror", None) or str(cause).partition("\n")[0]
            kept = f"; {path} of before stays" if path.exists() else ""
            raise UserError(
                f"checkpoint {path} could not be written at step {checkpoint.get('global_step')} ({reason}){kept}. "
                "Make room there, then the same command continues from the last one"
            ) from None


def whole_checkpoint(last: Path) -> Path:
    """``last``, or where it is cut short the newest whole checkpoint beside it, with a message.

    Raises:
        UserError: none beside it is whole.
    """
    try:
        read_file(last, mmap=True)
        return last
    except UserError as error:
        beside = [path for path in last.parent.glob("*.ckpt") if path != last]
        for path in sorted(beside, key=lambda path: path.stat().st_mtime, reverse=True):
            try:
                step = read_file(path, mmap=True)["global_step"]
            except (UserError, KeyError):
                continue
            rank_zero_warn(f"{error}. Taking {path} (step {step}) in its place")
            return path
        raise
