"""Checkpoints written whole or not at all, with a digest of their bytes."""

from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from data_modules.errors import UserError
from data_modules.files import whole_file
from mpma_lightning.backbones.seal import SealingFile


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file in the same folder, flushes it to the disk, and renames it. Lightning writes to the
    system's folder for temporary files, which may be on another disk, and its copy from there can be interrupted."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """UserError if it cannot be written, such as on a full disk; an earlier file at ``path`` is then unchanged."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        try:
            with whole_file(path) as partial, partial.open("wb") as file:
                sealing = SealingFile(file)
                torch.save(checkpoint, cast(BinaryIO, sealing))
                sealing.seal()
        except (UserError, RuntimeError) as error:  # torch's writer hides the system's error in a RuntimeError
            kept = f"; {path} of before stays" if path.exists() else ""
            raise UserError(
                f"checkpoint {path} could not be written at step {checkpoint.get('global_step')} ({_reason(error)})"
                f"{kept}. Make room there, then the same command continues from the last one"
            ) from None


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).partition("\n")[0]
