"""Published values that may stand beside ours: same protocol, same data set, same split, never the phantom."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_modules.yaml_files import read_yaml
from mpma_lightning.cli.parse import parsed
from mpma_lightning.lab.records import Record

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
    where: dict = field(default_factory=dict)
    given: list[str] = field(default_factory=list)

    def fits(self, data: dict[str, Any]) -> bool:
        """Whether the arguments of a data module, defaults included, are those of the publication."""
        same = all(key in data and data[key] == value for key, value in self.where.items())
        return same and all(data.get(key) is not None for key in self.given)


def quoted_for(record: Record, data: Callable[[], dict[str, Any]]) -> list[Quoted]:
    """What may be quoted beside ``record``.

    Args:
        record: of a run.
        data: gives all arguments of its data module; what is not among them is not taken to be so.
    """
    if record.phantom is not False:  # a record that does not say is not taken for real data
        return []
    arguments = data()
    return [
        entry
        for entry in (parsed(Quoted, entry, str(FILE)) for entry in read_yaml(FILE))
        if (entry.protocol, entry.dataset) == (record.protocol, record.dataset)
        and entry.fraction in (None, record.label_fraction)
        and entry.fits(arguments)
    ]
