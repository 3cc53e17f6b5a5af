"""Several images of one sample: the lateral one of its study, and the frontal one of the patient's study before."""

from collections.abc import Iterable

import pandas as pd

from data_modules.contract import FURTHER_VIEWS

LATEST_TIME = 240_000.0


def image_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of ``frame`` that name images: ``image`` and those of ``FURTHER_VIEWS``, as far as it has them."""
    return [name for name in ("image", *FURTHER_VIEWS) if name in frame]


def one_row_an_image(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with a further row for each further view, whose image is its ``image``."""
    columns = image_columns(frame)
    if columns in ([], ["image"]):
        return frame
    rest = frame.drop(columns=columns)
    parts = [rest.assign(image=frame[name])[frame[name].notna()] for name in columns]
    return pd.concat(parts, ignore_index=True)


def study_times(images: pd.DataFrame) -> pd.DataFrame:
    """When each study was taken: that of its earliest image.

    Args:
        images: ``patient``, ``study``, ``StudyDate`` (YYYYMMDD) and ``StudyTime`` (HHMMSS.fff, without its leading
            zeros where it was once read as a number) as text; blank or of another form is unknown.

    Returns:
        By study: ``patient``; ``date`` (Int64) and ``time`` (Float64, HHMMSS.fff), NA where unknown.
    """
    date = pd.to_numeric(images["StudyDate"], errors="coerce")
    time = pd.to_numeric(images["StudyTime"], errors="coerce")
    known = images[["patient", "study"]].assign(
        date=date.where(date.between(10_000_101, 99_991_231)).round().astype("Int64"),
        time=time.where((time >= 0) & (time < LATEST_TIME)).astype("Float64"),
    )
    known = known.sort_values(["date", "time"], kind="stable", na_position="last")
    return known.drop_duplicates("study").set_index("study")


def prior_studies(times: pd.DataFrame, candidates: Iterable[str]) -> pd.Series:
    """The latest earlier study of the same patient, by date and then time; ids say nothing about time.

    Of two studies of one day, neither is before the other where their times are equal or one is unknown. Among studies
    of an earlier day, one of unknown time counts as its first.

    Args:
        times: of :func:`study_times`.
        candidates: the studies that can be a prior.

    Returns:
        By study: its prior; without studies that have none.
    """
    dated = times.dropna(subset=["date"]).reset_index()
    dated["date"] = dated["date"].astype("int64")
    dated["moment"] = dated["date"] * 10**9 + (dated["time"].fillna(0) * 1000).round().astype("int64")
    possible = dated[dated["study"].isin(list(candidates))].rename(columns={"study": "prior"})
    days = _latest(dated, possible.sort_values("moment", kind="stable"), "date")
    times_known = possible[possible["time"].notna()]
    same_day = _latest(dated[dated["time"].notna()], times_known, "moment")
    same_day = same_day[same_day["date"] == same_day["date_prior"]]
    found = pd.concat([same_day, days])  # the same day is later
    return found.drop_duplicates("study").set_index("study")["prior"]


def _latest(studies: pd.DataFrame, possible: pd.DataFrame, key: str) -> pd.DataFrame:
    """For each study the last possible one of its patient with a smaller ``key``, where there is one."""
    right = possible.assign(date_prior=possible["date"])[["patient", "prior", "date_prior", key]]
    right = right.sort_values(key, kind="stable")
    found = pd.merge_asof(
        studies.sort_values(key, kind="stable"), right, on=key, by="patient", allow_exact_matches=False
    )
    return found.dropna(subset=["prior"])
