"""What a checkpoint says about the head of its task."""

from typing import Any

HEAD = "head"
"""Key in a checkpoint: ``names`` of the outputs, and what the task adds."""


def head_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The entries about the head in a checkpoint; older checkpoints have other keys."""
    if HEAD in checkpoint:
        return dict(checkpoint[HEAD])
    if "classes" in checkpoint:
        return {**checkpoint["classes"], "heads": checkpoint.get("heads", [])}
    return {"names": next(checkpoint[key] for key in ("structures", "answers") if key in checkpoint)}
