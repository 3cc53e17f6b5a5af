"""Web shards: broken shards and items one by one, and the licences."""

from collections import Counter
from pathlib import Path

import pandas as pd

from data_modules.checks.result import CheckResult
from data_modules.errors import UserError
from data_modules.index.faulty import refuse_many
from data_modules.index.web_items import UNREADABLE, Shard
from data_modules.machine import in_threads
from data_modules.web_shards import WebShardsDataModule


def examine(data: WebShardsDataModule, result: CheckResult) -> pd.DataFrame:
    """The rows of the sound items of the sound shards."""
    paths = data.shards()
    read = dict(zip(paths, in_threads(lambda path: _read(data, path), paths), strict=True))
    broken = [shard for shard in read.values() if isinstance(shard, str)]
    result.found("error", "broken shard", broken, "stops a run")
    sound = {path: shard for path, shard in read.items() if isinstance(shard, Shard)}
    problems = [problem for shard in sound.values() for problem in shard.problems]
    items = sum(len(shard.items) for shard in sound.values())
    try:
        refuse_many(len(problems), items + len(problems), lambda: "")
        result.found("warning", UNREADABLE, problems, "left out")
    except UserError:
        result.found("error", UNREADABLE, problems, "so many stop a run")
    for shard in sound.values():
        shard.problems.clear()
    result.counts |= {"shards": len(paths), "items": items}
    frame = data.rows_of(sound)
    for reason, count in sorted(data.dropped.items()):
        if reason != UNREADABLE:
            result.left_out(reason, count)
    licences = Counter(frame["license"].fillna("none"))
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(licences.items()))
    result.add("info", "licences", f"licences of the samples: {told}")
    return frame


def _read(data: WebShardsDataModule, path: Path) -> Shard | str:
    try:
        return data.read_shard(path)
    except UserError as error:
        return str(error)
