"""What a store holds: its shards, its rows and, last, its manifest."""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.files import whole_file, write_whole
from data_modules.images.annotations import written_out
from data_modules.images.shards import IMAGES, MANIFEST, SCHEMA, read_shard
from data_modules.index.views import image_columns
from data_modules.machine import Each
from data_modules.prepare.plan import Plan, described
from data_modules.store.shards import CONTINUE, Options, ShardJob, checksum, write_shard
from data_modules.store.store import NO_VIEW, ROWS, seal

EVERY = 30.0
"""Seconds between two lines on the progress where there is no terminal."""
_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[speed]}"),
    TimeRemainingColumn(),
)


def write_images(part: Path, plan: Plan, options: Options, each: Each) -> None:
    """Write every shard that is not there yet; ``each`` runs them."""
    folder = part / IMAGES
    folder.mkdir(exist_ok=True)
    base = os.path.commonpath([Path(file).parent for file in plan.files]) if plan.files else ""
    names = [os.path.relpath(file, base) for file in plan.files]
    jobs = [
        ShardJob(folder / name, plan.files[rows], names[rows], options)
        for name, rows in plan.shards.items()
        if not (folder / name).is_file()
    ]
    console, total, done = Console(stderr=True), sum(len(job.files) for job in jobs), 0
    with Progress(*_COLUMNS, console=console, disable=not console.is_terminal) as bars:
        begin = said = time.monotonic()
        shown = bars.add_task("preparing images", total=total, speed="")
        for job, _ in zip(jobs, each(write_shard, jobs), strict=True):
            done, now = done + len(job.files), time.monotonic()
            speed = done / max(now - begin, 1e-9)
            bars.update(shown, completed=done, speed=f"{speed:,.0f} images/s")
            if not console.is_terminal and (now - said > EVERY or done == total):
                said = now
                left = f"{(total - done) / speed / 60:.0f} min left"
                print(f"preparing images: {done:,} of {total:,}, {speed:,.0f} images/s, {left}", file=sys.stderr)


def finish(part: Path, plan: Plan, data: DataModule) -> None:
    """Write the rows whose image is sound, and last the manifest.

    Raises:
        UserError: too many images are broken; their shards are then removed, so that they are read again.
    """
    images = _images(part, plan)
    rows = plan.rows
    if broken := {number: why for number, why in enumerate(images["broken"].to_pylist()) if why is not None}:
        lost = rows["image"].isin(list(broken))
        hurt = rows[image_columns(rows)].isin(list(broken)).any(axis=1)
        _refuse_many(part, plan, broken, hurt, data.max_missing)
        rows = rows[~lost].reset_index(drop=True)
        data.drop("broken image", int(lost.sum()))
        for name in image_columns(rows)[1:]:
            without = rows[name].isin(list(broken))
            if without.any():
                data.note(f"{int(without.sum()):,} {name} images are broken: their samples go without")
            rows[name] = rows[name].where(~without, NO_VIEW)
            rows[f"{name}_id"] = rows[f"{name}_id"].where(~without, None)
        checked = data.sound_rows(rows.drop(columns=image_columns(rows)), every=True)
        plan.manifest |= described(checked, data) | {"broken": sorted(broken.values()), "notes": list(data._notes)}
    if "mask" in rows:
        rows["mask"] = _masks_as_runs(plan, rows, images)
    with whole_file(part / ROWS, remedy=CONTINUE) as draft:
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), draft)
    sources = hashlib.sha256()
    for file, digest in zip(images["file"].to_pylist(), images["sha256"].to_pylist(), strict=True):
        sources.update(f"{file}\x1f{digest}\x1e".encode())
    plan.manifest |= {
        "source_hash": sources.hexdigest(),
        "rows_sha256": hashlib.sha256((part / ROWS).read_bytes()).hexdigest(),
        "shards": {name: checksum(part / IMAGES / name).read_text() for name in plan.shards},
    }
    plan.manifest["seal"] = seal(plan.manifest)
    write_whole(part / MANIFEST, json.dumps(plan.manifest, indent=1) + "\n")


def _images(part: Path, plan: Plan) -> pa.Table:
    """All that the shards say of the images, in the order of ``plan.files``."""
    shards = (read_shard(part / IMAGES / name) for name in plan.shards)
    return pa.concat_tables([SCHEMA.empty_table(), *shards]).drop_columns("payload")


def _refuse_many(part: Path, plan: Plan, broken: dict[int, str], lost: pd.Series, max_missing: float) -> None:
    by_split = lost.groupby(plan.rows["split"]).agg(["sum", "count"])
    if (by_split["sum"] / by_split["count"]).max() <= max_missing:
        return
    for name, numbers in plan.shards.items():
        if any(numbers.start <= number < numbers.stop for number in broken):
            (part / IMAGES / name).unlink()
    listed = "\n  ".join(list(broken.values())[:10])
    more = f"\n  and {len(broken) - 10:,} more: `check --all` lists them" if len(broken) > 10 else ""
    counts = ", ".join(f"{split} {row['sum']:,}/{row['count']:,}" for split, row in by_split.iterrows())
    raise UserError(
        f"found {len(broken):,} broken images ({counts}), expected at most {max_missing:g} of every split; mend "
        "them and run the same command again, which continues, or accept their share with --data.max_missing:\n"
        f"  {listed}{more}"
    )


def _masks_as_runs(plan: Plan, rows: pd.DataFrame, images: pa.Table) -> list[str]:
    """Run lengths in place of the mask files, so that the store does not depend on them."""
    sizes = list(zip(images["source_width"].to_pylist(), images["source_height"].to_pylist(), strict=True))
    pairs = track(zip(rows["mask"], rows["image"], strict=True), "reading masks", len(rows), disable=len(rows) < 500)
    return [written_out({"mask": mask, "image": plan.files[number]}, sizes[number]) for mask, number in pairs]
