"""Open-i (IU X-Ray): its reports, straight from NLMCXR_reports.tgz, and the images they name."""

from collections import Counter
from pathlib import Path
from statistics import median

import pandas as pd

from data_modules.checks.result import CheckResult
from data_modules.index.words import count_words, normalise
from data_modules.text.openi_reports import read_openi
from data_modules.text.sections import clean
from data_modules.text.sentences import sentences

ARCHIVE = "NLMCXR_reports.tgz"
OFFICIAL = 3955


def examine(root: Path, result: CheckResult) -> pd.DataFrame | None:
    """One row an image; the set knows no patients and no splits."""
    reports = list(read_openi(root / ARCHIVE))
    if (count := len(reports)) != OFFICIAL:
        result.add("warning", "counts", f"{count:,} reports, officially {OFFICIAL:,}: download the archive again")
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
    often = max((number for text, number in same.items() if text), default=0)
    shared = sum(n for n in same.values() if n > 1)
    result.add("info", "repeated text", f"{shared:,} reports share their text with another, {often} have one text")
    folder = next((path for path in (root / "images", root / "NLMCXR_png", root) if any(path.glob("*.png"))), None)
    if folder is None:
        result.add("info", "no images", f"{root}: found no images, expected NLMCXR_png (openi.nlm.nih.gov/faq)")
        return None
    named = [(image, entry["uid"]) for entry in reports for image in entry["images"]]
    frame = pd.DataFrame(named, columns=["id", "study"])
    image = f"{folder}/" + frame["id"] + ".png"
    return frame.assign(patient=frame["study"], text=frame["study"].map(texts), image=image)
