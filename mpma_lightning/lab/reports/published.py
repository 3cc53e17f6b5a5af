"""Published figures that may stand beside a row: same protocol, same data set, same split, never the phantom."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("published.yaml")


@dataclass
class Quoted:
    """A published row.

    Attributes:
        protocol, dataset, method: whose; ``dataset`` is the data module's class.
        values: per cent by metric.
        fraction: label fraction of a run of one fraction.
        where: arguments of the data module that have to be so.
        given: those that have to be set, to whatever.
    """

    protocol: str
    dataset: str
    method: str
    values: dict[str, float]
    fraction: float | None = None
    where: dict[str, Any] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)

    def fits(self, data: dict[str, Any]) -> bool:
        """Whether the arguments of a data module, defaults included, are those of the publication."""
        same = all(key in data and data[key] == value for key, value in self.where.items())
        return same and all(data.get(key) is not None for key in self.given)


def quoted_for(row: dict[str, Any], data: dict[str, Any] | None = None) -> list[Quoted]:
    """What may be quoted beside ``row``.

    Args:
        row: a result row.
        data: all arguments of its data module; what is not in it is not taken to be so.
    """
    if row.get("phantom") is not False:  # a row that does not say is not taken for real data
        return []
    entries = [Quoted(**entry) for entry in yaml.safe_load(FILE.read_text(encoding="utf-8"))]
    return [
        entry
        for entry in entries
        if (entry.protocol, entry.dataset) == (row["protocol"], row["dataset"])
        and entry.fraction in (None, row.get("label_fraction"))
        and entry.fits(data or {})
    ]
