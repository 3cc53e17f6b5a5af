"""DenseTask: a head on feature maps of the image encoder, for segmentation and detection."""

from typing import Any

import torch
from torch import Tensor

from mpma_lightning.tasks.named_outputs import NamedOutputsTask


class DenseTask(NamedOutputsTask):
    """A head on feature maps."""

    @property
    def parts(self) -> tuple[str, ...]:
        return ("image",)

    def maps(self, image: Tensor, levels: tuple[int, ...]) -> list[Tensor]:
        """Feature maps of the encoder's ``levels``."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.backbone.image(image, levels=levels).levels

    def result_entries(self) -> dict[str, Any]:
        return {"classes": self.classes}
