"""Image encoders from timm, by name."""

import inspect
from typing import Any

import timm
from torch import nn

from data_modules.errors import UserError, nearest
from mpma_lightning.backbones.checkpoint import read_checkpoint
from mpma_lightning.backbones.convolutional_stem import ConvolutionalStem
from mpma_lightning.backbones.families import VIT, family_of, supported_names
from mpma_lightning.backbones.filling import fill
from mpma_lightning.backbones.registry import REGISTRY
from mpma_lightning.backbones.spec import ImageSpec
from mpma_lightning.backbones.vit import init_like_mae


@REGISTRY.register("image", "timm/")
def timm_encoder(name: str, spec: ImageSpec) -> nn.Module:
    """A ViT, Swin Transformer or CNN of timm; plain ViTs and DeiTs can drop masked patches.

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
    family = family_of(architecture)
    if family is None:
        raise UserError(
            f"timm/{name} is of a family that is not supported; `backbones 'timm/*'` lists the supported models"
        )
    sized = {"img_size": spec.size} if family.sized else {}
    if family is VIT:
        _refuse_weights_for_another_stem(spec)
    model = _create(name, spec, **sized, **family.arguments)
    if family is VIT:
        _finish_vit(model, spec)
    encoder = family.encoder(model, spec.pool or "mean") if family.pooled else family.encoder(model)
    if spec.weights not in (None, "hub"):
        _fill_from_file(encoder, model, str(spec.weights))
    return encoder


def _create(name: str, spec: ImageSpec, **fixed: Any) -> Any:
    options: dict[str, Any] = dict(spec.options or {})
    eps = options.pop("norm_eps", None)
    try:
        model = timm.create_model(name, pretrained=spec.weights == "hub", num_classes=0, **fixed, **options)
    except Exception as error:  # each model of timm checks its arguments in its own way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(
            f"timm/{name} cannot be created with model.backbone.image.options {options} and weights {spec.weights} "
            f"({reason}); correct these settings"
        ) from error
    if eps is not None:
        for norm in model.modules():
            if isinstance(norm, nn.LayerNorm):
                norm.eps = eps
    return model


def _refuse_weights_for_another_stem(spec: ImageSpec) -> None:
    if spec.weights is not None and spec.stem not in (None, "linear"):
        raise UserError(
            f"model.backbone.image.weights is {spec.weights} and image.stem is {spec.stem}, but published ViTs have a "
            "linear patch embedding; set image.stem to linear or leave image.weights out"
        )


def _finish_vit(vit: Any, spec: ImageSpec) -> None:
    """Initial weights and stem of a plain ViT, without the norm of timm's head."""
    if spec.weights != "hub":
        init_like_mae(vit)
    vit.fc_norm = nn.Identity()  # of timm's pooled feature
    if spec.stem == "convolution":
        linear = vit.patch_embed
        vit.patch_embed = ConvolutionalStem(
            linear.patch_size[0], linear.grid_size, vit.num_features, linear.proj.in_channels
        )


def _fill_from_file(encoder: nn.Module, model: Any, path: str) -> None:
    """Load a checkpoint of this project, a file of a known family, or one with timm's names (also below ``encoder.``).

    For files of unknown families timm's filter for the model's family is applied first: it resamples position and patch
    embeddings.
    """
    checkpoint = read_checkpoint(path)
    known = checkpoint.spec is not None or checkpoint.imported is not None
    translate = getattr(inspect.getmodule(type(model)), "checkpoint_filter_fn", None)
    if translate is not None and not known:
        try:
            checkpoint.state = translate(checkpoint.state, model)
        except Exception as error:  # timm's filters expect the files they were written for
            raise UserError(
                f"model.backbone.image.weights {path} cannot be read as weights of timm's {type(model).__name__} "
                f"({type(error).__name__}: {error}); give a file of that model"
            ) from error
    advice = "Give model.backbone.image.weights a file of the timm model that model.backbone.image.encoder names"
    fill({"image": encoder}, checkpoint, advice=advice)
