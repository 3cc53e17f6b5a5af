"""Checkpoints of other code bases under this project's names: one module with a table of names a family."""

from pathlib import Path

from data_modules.errors import UserError
from mpma_lightning.backbones.importers import (
    biovil,
    cnn,
    convirt,
    gloria,
    hf_bert,
    hf_clip,
    hf_vit,
    m3ae,
    mgca,
    mrm,
    open_clip,
    siglip,
    timm_vit,
)
from mpma_lightning.backbones.importers.foreign import Family, Foreign, Imported, Normalisation
from mpma_lightning.backbones.importers.wrappers import unwrapped

__all__ = ["FAMILIES", "Family", "Foreign", "Imported", "Normalisation", "recognise"]

FAMILIES: tuple[Family, ...] = (
    mrm.FAMILY,
    mgca.FAMILY,
    gloria.FAMILY,
    convirt.FAMILY,
    biovil.IMAGE,
    biovil.TEXT,
    m3ae.FAMILY,
    hf_clip.FAMILY,
    siglip.FAMILY,
    open_clip.FAMILY,
    hf_vit.FAMILY,
    timm_vit.FAMILY,
    hf_bert.FAMILY,
    cnn.RESNETS,
    cnn.DENSENETS,
)
"""Every family that can be imported; the first one that a file fits is its family, so special ones come first."""


def recognise(foreign: Foreign, path: str | Path = "") -> Imported | None:
    """``foreign`` under this project's names; ``None`` if it is of no known family.

    Prefixes of wrappers are found by themselves; what lies outside of them is left out.

    Args:
        foreign: the tensors of a file, and what lies beside it.
        path: the file, for error messages.

    Raises:
        UserError: it has the marks of a family, and lacks a tensor or has one of another form.
    """
    for tensors, prefixes in unwrapped(foreign.tensors):
        family = next((family for family in FAMILIES if family.fits(tensors)), None)
        if family is None:
            continue
        before = "".join(prefixes)
        inside = {before + name for name in tensors}
        found = Foreign(dict(tensors), foreign.config, foreign.tokenizer, foreign.beside)
        try:
            imported = family.translate(found)
        except UserError as error:
            raise UserError(f"checkpoint {path} has the marks of {family.name}: {error}") from error
        except (LookupError, ValueError, RuntimeError, TypeError, ArithmeticError) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            raise UserError(
                f"checkpoint {path} has the marks of {family.name}, but not all of its tensors ({reason}); give the "
                "whole file as it was published"
            ) from error
        imported.family, imported.prefixes = family.name, prefixes
        imported.tokenizer = foreign.tokenizer if imported.text_config else None
        imported.left_out = [*found.tensors, *(name for name in foreign.tensors if name not in inside)]
        return imported
    return None
