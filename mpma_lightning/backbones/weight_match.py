"""How well the tensors of a checkpoint match a part of a backbone: counts, verdict and printed table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

LEAST_MATCH = 0.9
"""Share of a part's tensors that a checkpoint must fill."""
REQUIRED = ("word_embeddings", "patch_embed")
"""Input embeddings, which must never be missing: with a random one the other layers are useless."""


@dataclass
class WeightMatch:
    """How one part of the backbone was filled.

    Attributes:
        matched: number of tensors loaded unchanged.
        resized: names of the tensors that were resampled or reordered.
        missing: names of the tensors that the checkpoint lacks.
        mismatched: names and both shapes of the tensors that cannot be loaded.
    """

    matched: int = 0
    resized: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of tensors of the part."""
        return self.matched + len(self.resized) + len(self.missing) + len(self.mismatched)

    @property
    def filled(self) -> int:
        """Number of tensors that were loaded."""
        return self.matched + len(self.resized)

    @property
    def share(self) -> float:
        """Share of the tensors that were filled."""
        return self.filled / max(1, self.total)

    @property
    def fits(self) -> bool:
        """Whether enough tensors were filled, with no required one missing and none of another shape."""
        lacks_required = any(word in name for name in self.missing for word in REQUIRED)
        return self.share >= LEAST_MATCH and not self.mismatched and not lacks_required


def print_matches(path: Path, matches: dict[str, WeightMatch], origin: str = "", remarks: Sequence[str] = ()) -> None:
    """Print a table to standard error, one line per part, with the ``origin`` of the file and ``remarks`` below."""
    title = f"weights from {path}{f' ({origin})' if origin else ''}"
    table = Table(title=title, title_justify="left", caption="\n".join(remarks) or None, caption_justify="left")
    for column in ("part", "matched", "resized", "missing", "other shape"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part, m in matches.items():
        table.add_row(part, f"{m.matched}/{m.total}", *(str(len(x)) for x in (m.resized, m.missing, m.mismatched)))
    Console(stderr=True).print(table)
