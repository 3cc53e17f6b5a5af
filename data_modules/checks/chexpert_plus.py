"""CheXpert Plus: sections that differ within a study, and the order of reports that has been called unreliable."""

import pandas as pd

from data_modules.checks.result import CheckResult, examine_rows
from data_modules.chexpert_plus import CheXpertPlusDataModule


def examine(data: CheXpertPlusDataModule, result: CheckResult) -> pd.DataFrame:
    """The rows of the data module, with what one study says twice."""
    frame = examine_rows(data, result)
    texts = frame.groupby("study")["text"].nunique()
    result.found("warning", "study with several texts", texts.index[texts > 1], "each image keeps its own")
    if "date_order" not in frame:
        return frame
    orders = frame.groupby("study")["date_order"].nunique()
    result.found("warning", "study with several places in time", orders.index[orders > 1], "do not order it by them")
    first = frame.drop_duplicates("study").dropna(subset="date_order")
    twice = first[first.duplicated(["patient", "date_order"], keep=False)]
    listed = (twice["study"] + ": " + twice["date_order"]).tolist()
    result.found("warning", "place in time of two studies of a patient", listed, "do not order them by it")
    return frame.drop(columns="date_order")
