"""Image encoders from timm, by name: ViTs with token dropping, CNNs without."""

import difflib
import inspect
from typing import Any

import timm
from torch import nn

from data_modules.errors import UserError
from mpma_lightning.backbones.checkpoint import read_checkpoint
from mpma_lightning.backbones.cnn import CNNEncoder
from mpma_lightning.backbones.convolutional_stem import ConvolutionalStem
from mpma_lightning.backbones.families import VIT, supported, supported_names
from mpma_lightning.backbones.filling import fill
from mpma_lightning.backbones.registry import REGISTRY
from mpma_lightning.backbones.spec import ImageSpec
from mpma_lightning.backbones.vit import ViTEncoder, start_like_mae


@REGISTRY.register("image", "timm/")
def timm_encoder(name: str, spec: ImageSpec) -> ViTEncoder | CNNEncoder:
    """Any timm image model, by its timm name.

    Args:
        name: timm model name, such as ``vit_base_patch16_224`` or ``resnet50``.
        spec: a complete one; its ``encoder`` is ``name`` again.

    Raises:
        UserError: timm has no such model, weights with a convolutional stem, or a file that does not fit.
    """
    base = name.split(".")[0]
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, supported_names(), n=1)
        raise UserError(f"timm has no model '{name}'" + (f"; did you mean 'timm/{near[0]}'?" if near else ""))
    if not supported(base):
        raise UserError(
            f"timm/{name} is neither a plain ViT nor a CNN with feature maps; `backbones 'timm/*'` lists those that are"
        )
    published = spec.weights == "hub"
    options: dict[str, Any] = dict(spec.options or {})
    if timm.models.is_model_in_modules(base, [VIT]):
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
