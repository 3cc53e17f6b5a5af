"""Prefixes that training code puts before the names of a model's tensors."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from mpma_lightning.backbones.importers.foreign import below

WRAPPERS = (
    *("module.", "_orig_mod.", "model.", "net.", "backbone.", "encoder.", "teacher.", "student."),
    *("visual.trunk.", "visual.", "img_encoder_q.model.", "img_encoder_q.", "vision_encoder.", "image_encoder."),
    *("img_encoder.", "gloria.", "vit.", "vision_model.", "text_encoder_q.model.", "text_encoder.", "text_model."),
)
"""In the order of preference: a teacher before its student."""
_DEEPEST = 4


def unwrapped(
    tensors: Mapping[str, Tensor], before: tuple[str, ...] = ()
) -> Iterator[tuple[dict[str, Tensor], list[str]]]:
    """``tensors``, then those below one prefix, below two, and so on, each with its prefixes, outermost first."""
    level = [(dict(tensors), list(before))]
    for _ in range(_DEEPEST + 1):
        yield from level
        level = [
            (inside, [*prefixes, wrapper])
            for outside, prefixes in level
            for wrapper in WRAPPERS
            if (inside := below(outside, wrapper))
        ]
