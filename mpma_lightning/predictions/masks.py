"""Masks or maps: one gray PNG per image, of the size of the image."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from data_modules.errors import UserError
from data_modules.files import whole_file
from data_modules.images.transforms import Placement
from data_modules.index.hashing import stable_hash
from mpma_lightning.predictions.writer import PredictionWriter


class MaskWriter(PredictionWriter):
    """Writes ``<file>/<id>.png`` batch by batch; each rank writes its samples.

    An id that ends like an image file loses this ending. Where two samples would then share a file, as scan.png and
    scan.jpg, all file names keep the endings: scan.png.png and scan.jpg.png.

    Args:
        fit: how images were fitted into the crop.
        file: name of the folder in the run folder.
    """

    def __init__(self, fit: str, file: str = "masks") -> None:
        super().__init__(file)
        self.fit, self.keep_endings = fit, False

    def begin(self, folder: Path, ids: Sequence[str]) -> None:
        """UserError if two samples would have the same file name in spite of their endings."""
        super().begin(folder, ids)
        self.keep_endings = len({png_path(name) for name in ids}) < len(ids)
        first: dict[Path, str] = {}
        for name in ids:
            place = png_path(name, self.keep_endings)
            if place in first:
                raise UserError(
                    f"samples {first[place]} and {name} would both be written to {self.path / place}; "
                    "rename one of the images, or predict them in two runs"
                )
            first[place] = name

    def add(self, prediction: dict[str, Any]) -> None:
        for name, mask, size in zip(prediction["id"], prediction["mask"], prediction["size"].tolist(), strict=True):
            place = Placement.of(size[0], size[1], mask.shape[-1], self.fit)
            with whole_file(self.path / png_path(name, self.keep_endings), within=self.path.parent) as partial:
                Image.fromarray(place.mask_back(mask[0].cpu().numpy())).save(partial, format="PNG")
            self.rows.append(name)

    def write(self, rows: list[str]) -> str:
        return f"{len(rows)} images in {self.path}"


ENDINGS = {".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff"}
"""Suffixes removed from ids that are file names."""
MAX_BYTES = 200
"""Length of one name of a path; file systems allow 255."""


def png_path(name: str, keep_ending: bool = False) -> Path:
    """A relative path for a sample's id, which may be an absolute path or end with a long phrase."""
    path = PurePosixPath(name)
    if not keep_ending and path.suffix.lower() in ENDINGS:
        path = path.with_suffix("")
    parts = [part for part in path.parts if part not in (path.anchor, "..")]
    short = [
        p if len(p.encode()) <= MAX_BYTES else f"{p[: MAX_BYTES // 4]}-{stable_hash(p) % (1 << 32):08x}" for p in parts
    ]
    return Path(*short[:-1], f"{short[-1]}.png")
