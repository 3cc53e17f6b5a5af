"""How well a checkpoint's tensors match each part of a backbone: counted, judged, printed."""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

LEAST_MATCH = 0.9
DECISIVE = ("word_embeddings", "patch_embed")  # where input enters: random, they make the rest worthless


@dataclass
class WeightMatch:
    """How one part of the backbone was filled.

    Attributes:
        matched: number of tensors taken as they are.
        resized: names of the tensors that were resampled or whose rows were moved.
        missing: names of the tensors that the checkpoint lacks.
        mismatched: names and both shapes of the tensors that fit in no way.
    """

    matched: int = 0
    resized: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Tensors of the part."""
        return self.matched + len(self.resized) + len(self.missing) + len(self.mismatched)

    @property
    def share(self) -> float:
        """Of the tensors, those that were filled."""
        return (self.matched + len(self.resized)) / max(1, self.total)

    @property
    def fits(self) -> bool:
        """Enough of the names found, those of ``DECISIVE`` among them, and every tensor found of the right shape."""
        lacks_entry = any(word in name for name in self.missing for word in DECISIVE)
        return self.share >= LEAST_MATCH and not self.mismatched and not lacks_entry


def print_matches(path: Path, matches: dict[str, WeightMatch]) -> None:
    """A table on standard error, a line a part."""
    table = Table(title=f"weights from {path}", title_justify="left")
    for column in ("part", "matched", "resized", "missing", "other shape"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part, m in matches.items():
        table.add_row(part, f"{m.matched}/{m.total}", *(str(len(x)) for x in (m.resized, m.missing, m.mismatched)))
    Console(stderr=True).print(table)
