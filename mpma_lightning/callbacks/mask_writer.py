"""Writes the masks or maps that ``predict`` gives: one gray PNG an image, as large as the image."""

from pathlib import Path, PurePosixPath
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image

from data_modules.base import attached_data
from data_modules.images.transforms import Placement
from data_modules.index.hashing import stable_hash


class MaskWriter(BasePredictionWriter):
    """``<folder>/<id>.png`` in the run folder, written batch by batch; each rank writes its own.

    Args:
        folder: name in the run folder.
    """

    def __init__(self, folder: str = "masks") -> None:
        super().__init__("batch")
        self.folder = folder

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        fit = attached_data(trainer).spec.fit
        root = Path(trainer.default_root_dir) / self.folder
        for name, mask, size in zip(prediction["id"], prediction["mask"], prediction["size"].tolist(), strict=True):
            target = root / png_path(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            place = Placement.of(size[0], size[1], mask.shape[-1], fit)
            Image.fromarray(place.mask_back(mask[0].cpu().numpy())).save(target)


ENDINGS = {".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff"}
"""Of ids that are file names."""
LONGEST = 200
"""Bytes of a part of a path; file systems take 255."""


def png_path(name: str) -> Path:
    """A relative path for a sample's id, which may be an absolute path, or end in a long phrase."""
    path = PurePosixPath(name)
    if path.suffix.lower() in ENDINGS:
        path = path.with_suffix("")
    parts = [part for part in path.parts if part not in (path.anchor, "..")]
    short = [
        p if len(p.encode()) <= LONGEST else f"{p[: LONGEST // 4]}-{stable_hash(p) % (1 << 32):08x}" for p in parts
    ]
    return Path(*short[:-1], f"{short[-1]}.png")
