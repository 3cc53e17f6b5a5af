"""Image encoders, from timm: ViTs with token dropping, CNNs without."""

import difflib
import inspect
from typing import Any

import timm
import torch
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn

from data_modules.errors import UserError, expect
from mpma_lightning.backbones.checkpoint import read_checkpoint
from mpma_lightning.backbones.convolutional_stem import ConvolutionalStem
from mpma_lightning.backbones.features import Features
from mpma_lightning.backbones.filling import fill
from mpma_lightning.backbones.registry import REGISTRY
from mpma_lightning.backbones.spec import ImageSpec


class KeepVisible(nn.Module):
    """Stands where a timm ViT has ``patch_drop``: keeps the prefix tokens and the given patch ids.

    Only visible patches enter the blocks, so 75 % masking makes the encoder about four times cheaper [MAE].
    """

    def __init__(self, num_prefix_tokens: int) -> None:
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        self.visible: Tensor | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, P + L, D) to (B, P + K, D), or unchanged when no ids are set."""
        if self.visible is None:
            return tokens
        prefix, patches = tokens[:, : self.num_prefix_tokens], tokens[:, self.num_prefix_tokens :]
        index = self.visible.unsqueeze(-1).expand(-1, -1, patches.shape[-1])
        return torch.cat([prefix, patches.gather(1, index)], dim=1)


class ViTEncoder(nn.Module):
    """A timm Vision Transformer of any grid, with token dropping."""

    def __init__(self, vit: Any, pool: str) -> None:
        super().__init__()
        self.vit = vit
        self.pool = pool
        self.width: int = vit.num_features
        self.patch_size: int = vit.patch_embed.patch_size[0]
        self.vit.patch_drop = KeepVisible(vit.num_prefix_tokens)

    def forward(self, image: Tensor, visible: Tensor | None = None, levels: tuple[int, ...] = ()) -> Features:
        """Encode.

        Args:
            image: (B, 3, H, W), normalised; H and W multiples of the patch size.
            visible: (B, K) ids of the patches to encode, ``None`` for all.
            levels: blocks whose maps are wanted, which may repeat; they pass the final norm as the tokens do. Needs the
                whole image.
        """
        height, width = image.shape[-2:]
        whole = height % self.patch_size == width % self.patch_size == 0
        expect(whole, "the image side that reaches the encoder", width, f"a multiple of its patch, {self.patch_size}; "
               "correct data.image_size")  # fmt: skip
        grid = (height // self.patch_size, width // self.patch_size)
        maps: list[Tensor] = []
        if levels:
            if visible is not None:
                raise ValueError("levels need the whole image: call without visible")
            tokens, maps = self._intermediates(image, levels)
        else:
            self._show(visible)
            tokens = self.vit.forward_features(image)
            self._show(None)
        prefix, patches = tokens[:, : self.vit.num_prefix_tokens], tokens[:, self.vit.num_prefix_tokens :]
        pooled = prefix[:, 0] if self.pool == "cls" else patches.mean(1)
        return Features(pooled, patches, prefix, grid, visible, maps)

    def _show(self, visible: Tensor | None) -> None:
        self.vit.patch_drop.visible = visible
        if isinstance(self.vit.patch_embed, ConvolutionalStem):
            self.vit.patch_embed.visible = visible

    def _intermediates(self, image: Tensor, levels: tuple[int, ...]) -> tuple[Tensor, list[Tensor]]:
        distinct = sorted(set(levels))
        final, maps = self.vit.forward_intermediates(image, indices=distinct, norm=True, output_fmt="NCHW")
        return final, [maps[distinct.index(level)] for level in levels]


class CNNEncoder(nn.Module):
    """A timm convolutional network; its last feature map is read as tokens. Cannot drop tokens."""

    def __init__(self, cnn: Any) -> None:
        super().__init__()
        self.cnn = cnn
        self.width: int = cnn.num_features
        self.patch_size: int = cnn.feature_info[-1]["reduction"]

    def forward(self, image: Tensor, visible: Tensor | None = None, levels: tuple[int, ...] = ()) -> Features:
        """Encode (B, 3, H, W); ``visible`` must be ``None``."""
        if visible is not None:
            raise UserError(
                "a convolutional image encoder cannot drop masked patches; use a ViT or drop the masked objectives"
            )
        maps: list[Tensor] = []
        if levels:
            last, maps = self.cnn.forward_intermediates(image, indices=list(levels))
        else:
            last = self.cnn.forward_features(image)
        tokens = last.flatten(2).transpose(1, 2)
        prefix = tokens[:, :0]
        return Features(tokens.mean(1), tokens, prefix, (last.shape[-2], last.shape[-1]), None, maps)


@torch.no_grad()
def start_like_mae(vit: Any) -> None:
    """MAE's random init: 2-D sin-cos positions (trained on from there) and Xavier-uniform projections.

    timm's own starts positions and weights at a standard deviation of 0.02, which suits a width of 768 only: at 128
    the blocks begin so close to the identity, and positions so faint, that a short run hardly moves.
    """
    positions = build_sincos2d_pos_embed(list(vit.patch_embed.grid_size), vit.num_features)
    vit.pos_embed[:, : vit.num_prefix_tokens] = 0
    vit.pos_embed[:, vit.pos_embed.shape[1] - len(positions) :] = positions
    nn.init.xavier_uniform_(vit.patch_embed.proj.weight.flatten(1))
    for module in vit.blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


@REGISTRY.register("image", "timm/")
def timm_encoder(name: str, spec: ImageSpec) -> nn.Module:
    """Any timm image model, by its timm name.

    Args:
        name: timm model name, such as ``vit_base_patch16_224`` or ``resnet50``.
        spec: a complete one; its ``encoder`` is ``name`` again.

    Raises:
        UserError: timm has no such model, weights with a convolutional stem, or a file that does not fit.
    """
    base = name.split(".")[0]
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), n=1)
        raise UserError(f"timm has no model '{name}'" + (f"; did you mean 'timm/{near[0]}'?" if near else ""))
    published = spec.weights == "hub"
    options: dict[str, Any] = dict(spec.options or {})
    if timm.models.is_model_in_modules(base, ["vision_transformer"]):
        if spec.weights is not None and spec.stem == "convolution":
            raise UserError(
                f"model.backbone.image.weights is {spec.weights} and image.stem is convolution, whose patch embedding "
                "no published ViT has; set image.stem to linear or leave image.weights out"
            )
        vit: Any = timm.create_model(
            name, pretrained=published, num_classes=0, img_size=spec.size, dynamic_img_size=True, **options
        )
        if not published:
            start_like_mae(vit)
        if spec.stem == "convolution":
            first = vit.patch_embed
            vit.patch_embed = ConvolutionalStem(
                first.patch_size[0], first.grid_size, vit.num_features, first.proj.in_channels
            )
        return _filled(ViTEncoder(vit, spec.pool or "mean"), vit, spec.weights)
    model = timm.create_model(name, pretrained=published, num_classes=0, **options)
    if not hasattr(model, "feature_info") or hasattr(model, "patch_embed"):
        raise UserError(f"timm/{name} is neither a plain ViT nor a CNN with feature maps; choose one of those families")
    return _filled(CNNEncoder(model), model, spec.weights)


def _filled(encoder: Any, model: Any, weights: str | None) -> Any:
    if weights not in (None, "hub"):
        fill_from_file(encoder, model, str(weights))
    return encoder


def fill_from_file(encoder: nn.Module, model: Any, path: str) -> None:
    """Fill ``encoder``, whose timm model is ``model``, from a file with timm's names, bare or below ``module.`` or
    ``encoder.``, or from a checkpoint of this project.

    timm's own filter of the model's family goes first: it knows the names of other code bases, and resamples positions
    and patch embeddings.

    Raises:
        UserError: no such file, or a poor match, see :func:`mpma_lightning.backbones.filling.fill`.
    """
    checkpoint = read_checkpoint(path)
    translate = getattr(inspect.getmodule(type(model)), "checkpoint_filter_fn", None)
    if translate is not None:
        try:
            checkpoint.state = translate(checkpoint.state, model)
        except Exception as error:  # timm's filters expect the files they were written for
            raise UserError(
                f"model.backbone.image.weights {path} cannot be read as weights of timm's {type(model).__name__} "
                f"({type(error).__name__}: {error}); give a file of that model"
            ) from error
    advice = "Give model.backbone.image.weights a file of the timm model that model.backbone.image.encoder names"
    fill({"image": encoder}, checkpoint, advice=advice)
