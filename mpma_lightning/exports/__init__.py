"""Checkpoints as folders of timm, transformers or safetensors, with a model card."""

from mpma_lightning.exports.export import export

__all__ = ["export"]
