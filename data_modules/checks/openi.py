"""Open-i (IU X-Ray): statistics of its reports, beside what every data set is checked for."""

from collections import Counter
from statistics import median

import pandas as pd

from data_modules.checks.result import CheckResult, examine_rows
from data_modules.images.missing import images_present
from data_modules.index.words import count_words, normalise
from data_modules.openi import OpenIDataModule
from data_modules.text.openi_reports import read_openi
from data_modules.text.openi_tables import ARCHIVE, REPORTS
from data_modules.text.sections import clean
from data_modules.text.sentences import sentences

OFFICIAL = 3955


def examine(data: OpenIDataModule, result: CheckResult) -> pd.DataFrame | None:
    """The rows of the data module, after the statistics of the archive where there is one."""
    if (data.root / ARCHIVE).is_file():
        _archive(data, result)
    frame = examine_rows(data, result)
    if frame.empty or not images_present(frame["image"]).any():
        result.add("info", "no images", f"{data.root}: found no images, expected NLMCXR_png (openi.nlm.nih.gov/faq)")
        return None
    if (data.root / ARCHIVE).is_file() or (data.root / REPORTS).is_file():
        unseen = frame.loc[frame["view"] == "unknown", "id"]
        advice = "data.views without unknown leaves them out"
        result.found("info", "image of an unknown view", unseen, advice)
    return frame


def _archive(data: OpenIDataModule, result: CheckResult) -> None:
    reports = list(read_openi(data.root / ARCHIVE))
    if (count := len(reports)) != OFFICIAL:
        result.add("info", "reports", f"{count:,} reports, officially {OFFICIAL:,}")
    texts = {entry["uid"]: clean(f"{entry['findings']} {entry['impression']}") for entry in reports}
    has = Counter((bool(entry["findings"]), bool(entry["impression"])) for entry in reports)
    lengths = {part: [count_words(e[part]) for e in reports if e[part]] for part in ("findings", "impression")}
    same = Counter(map(normalise, texts.values()))
    result.counts |= {
        "reports": len(reports),
        "with findings and impression": has[True, True],
        "with impression only": has[False, True],
        "with findings only": has[True, False],
        "with neither": has[False, False],
        **{f"median words of {part}": int(median(values)) for part, values in lengths.items() if values},
        "reports with XXXX": sum("XXXX" in e["findings"] + e["impression"] for e in reports),
        "sentences": sum(len(sentences(text)) for text in texts.values()),
        "distinct texts": len(same),
        "images named": sum(len(entry["images"]) for entry in reports),
    }
    empty = [f"report {entry['uid']}" for entry in reports if not entry["findings"] and not entry["impression"]]
    result.found("warning", "report without findings and impression", empty, "left out")
    alone = [f"report {entry['uid']}" for entry in reports if not entry["images"]]
    result.found("info", "report without an image", alone, "left out")
    twice = Counter(image for entry in reports for image in entry["images"])
    result.found("error", "image of two reports", [k for k, n in twice.items() if n > 1], "download the archive again")
    often = max((number for text, number in same.items() if text), default=0)
    shared = sum(n for n in same.values() if n > 1)
    result.add("info", "repeated text", f"{shared:,} reports share their text with another, {often} have one text")
