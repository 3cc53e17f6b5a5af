"""The folder of an unfinished store: who writes it, by which plan, and when it takes its place."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_modules.errors import UserError
from data_modules.files import write_whole
from data_modules.images.shards import IMAGES, MANIFEST
from data_modules.prepare.plan import Plan

_PLAN, _LOCK = "plan.json", "lock"


@contextmanager
def locked(part: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process, however it ends."""
    part.mkdir(parents=True, exist_ok=True)
    with (part / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{part}: another process is preparing this store; wait for it") from None
        yield


def finished(part: Path, plan: Plan) -> bool:
    """Whether an earlier call was ended after the manifest was written, which is the last thing to write."""
    path = part / MANIFEST
    if not path.is_file():
        return False
    made, keys = json.loads(path.read_text()), ("version", "module", "options", "short_side", "encoding", "versions")
    if any(made[key] != plan.manifest[key] for key in keys):
        raise UserError(f"{part}: found a finished store of other options, expected that of this command; move it away")
    return True


def start(part: Path, plan: Plan) -> None:
    """Note the plan in a new folder, or compare it with the one that an earlier call noted."""
    names = hashlib.sha256("\n".join(plan.files).encode()).hexdigest()
    noted = {**plan.manifest, "files": names, "shards": list(plan.shards)}
    path = part / _PLAN
    if path.is_file():
        found = json.loads(path.read_text())
        if found != noted:
            key = next(key for key in noted if found.get(key) != noted[key])
            raise UserError(
                f"{part}: found an unfinished store of other options or sources ({key} differs); delete {part} to "
                "begin again, or run the earlier command to finish it"
            )
    elif foreign := [p.name for p in part.iterdir() if p.name != _LOCK and not p.name.startswith(f".{_PLAN}.")]:
        raise UserError(f"{part}: found {foreign[0]}, expected an unfinished store; move it away")
    else:
        write_whole(path, json.dumps(noted) + "\n")
    for draft in part.rglob(".*.partial"):  # of a killed process
        draft.unlink()


def swap(part: Path, out: Path) -> None:
    """The finished folder takes the place of ``out``."""
    for path in [part / _PLAN, *(part / IMAGES).glob("*.sha256")]:
        path.unlink(missing_ok=True)
    old = out.with_name(f"{out.name}.old")
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        out.replace(old)
    (part / _LOCK).unlink()
    part.replace(out)
    shutil.rmtree(old, ignore_errors=True)


def bytes_below(folder: Path) -> int:
    """Size of all files in ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
