"""Prepares a data set: plan, room on the disk, images, rows, manifest; the same call again continues."""

import shutil
from functools import partial
from pathlib import Path

from data_modules.base import DataModule
from data_modules.errors import UserError, expect
from data_modules.files import unwritable
from data_modules.images.shards import MANIFEST
from data_modules.machine import Each, cores
from data_modules.prepare.content import finish, write_images
from data_modules.prepare.plan import gigabytes, make_plan
from data_modules.prepare.unfinished import bytes_below, finished, locked, start, swap
from data_modules.store.shards import CONTINUE, Options, in_processes

PER_SHARD = 1024
SPARE = 1.05


def prepare(
    data: DataModule,
    out: Path,
    options: Options | None = None,
    workers: int | None = None,
    dry_run: bool = False,
    replace: bool = False,
    per_shard: int = PER_SHARD,
    each: Each | None = None,
) -> str:
    """Write the store ``out`` of all samples of ``data`` and return what was done; the same call again continues.

    Everything is written into ``<out>.part`` and renamed at the end, so that ``out`` is a whole store or is not there.

    Args:
        data: its arguments choose sections, views, labels, ``max_missing``, ...
        out: a new folder.
        options: of the images.
        workers: processes; None = one per available core.
        dry_run: report what would be written, and write nothing.
        replace: a finished store at ``out`` stays until the new one is whole, and is then deleted.
        per_shard: images a file.
        each: runs the shards; None = ``workers`` processes of this machine. The store is the same to the byte.

    Raises:
        UserError: what reading ``data`` raises; ``out`` or ``<out>.part`` holds something else; too little disk; a
            split with more broken images than ``data.max_missing`` allows.
    """
    options = options or Options()
    part = out.with_name(f"{out.name}.part")
    _check(out, options, replace)
    plan = make_plan(data, options, per_shard)
    done = bytes_below(part)
    free = shutil.disk_usage(_existing(part)).free
    if plan.bytes * SPARE - done > free:
        raise UserError(
            f"{out}: found {gigabytes(free)} free, expected {gigabytes(int(plan.bytes * SPARE) - done)} for "
            f"{len(plan.files):,} images; free some, choose another --out, or a smaller --short_side"
        )
    if dry_run:
        return f"{plan.describe()}\n{gigabytes(free)} free; nothing was written (dry run)"
    try:
        with locked(part):
            if not finished(part, plan):
                start(part, plan)
                write_images(part, plan, options, each or partial(in_processes, workers=workers or cores()))
                finish(part, plan, data)
            swap(part, out)
    except OSError as error:
        raise unwritable(part, error, CONTINUE) from None
    return f"{plan.describe()}\n{out}: {gigabytes(bytes_below(out))}, manifest {plan.manifest['manifest_hash'][:12]}"


def _check(out: Path, options: Options, replace: bool) -> None:
    expect(options.payload in ("jpeg", "raw"), "--payload", options.payload, "jpeg or raw")
    expect(options.short_side >= 32, "--short_side", options.short_side, "32 or more")
    expect(1 <= options.quality <= 100, "--quality", options.quality, "1 to 100")
    if out.exists() and not (replace and (out / MANIFEST).is_file()):
        remedy = "delete it, choose another --out, or replace a finished store with --replace"
        raise UserError(f"{out}: already exists, expected a new folder; {remedy}")


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
