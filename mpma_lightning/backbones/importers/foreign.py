"""What an importer is given, tensors of another code base, and what it returns, the same under our names."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mpma_lightning.backbones.spec import BackboneSpec

Table = Sequence[tuple[str, str]]
"""Pairs of a regular expression for whole names and what replaces them, with its groups as in ``re.sub``."""
Normalisation = tuple[float | list[float], float | list[float]]


@dataclass
class Foreign:
    """A checkpoint of another code base.

    Attributes:
        tensors: by name, without the prefixes of wrappers; an importer takes out what it translates.
        config: what ``config.json`` or ``open_clip_config.json`` beside them says; empty without one.
        tokenizer: as JSON text, if the folder has one.
        beside: further tensors in the folder, such as the image encoder beside a text encoder.
    """

    tensors: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    tokenizer: str | None = None
    beside: dict[str, Tensor] = field(default_factory=dict)

    def take(self, table: Table, into: str = "") -> dict[str, Tensor]:
        """Take out the tensors that ``table`` names, under their new names, each below ``into``."""
        patterns = [(re.compile(pattern), new) for pattern, new in table]
        found: dict[str, Tensor] = {}
        for name in list(self.tensors):
            for pattern, new in patterns:
                if match := pattern.fullmatch(name):
                    found[into + match.expand(new)] = self.tensors.pop(name)
                    break
        return found

    def drop(self, *patterns: str) -> None:
        """Take out what no model needs, such as counters and buffers of positions."""
        self.take([(pattern, "") for pattern in patterns])


@dataclass
class Imported:
    """A checkpoint under this project's names.

    Attributes:
        spec: the fields that the file determines; the others are ``None``.
        state: tensors by name, which begins with the part, such as ``image.``.
        normalisation: mean and standard deviation of the pixels in [0, 1], one number or one a channel; ``None`` where
            the family has no fixed one.
        tokenizer: as JSON text, if the folder holds one.
        text_config: configuration from which transformers builds the text encoder.
        notes: what differs from the original, for the report.
        family, prefixes, left_out: filled by :func:`mpma_lightning.backbones.importers.recognise`: the name of the
            family, the prefixes of wrappers, and the names of the tensors that nothing takes.
    """

    spec: BackboneSpec
    state: dict[str, Tensor]
    normalisation: Normalisation | None = None
    tokenizer: str | None = None
    text_config: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    family: str = ""
    prefixes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a backbone that the file holds."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in self.state))


@dataclass(frozen=True)
class Family:
    """Checkpoints of one code base.

    Attributes:
        name: as users know it.
        marks: regular expressions of whole names; a file in which each finds a tensor is of this family.
        translate: gives the checkpoint this project's names.
        unless: regular expressions of names that no file of this family has.
    """

    name: str
    marks: tuple[str, ...]
    translate: Callable[[Foreign], Imported]
    unless: tuple[str, ...] = ()

    def fits(self, names: Iterable[str]) -> bool:
        """Whether a file with tensors of these names is of this family."""
        names = list(names)
        found = [any(re.fullmatch(mark, name) for name in names) for mark in (*self.marks, *self.unless)]
        return all(found[: len(self.marks)]) and not any(found[len(self.marks) :])


def depth_of(names: Iterable[str], pattern: str) -> int:
    """One more than the largest number that the first group of ``pattern`` finds at the start of a name; 0 if none."""
    found = (re.match(pattern, name) for name in names)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
