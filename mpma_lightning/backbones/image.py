"""Image encoders from timm, by name: ViTs with token dropping, and CNNs without."""

import inspect
from typing import Any

import timm

from data_modules.errors import UserError, nearest
from mpma_lightning.backbones.checkpoint import read_checkpoint
from mpma_lightning.backbones.cnn import CNNEncoder
from mpma_lightning.backbones.convolutional_stem import ConvolutionalStem
from mpma_lightning.backbones.families import POOLED_ONLY, VIT, is_supported, supported_names
from mpma_lightning.backbones.filling import fill
from mpma_lightning.backbones.registry import REGISTRY
from mpma_lightning.backbones.spec import ImageSpec
from mpma_lightning.backbones.vit import ViTEncoder, init_like_mae


@REGISTRY.register("image", "timm/")
def timm_encoder(name: str, spec: ImageSpec) -> ViTEncoder | CNNEncoder:
    """A ViT or CNN of timm.

    Args:
        name: timm model name, such as ``vit_base_patch16_224`` or ``resnet50``.
        spec: a complete one; its ``encoder`` is ``timm/`` and ``name``.

    Raises:
        UserError: timm has no such model or refuses the options, a convolutional stem is combined with published
            weights, or the file of weights does not fit.
    """
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        known = [f"timm/{model}" for model in supported_names()]
        raise UserError(f"timm has no model '{name}'{nearest(f'timm/{architecture}', known)}")
    if not is_supported(architecture):
        raise UserError(
            f"timm/{name} is neither a plain ViT nor a supported CNN; `backbones 'timm/*'` lists the supported models"
        )
    encoder: ViTEncoder | CNNEncoder
    if timm.models.is_model_in_modules(architecture, [VIT]):
        model = _vit(name, spec)
        encoder = ViTEncoder(model, spec.pool or "mean")
    else:
        model = _create(name, spec)
        encoder = CNNEncoder(model, has_maps=not timm.models.is_model_in_modules(architecture, POOLED_ONLY))
    if spec.weights not in (None, "hub"):
        _fill_from_file(encoder, model, str(spec.weights))
    return encoder


def _create(name: str, spec: ImageSpec, **fixed: Any) -> Any:
    options: dict[str, Any] = dict(spec.options or {})
    try:
        return timm.create_model(name, pretrained=spec.weights == "hub", num_classes=0, **fixed, **options)
    except Exception as error:  # each model of timm checks its arguments in its own way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(
            f"timm/{name} cannot be created with model.backbone.image.options {options} and weights {spec.weights} "
            f"({reason}); correct these settings"
        ) from error


def _vit(name: str, spec: ImageSpec) -> Any:
    if spec.weights is not None and spec.stem == "convolution":
        raise UserError(
            f"model.backbone.image.weights is {spec.weights} and image.stem is convolution, but published ViTs have a "
            "linear patch embedding; set image.stem to linear or leave image.weights out"
        )
    vit = _create(name, spec, img_size=spec.size, dynamic_img_size=True)
    if spec.weights != "hub":
        init_like_mae(vit)
    if spec.stem == "convolution":
        linear = vit.patch_embed
        vit.patch_embed = ConvolutionalStem(
            linear.patch_size[0], linear.grid_size, vit.num_features, linear.proj.in_channels
        )
    return vit


def _fill_from_file(encoder: ViTEncoder | CNNEncoder, model: Any, path: str) -> None:
    """Load a file with timm's tensor names (also below ``module.`` or ``encoder.``) or a checkpoint of this project.

    timm's filter for the model's family is applied first: it knows the names of other code bases, and resamples
    position and patch embeddings.
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
