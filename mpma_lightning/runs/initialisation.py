"""What the backbone of a task started from."""

from typing import Any


def initialisation(task: Any) -> str:
    """Names of the sources of the initial weights, joined by a comma.

    ``checkpoint``: ``model.checkpoint``, all or the parts asked for; ``published image``: ``image.weights``, from the
    hub or a file; ``published text``: an ``hf/`` encoder; ``random``: none of these. An encoder that the checkpoint
    filled is not named again.
    """
    chosen = task.backbone.parts if task.checkpoint_parts is None else task.checkpoint_parts
    filled = chosen if task.source else ()
    published = {"image": bool(task.spec.image.weights), "text": str(task.spec.text.encoder).startswith("hf/")}
    words = ["checkpoint"] if filled else []
    words += [f"published {p}" for p in published if published[p] and p in task.backbone.parts and p not in filled]
    return ", ".join(words) or "random"
