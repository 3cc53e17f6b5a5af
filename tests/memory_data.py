"""A data module that holds what a test gives it: no files, no setup."""

import pandas as pd

from data_modules.base import DataModule
from data_modules.contract import DataSpec


class MemoryData(DataModule):
    """``spec`` and ``index`` as given."""

    def __init__(self, spec: DataSpec | None = None, index: pd.DataFrame | None = None, **common: object) -> None:
        super().__init__(**common)  # type: ignore[arg-type]
        self._spec = spec or DataSpec("Memory")
        self.index = index
