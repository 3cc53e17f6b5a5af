"""Pictures to the loggers that take them."""

from pathlib import Path
from urllib.parse import urlparse

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image


def sends_away(logger: Logger) -> bool:
    """Whether what the logger takes can leave this machine: of MLflow, unless its address is a folder (``file:…``)
    or a file (``sqlite:…``); of W&B always, as an offline run is uploaded later."""
    if isinstance(logger, MLFlowLogger):
        return urlparse(logger.experiment.tracking_uri).scheme not in ("file", "sqlite")
    return isinstance(logger, WandbLogger)


def hand_over(logger: Logger, name: str, picture: Path, step: int) -> None:
    """Give a PNG file to a logger; one that takes no pictures is left alone."""
    if isinstance(logger, TensorBoardLogger):
        with Image.open(picture) as image:
            logger.experiment.add_image(f"pictures/{name}", np.asarray(image.convert("RGB")), step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(f"pictures/{name}", [str(picture)], step)
    elif isinstance(logger, MLFlowLogger):
        assert logger.run_id is not None
        logger.experiment.log_artifact(logger.run_id, str(picture), f"pictures/step_{step}")
