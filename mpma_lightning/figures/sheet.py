"""What a figure is drawn on: the screen, or a column of a journal; its width and its sizes of text."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

MILLIMETRE = 1 / 25.4


@dataclass(frozen=True)
class Sheet:
    """Attributes:
    text, title: sizes in points; no letter is smaller than 7 points.
    width: the most that a figure takes, in inches; None: what its cells ask for.
    headline: whether a figure says above itself what it shows; in a journal, the caption does.
    """

    text: float = 9
    title: float = 11
    width: float | None = None
    headline: bool = True

    @property
    def small(self) -> float:
        """Of labels inside of images."""
        return max(self.text - 1, 7)

    @property
    def character(self) -> float:
        """Width in inches of a character of the monospaced font."""
        return 0.602 * self.text / 72

    @property
    def line(self) -> float:
        """Height in inches of a line of text."""
        return 1.45 * self.text / 72

    @property
    def ratio(self) -> float:
        """Its text by that of the screen."""
        return self.text / SCREEN.text


SCREEN = Sheet()
COLUMNS = {
    "single": Sheet(7, 8, 89 * MILLIMETRE, headline=False),
    "double": Sheet(7, 8, 183 * MILLIMETRE, headline=False),
}
"""One and two columns of a journal, as Nature has them."""
_current: ContextVar[Sheet] = ContextVar("sheet", default=SCREEN)


def sheet() -> Sheet:
    """What is drawn on now."""
    return _current.get()


@contextmanager
def drawn_on(chosen: Sheet) -> Iterator[None]:
    """Figures made inside are drawn on ``chosen``."""
    before = _current.set(chosen)
    try:
        yield
    finally:
        _current.reset(before)


def is_single() -> bool:
    """Whether there is room for half as many columns."""
    return sheet() == COLUMNS["single"]


def shrunk(widths: Sequence[float]) -> float:
    """The factor, at most 1, by which columns of these ``widths`` in inches become narrower here."""
    most = sheet().width
    return 1.0 if most is None else min(1.0, most / sum(widths))


def letters(count: int, widths: Sequence[float]) -> int:
    """How many letters fit here where ``count`` fit on the screen, in a figure with columns of ``widths``."""
    return max(8, int(count * shrunk(widths) / sheet().ratio))
