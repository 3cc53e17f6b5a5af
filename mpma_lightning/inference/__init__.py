"""A checkpoint in three lines of Python."""

from mpma_lightning.inference.model import Model, load

__all__ = ["Model", "load"]
