"""CXR-LT: images that its tables list twice."""

import pandas as pd

from data_modules.checks.result import CheckResult, told_rows
from data_modules.cxr_lt import CXRLTDataModule


def examine(data: CXRLTDataModule, result: CheckResult) -> pd.DataFrame:
    """Every row of the tables; an image in two of them is found with the splits."""
    frame = told_rows(data, data.listed(), result)
    within = frame[frame.duplicated(["id", "split"])]
    result.found("error", "image twice in one table", within["id"], "stops a run; download the tables again")
    return frame
