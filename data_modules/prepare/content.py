"""What a store holds: its shards, its rows and, last, its manifest."""

import hashlib
import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from data_modules.base import DataModule
from data_modules.errors import UserError
from data_modules.images.annotations import written_out
from data_modules.images.shards import IMAGES, MANIFEST
from data_modules.index.manifest import manifest_hash
from data_modules.index.splits import SPLITS
from data_modules.machine import cores
from data_modules.prepare.plan import Options, Plan
from data_modules.prepare.unfinished import write
from data_modules.store.shards import ShardJob, checksum, write_shards
from data_modules.store.store import ROWS, seal


def write_images(part: Path, plan: Plan, options: Options, workers: int | None) -> None:
    """Every shard that is not there yet; ``workers`` None = one per available core."""
    folder = part / IMAGES
    folder.mkdir(exist_ok=True)
    for draft in folder.glob("*.part"):  # of a killed worker
        draft.unlink()
    base = os.path.commonpath([Path(file).parent for file in plan.files]) if plan.files else ""
    jobs = [
        ShardJob(
            folder / name,
            plan.files[part_of],
            [os.path.relpath(file, base) for file in plan.files[part_of]],
            options.short_side,
            options.payload,
            options.quality,
        )
        for name, part_of in plan.shards.items()
        if not (folder / name).is_file()
    ]
    for _ in track(write_shards(jobs, workers or cores()), "preparing images", total=len(jobs)):
        pass


def accept_broken(part: Path, plan: Plan, data: DataModule) -> dict[int, str]:
    """Broken images by number; UserError, and their shards are removed, when they are too many."""
    broken: dict[int, str] = {}
    for name, part_of in plan.shards.items():
        with pa.memory_map(str(part / IMAGES / name)) as source:
            reasons = pa.ipc.open_stream(source).read_all().column("broken")
        broken |= {part_of.start + i: reason.as_py() for i, reason in enumerate(reasons) if reason.is_valid}
    if not broken:
        return broken
    lost = plan.rows["image"].isin(list(broken)).groupby(plan.rows["split"]).agg(["sum", "count"])
    if (lost["sum"] / lost["count"]).max() <= data.max_missing:
        return broken
    for name, part_of in plan.shards.items():
        if any(part_of.start <= number < part_of.stop for number in broken):
            (part / IMAGES / name).unlink()
    listed = "\n  ".join(list(broken.values())[:10])
    more = f"\n  and {len(broken) - 10:,} more: `check --all` lists them" if len(broken) > 10 else ""
    counts = ", ".join(f"{split} {row['sum']:,}/{row['count']:,}" for split, row in lost.iterrows())
    raise UserError(
        f"found {len(broken):,} broken images ({counts}), expected at most {data.max_missing:g} of every split; mend "
        "them and run the same command again, which continues, or accept their share with --data.max_missing:\n"
        f"  {listed}{more}"
    )


def finish(part: Path, plan: Plan, data: DataModule, broken: dict[int, str]) -> None:
    """Write the rows without those of ``broken`` images, and last the manifest."""
    rows = plan.rows
    if broken:
        lost = rows["image"].isin(list(broken))
        rows = rows[~lost].reset_index(drop=True)
        data.drop("broken image", int(lost.sum()))
        checked = data.sound_rows(rows.drop(columns="image"), every=True)
        labels, passed_on = data.label_names, data.passed_on
        plan.manifest |= {
            "counts": {split: int((checked["split"] == split).sum()) for split in SPLITS},
            "dropped": dict(sorted(data.dropped.items())),
            "manifest_hash": manifest_hash(checked, labels, passed_on),
            "split_hashes": {s: manifest_hash(checked[checked["split"] == s], labels, passed_on) for s in SPLITS},
            "broken": sorted(broken.values()),
        }
    if "mask" in rows:
        rows["mask"] = _written_out_masks(part, plan, rows)
    draft = part / f"{ROWS}.part"
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), draft)
    draft.replace(part / ROWS)
    shards = {}
    sources = hashlib.sha256()
    for name in plan.shards:
        path = part / IMAGES / name
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_stream(source).read_all().select(["file", "sha256"])
            for file, digest in zip(table["file"].to_pylist(), table["sha256"].to_pylist(), strict=True):
                sources.update(f"{file}\x1f{digest}\x1e".encode())
        shards[name] = checksum(path).read_text()
    rows_digest = hashlib.sha256((part / ROWS).read_bytes()).hexdigest()
    plan.manifest |= {"source_hash": sources.hexdigest(), "rows_sha256": rows_digest, "shards": shards}
    plan.manifest["seal"] = seal(plan.manifest)
    write(part / MANIFEST, json.dumps(plan.manifest, indent=1))


def _written_out_masks(part: Path, plan: Plan, rows: pd.DataFrame) -> list[str]:
    """Run lengths in place of the mask files, so that a store needs nothing but itself."""
    tables = []
    for name in plan.shards:
        with pa.memory_map(str(part / IMAGES / name)) as source:
            tables.append(pa.ipc.open_stream(source).read_all().select(["source_width", "source_height"]))
    sizes = list(zip(*pa.concat_tables(tables).to_pydict().values(), strict=True))
    records = rows[["mask"]].assign(image=[plan.files[number] for number in rows["image"]]).to_dict("records")
    pairs = zip(records, rows["image"], strict=True)
    return [
        written_out(record, sizes[number])  # type: ignore[arg-type]
        for record, number in track(pairs, "reading masks", total=len(rows), disable=len(rows) < 500)
    ]
