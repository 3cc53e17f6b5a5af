"""Backbones: image encoder, text encoder, fusion and alignment heads, by name."""

import fnmatch

from mpma_lightning.backbones.backbone import PARTS, Backbone
from mpma_lightning.backbones.families import supported_names
from mpma_lightning.backbones.features import Features
from mpma_lightning.backbones.presets import resolve
from mpma_lightning.backbones.registry import REGISTRY, written
from mpma_lightning.backbones.spec import AlignSpec, BackboneSpec, FusionSpec, ImageSpec, TextSpec, Vocabulary

__all__ = [
    "PARTS",
    "REGISTRY",
    "AlignSpec",
    "Backbone",
    "BackboneSpec",
    "Features",
    "FusionSpec",
    "ImageSpec",
    "TextSpec",
    "Vocabulary",
    "list_backbones",
    "list_parts",
    "resolve",
]


def list_backbones(pattern: str | None = None) -> list[tuple[str, str]]:
    """Name and description of the presets, or of all backbones and timm models that match ``pattern``."""
    entries = REGISTRY.entries("backbone")
    if pattern is None:
        return [
            *entries,
            (
                "timm/<model>",
                f"one of {len(supported_names())} ViTs, Swins and CNNs of timm; to list them: backbones 'timm/vit_*'",
            ),
            ("hf/<model>", "any BERT-like text encoder from the hub or a local folder"),
        ]
    timm_names = [(f"timm/{name}", "image encoder from timm") for name in supported_names()]
    return [entry for entry in [*entries, *timm_names] if _matches(entry[0], pattern)]


def list_parts(pattern: str | None = None) -> list[tuple[str, str]]:
    """How ``model.backbone`` names each registered encoder and fusion, and its description; those that match."""
    return [
        (written(kind, f"{name}<model>" if name.endswith("/") else name), summary)
        for kind in ("image", "text", "fusion")
        for name, summary in REGISTRY.entries(kind)
        if pattern is None or _matches(name, pattern)
    ]


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatch(name, pattern) or pattern in name
