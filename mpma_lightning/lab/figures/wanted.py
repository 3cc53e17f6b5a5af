"""What is asked of the command `figure`, and what it draws."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Wanted:
    """The arguments of the command; ``None`` and empty ones were not given.

    Attributes:
        runs: run folders, a checkpoint, or the folder of a sweep.
        ids: samples.
        samples: how many.
        split: ``val`` or ``test``.
        checkpoint: ``last``, ``best`` or a file.
        ratios: shares of hidden patches.
        metric: name of a metric or curve.
        protocol: of the runs of a sweep.
        layer: of fusion, from 0.
        image, text: of the kind ``phrase``.
        tokenizer: of a checkpoint without one.
        trusted: whether configs may name classes of any package.
    """

    kind: str
    runs: Sequence[Path]
    ids: Sequence[str] = ()
    samples: int | None = None
    split: str | None = None
    checkpoint: str | None = None
    ratios: Sequence[float] = ()
    metric: str | None = None
    protocol: str | None = None
    layer: int | None = None
    image: Path | None = None
    text: str | None = None
    tokenizer: str | None = None
    trusted: bool = False


@dataclass
class Drawn:
    """A figure and what its caption has to say.

    Attributes:
        told: sentences after what the figure itself says: run, checkpoint, protocol, data, samples.
        patients: whether it shows images or texts that are not known to be synthetic.
    """

    figure: Figure
    told: list[str] = field(default_factory=list)
    patients: bool = False
