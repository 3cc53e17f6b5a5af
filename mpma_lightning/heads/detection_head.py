"""torchvision's Faster R-CNN on feature maps of any encoder: a simple feature pyramid for a ViT, an FPN for a CNN."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from mpma_lightning.backbones.encoder import ImageEncoder, Levels
from mpma_lightning.heads.levels import Pyramid, last_levels

STRIDES = (4, 8, 16, 32)
RATIOS = (0.5, 1.0, 2.0)
NAMES = ("0", "1", "2", "3")


class Width(nn.Module):
    """Placeholder for the backbone that torchvision expects; the maps are computed outside."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels


class CountingSampler:
    """A torchvision sampler that keeps the number of samples it took."""

    taken: Tensor

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __call__(self, labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Masks of positives and of negatives, one per image."""
        positive, negative = self.sampler(labels)
        self.taken = torch.stack([mask.sum() for mask in (*positive, *negative)]).sum()
        return positive, negative


class DetectionHead(nn.Module):
    """Region proposals and box head on five levels; torchvision's own resizing and normalising are not used.

    Args:
        encoder: its last map is resampled to strides 4, 8, 16, 32 [ViTDet] for a ViT; the last four maps of a CNN go
            through a feature pyramid network.
        classes: number of classes; labels count from 0 here, and from 1 in torchvision.
        side: of the crop in pixels; anchors of a level are side / 16 · 2^level wide.
        width: channels of each level.
    """

    largest: Tensor
    """(B,) largest magnitude of the outputs of the last evaluation batch; not finite if any output is not."""

    def __init__(self, encoder: ImageEncoder, classes: int, side: int, width: int = 256) -> None:
        super().__init__()
        self.levels: Levels = last_levels(encoder, len(STRIDES), least=len(STRIDES))
        self.neck: nn.Module
        if encoder.levels.one_resolution:
            self.neck = Pyramid(self.levels.at((0,) * len(STRIDES)), STRIDES, width)
        else:
            self.neck = FeaturePyramidNetwork(list(self.levels.widths), width)
        sizes = tuple((max(4, side * 2**level // 16),) for level in range(len(STRIDES) + 1))
        whole = FasterRCNN(
            Width(width),
            num_classes=classes + 1,
            rpn_anchor_generator=AnchorGenerator(sizes, (RATIOS,) * len(sizes)),
            box_roi_pool=MultiScaleRoIAlign(list(NAMES), output_size=7, sampling_ratio=2),
            rpn_pre_nms_top_n_train=1000,
            rpn_post_nms_top_n_train=1000,
            rpn_pre_nms_top_n_test=500,
            rpn_post_nms_top_n_test=500,
            box_batch_size_per_image=128,  # radiographs hold few boxes
            box_score_thresh=0.01,
        )
        self.rpn, self.roi_heads = whole.rpn, whole.roi_heads
        self._rpn_outputs: list[Tensor] = []
        self._box_outputs: list[Tensor] = []
        self.rpn.head.register_forward_hook(self._keep_rpn_outputs)
        self.roi_heads.box_predictor.register_forward_hook(self._keep_box_outputs)
        for part in (self.rpn, self.roi_heads):
            part.fg_bg_sampler = CountingSampler(part.fg_bg_sampler)

    def counts(self) -> dict[str, Tensor]:
        """Number of anchors or proposals over which each loss of the last call is a mean."""
        anchors, proposals = self.rpn.fg_bg_sampler.taken, self.roi_heads.fg_bg_sampler.taken
        rpn = dict.fromkeys(("loss_objectness", "loss_rpn_box_reg"), anchors)
        return rpn | dict.fromkeys(("loss_classifier", "loss_box_reg"), proposals)

    def pyramid(self, maps: list[Tensor]) -> dict[str, Tensor]:
        """Levels ``0`` to ``3``, and ``pool``: the coarsest one at half resolution."""
        if isinstance(self.neck, Pyramid):
            levels = dict(zip(NAMES, self.neck(maps * len(NAMES)), strict=True))
        else:
            levels = self.neck(dict(zip(NAMES, maps, strict=True)))
        return {**levels, "pool": F.max_pool2d(levels[NAMES[-1]], 1, 2)}

    def _keep_rpn_outputs(self, _module: nn.Module, _inputs: Any, levels: tuple[list[Tensor], list[Tensor]]) -> None:
        self._rpn_outputs = [*levels[0], *levels[1]]

    def _keep_box_outputs(self, _module: nn.Module, _inputs: Any, rows: tuple[Tensor, Tensor]) -> None:
        self._box_outputs = list(rows)

    def _largest(self, proposals: list[int]) -> Tensor:
        """(B,) largest magnitude of the outputs for each image, before boxes are filtered."""
        found = torch.stack([level.flatten(1).abs().amax(1) for level in self._rpn_outputs]).amax(0)
        for rows in self._box_outputs:
            for image, outputs in enumerate(rows.split(proposals)):
                if len(outputs):
                    found[image] = torch.maximum(found[image], outputs.abs().max())
        return found.detach()

    def forward(
        self, maps: list[Tensor], image: Tensor, annotated: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detections (``boxes``, ``scores``, ``labels`` from 0; in evaluation) and losses (in training).

        Args:
            maps: of the encoder.
            image: (B, 3, S, S), for its size.
            annotated: ``boxes`` (n, 4) and ``labels`` (n,) from 0 of each image; n may be 0.
        """
        levels = self.pyramid(maps)
        targets = annotated and [{"boxes": one["boxes"], "labels": one["labels"] + 1} for one in annotated]
        sizes = [(image.shape[-2], image.shape[-1])] * len(image)
        proposals, losses = self.rpn(ImageList(image, sizes), levels, targets)
        found, more = self.roi_heads(levels, proposals, sizes, targets)
        if not self.training:
            self.largest = self._largest([len(boxes) for boxes in proposals])
        detections = [{**one, "labels": one["labels"] - 1} for one in found]
        return detections, {**losses, **more}


@torch.no_grad()
def in_training_mode(head: DetectionHead, *arguments: Any) -> dict[str, Tensor]:
    """Losses of an evaluation batch, which torchvision computes in training mode only; no running statistics change."""
    head.train()
    _, losses = head(*arguments)
    head.eval()
    return losses
