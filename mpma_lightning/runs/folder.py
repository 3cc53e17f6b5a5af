"""The folder of a run: its name, its last checkpoint, and whether a command may continue it."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

import mpma_lightning
from data_modules.errors import UserError

CONFIG_NAME = "config.yaml"
_CONTINUED = ("seed_everything", "model", "data")  # what must stay the same when a run is continued
_SPLITTING = ("seed", "split", "split_file", "lists", "protocol", "val_share")
"""Arguments of data modules that decide which sample is in which split."""
_SPLIT_FILES = ("split_file", "lists")
_OF_FIT, _OF_EVALUATION = ("bad_samples", "non_finite"), ("ckpt_path",)
_FREE = ("data.init_args.num_workers",)  # changes the speed only: no randomness depends on the worker
_SHOWN_ONLY = ("trainer.enable_progress_bar", "trainer.enable_model_summary")


def run_folder(configs: Sequence[Path]) -> Path:
    """``runs/<last config below experiments/, without suffix>``, else ``runs/<its stem>``; stable between calls."""
    if not configs:
        return Path("runs", "unnamed")
    path = configs[-1].resolve().with_suffix("")
    folders = path.parts[:-1]
    if "experiments" in folders:
        below = len(folders) - folders[::-1].index("experiments")
        return Path("runs", *path.parts[below:])
    return Path("runs", path.name)


def last_checkpoint(run: Path) -> Path | None:
    """The newest ``last*.ckpt`` below ``run``."""
    return max(run.rglob("last*.ckpt"), key=lambda path: path.stat().st_mtime, default=None)


def best_checkpoint(last: Path) -> Path:
    """The checkpoint that the monitoring ``ModelCheckpoint`` of the run behind ``last`` kept as its best."""
    from mpma_lightning.backbones.checkpoint import read_file

    states = read_file(last, mmap=True).get("callbacks", {}).values()
    monitoring = [state for state in states if state.get("monitor")]
    best = [state["best_model_path"] for state in monitoring if state.get("best_model_path")]
    if not best:
        why = "no validation has ended yet" if monitoring else "no ModelCheckpoint of the run has a `monitor`"
        raise UserError(f"{last} knows no best checkpoint: {why}; give --ckpt_path last")
    return last.parent / Path(best[0]).name


def check_continues(run: Path, settings: dict[str, Any]) -> None:
    """Refuse to continue ``run`` with another model, data set or seed than it was started with.

    Args:
        run: the run folder.
        settings: the whole effective config of the new command, plain types.
    """
    stored_file = run / CONFIG_NAME
    if not stored_file.is_file() or last_checkpoint(run) is None:
        return
    stored = dict(_flat({key: _today(_load(stored_file)).get(key) for key in _CONTINUED}))
    new = dict(_flat({key: settings.get(key) for key in _CONTINUED}))
    changed = [
        f"{key} {_show(stored, key)} -> {_show(new, key)}"
        for key in dict.fromkeys([*stored, *new])
        if key not in _FREE and stored.get(key, KeyError) != new.get(key, KeyError)
    ]
    if changed:
        raise UserError(
            f"{run} was started with other settings: {'; '.join(changed)}. Set them back to continue it, or start a "
            f"new run with --trainer.default_root_dir OTHER, or delete {run}"
        )


def check_same_split(checkpoint: Path, settings: dict[str, Any]) -> None:
    """Refuse to evaluate ``checkpoint`` on another split of the data that its run was fitted on: it may hold what was
    trained on. Another data set is free, and so is a split file or list of another root.

    Args:
        checkpoint: a file; its run's config is in its folder or the one above, else nothing is compared.
        settings: the whole effective config of the command, plain types.
    """
    stored_file = next((up / CONFIG_NAME for up in checkpoint.parents[:2] if (up / CONFIG_NAME).is_file()), None)
    if stored_file is None:
        return
    fitted, new = dict(_flat({"data": _load(stored_file).get("data")})), dict(_flat({"data": settings.get("data")}))
    if _class_name(fitted) != _class_name(new):
        return
    roots = [key for key in fitted if key.endswith("root")]
    elsewhere = any(not _same(fitted[key], new.get(key)) for key in roots)
    changed = []
    for key in fitted.keys() & new.keys():
        name = key.rpartition(".")[2]
        free = elsewhere and name in _SPLIT_FILES and new[key] is not None
        if name in _SPLITTING and not free and not _same(fitted[key], new[key]):
            changed.append((key.replace(".init_args", ""), fitted[key], new[key]))
    if changed:
        told = "; ".join(f"{key} {old!r} -> {value!r}" for key, old, value in sorted(changed))
        again = " ".join(f"--{key} {'null' if old is None else old}" for key, old, _ in sorted(changed))
        raise UserError(
            f"{checkpoint} was fitted on another split ({stored_file}): {told}; what is tested now may have been "
            f"trained on. Add {again}"
        )


def _class_name(data: dict[str, Any]) -> str:
    return str(data.get("data.class_path")).rpartition(".")[2]


def _same(one: Any, other: Any) -> bool:
    """Equal, or two ways to write one path."""
    if isinstance(one, str) and isinstance(other, str):
        return Path(one).resolve() == Path(other).resolve()
    return bool(one == other)


def config_sha256(settings: dict[str, Any], subcommand: str) -> str:
    """Names an effective config: the same for the same run in another folder or with other loader processes.

    Args:
        settings: the whole effective config of a command, plain types.
        subcommand: which checkpoint ``fit`` continues does not matter; which one the others read does.
    """
    folder = str((settings.get("trainer") or {}).get("default_root_dir"))
    more = _OF_FIT if subcommand == "fit" else _OF_EVALUATION
    kept = {key: settings.get(key) for key in (*_CONTINUED, "trainer", *more)}
    lines = [
        f"{key}: {json.dumps(value, sort_keys=True, default=str)}".replace(folder, "RUN")
        for key, value in sorted(_flat(kept))
        if key not in (*_FREE, *_SHOWN_ONLY)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Versions of what computed the run; ``commit`` where the package runs from a git checkout."""
    found = {"python": platform.python_version(), "mpma_lightning": mpma_lightning.__version__}
    for name in ("torch", "lightning", "transformers", "timm"):
        found[name] = version(name)
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    with suppress(OSError, subprocess.SubprocessError):  # no git, or no checkout: the versions stand alone
        found["commit"] = subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    return found


def _today(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in which a backbone that was written before its parts were nested has today's form."""
    from mpma_lightning.backbones.flat_spec import nested

    model = settings.get("model")
    arguments = model.get("init_args") if isinstance(model, dict) else None
    backbone = arguments.get("backbone") if isinstance(arguments, dict) else None
    if not isinstance(model, dict) or not isinstance(arguments, dict) or not isinstance(backbone, dict):
        return settings
    return {**settings, "model": {**model, "init_args": {**arguments, "backbone": nested(backbone)}}}


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: delete {path.parent}, or choose --trainer.default_root_dir OTHER")
    return content


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _show(settings: dict[str, Any], key: str) -> str:
    return repr(settings[key]) if key in settings else "(absent)"
