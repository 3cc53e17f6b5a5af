"""Load the parts of a backbone from a checkpoint."""

from collections.abc import Sequence

from data_modules.errors import UserError
from mpma_lightning.backbones.backbone import Backbone
from mpma_lightning.backbones.checkpoint import Checkpoint
from mpma_lightning.backbones.filling import fill
from mpma_lightning.backbones.weight_match import WeightMatch


def load_weights(
    backbone: Backbone, checkpoint: Checkpoint, tokenizer: str | None = None, parts: Sequence[str] | None = None
) -> dict[str, WeightMatch]:
    """Fill ``parts`` of ``backbone`` in place, see :func:`mpma_lightning.backbones.filling.fill`.

    Args:
        backbone: the module to fill.
        checkpoint: from :func:`mpma_lightning.backbones.checkpoint.read_checkpoint`.
        tokenizer: the tokeniser in use, as JSON text, where it may differ from the checkpoint's.
        parts: the parts to fill; the others keep their initial weights. ``None`` fills every part that is built.

    Raises:
        UserError: the weights match poorly, or ``parts`` names one that is not built.
    """
    if unbuilt := [part for part in parts or () if part not in backbone.parts]:
        raise UserError(f"model.checkpoint_parts names {unbuilt[0]!r}; this task builds {', '.join(backbone.parts)}")
    chosen = backbone.parts if parts is None else parts
    return fill({part: backbone.get_submodule(part) for part in chosen}, checkpoint, tokenizer)
