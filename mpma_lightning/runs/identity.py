"""Whether a command may continue a run or evaluate its checkpoint; hashes of configs and files."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mpma_lightning
from data_modules.errors import UsageError, UserError
from data_modules.yaml_files import read_yaml
from mpma_lightning.backbones.flat_spec import nested
from mpma_lightning.backbones.presets import resolve
from mpma_lightning.backbones.tensor_files import read_file
from mpma_lightning.runs.folder import CHECKPOINTS, CONFIG_NAME, Run

_CONTINUED = ("seed_everything", "model", "data")
_SPLITTING = ("seed", "split", "split_file", "lists", "protocol", "val_share")
"""Arguments of data modules that decide which sample is in which split."""
_SPLIT_FILES = ("split_file", "lists")
_OF_FIT, _OF_EVALUATION = ("bad_samples", "non_finite"), ("ckpt_path",)
STATE_KEY = "RunRecord"
"""Under which a checkpoint holds the state of the callback of that name."""
_BATCH_SIZE = "data.init_args.batch_size"
_BACKBONE = "model.init_args.backbone"
_FREE = ("data.init_args.num_workers",)  # changes the speed only: no randomness depends on the worker
_SHOWN_ONLY = ("trainer.enable_progress_bar", "trainer.enable_model_summary")


def check_continues(
    run: Run,
    settings: dict[str, Any],
    with_defaults: Callable[[dict[str, Any]], dict[str, Any]],
    sizes_are_known: bool,
) -> None:
    """UserError if the model, the data or the seed are not those that ``run`` was started with.

    Args:
        run: holds a checkpoint and its record, which may be of an older version of this package: old names are
            translated, and an argument that did not exist then counts as its default.
        settings: the complete effective config of the new command, plain types.
        with_defaults: adds the defaults of today's classes to a config.
        sizes_are_known: the checkpoint says how large its batches were, so that the batch size may change with the
            number of processes; see :class:`~mpma_lightning.runs.record.RunRecord`.
    """
    free = (*_FREE, _BATCH_SIZE) if sizes_are_known else _FREE
    old, now = _in_todays_form(_load(run.record)), _fixed(settings)
    complete = with_defaults(_known_today(old, now))
    stored, new = (_with_preset(it) for it in (_flat(_fixed(complete)) | _flat(_fixed(old)), _flat(now)))
    changed = [
        f"{key} {_show(stored, key)} -> {_show(new, key)}"
        for key in dict.fromkeys([*stored, *new])
        if key not in free and stored.get(key, KeyError) != new.get(key, KeyError)
    ]
    if changed:
        raise UserError(
            f"{run.folder} was started with other settings: {'; '.join(changed)}. Set them back to continue it, or "
            f"start a new run with --trainer.default_root_dir OTHER, or delete {run.folder}"
        )


def check_same_split(checkpoint: Path, settings: dict[str, Any]) -> None:
    """UserError if ``checkpoint`` would be evaluated on another split of the data set that it was trained on, because
    test samples may then be training samples. Another data set, or a split file of another root, is allowed.

    Args:
        checkpoint: a file that holds the data settings of its run. For a file of an older version, the record of the
            run folder that it lies in is read; without a record nothing is compared.
        settings: the complete effective config of the command, plain types.
    """
    data, source = fitted_data(checkpoint)
    fitted, new = _flat({"data": data}), _flat({"data": settings.get("data")})
    if data is None or _class_name(fitted) != _class_name(new):
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
            f"{checkpoint} was fitted on another split ({source}): {told}; what is tested now may have been "
            f"trained on. Add {again}"
        )


def recorded(checkpoint: Path) -> dict[str, Any]:
    """What :class:`~mpma_lightning.runs.record.RunRecord` wrote into ``checkpoint``; empty in older files."""
    states = read_file(checkpoint, mmap=True).get("callbacks")
    found = states.get(STATE_KEY) if isinstance(states, dict) else None
    return found if isinstance(found, dict) else {}


def check_holds_optimiser(checkpoint: Path) -> None:
    """UserError where ``checkpoint`` holds weights alone, from which no run can be continued."""
    if "optimizer_states" not in read_file(checkpoint, mmap=True):
        raise UserError(
            f"{checkpoint} holds weights and no optimiser state (save_weights_only): fit cannot continue from "
            "it; start a new run from its weights with --model.checkpoint FILE --ckpt_path null and "
            "--trainer.default_root_dir OTHER"
        )


def fitted_data(checkpoint: Path) -> tuple[Any, Path]:
    """The section ``data`` of the run that wrote ``checkpoint``, None where it is unknown, and the file it is from."""
    if (data := recorded(checkpoint).get("data")) is not None:
        return data, checkpoint
    record = checkpoint.parent.parent / CONFIG_NAME
    known = checkpoint.parent.name == CHECKPOINTS and record.is_file()
    return (_load(record).get("data") if known else None), record


def _class_name(data: dict[str, Any]) -> str:
    return str(data.get("data.class_path")).rpartition(".")[2]


def _same(one: Any, other: Any) -> bool:
    """Equal, or two ways to write one path."""
    if isinstance(one, str) and isinstance(other, str):
        with suppress(ValueError):  # a text that cannot be a path
            return Path(one).resolve() == Path(other).resolve()
    return bool(one == other)


def config_sha256(settings: dict[str, Any], subcommand: str) -> str:
    """Hash of an effective config, which does not depend on the run folder or the number of loader processes.

    Args:
        settings: the complete effective config of a command, plain types.
        subcommand: the checkpoint counts for all but ``fit``, which continues a run.
    """
    folder = str((settings.get("trainer") or {}).get("default_root_dir"))
    more = _OF_FIT if subcommand == "fit" else _OF_EVALUATION
    kept = _fixed(settings) | {key: settings.get(key) for key in ("trainer", *more)}
    lines = [
        f"{key}: {json.dumps(value, sort_keys=True, default=str)}".replace(folder, "RUN")
        for key, value in sorted(_flat(kept).items())
        if key not in (*_FREE, *_SHOWN_ONLY)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Versions of the packages that computed the run; ``commit`` where this package runs from a git checkout."""
    found = {"python": platform.python_version(), "mpma_lightning": mpma_lightning.__version__}
    for name in ("torch", "lightning", "transformers", "timm"):
        found[name] = version(name)
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    with suppress(OSError, subprocess.SubprocessError):  # no git, or no checkout: the versions stand alone
        found["commit"] = subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    return found


def _load(record: Path) -> dict[str, Any]:
    try:
        content = read_yaml(record)
        problem = "" if isinstance(content, dict) else f"{record}: expected `key: value` lines"
    except UsageError as error:
        problem = str(error)
    if problem:
        raise UserError(f"{problem}; delete {record.parent}, or choose --trainer.default_root_dir OTHER")
    return dict(content)


def _fixed(settings: dict[str, Any]) -> dict[str, Any]:
    """The sections that must stay the same when a run is continued; None for one that is not there."""
    return {key: settings.get(key) for key in _CONTINUED}


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """The values of nested dictionaries by dotted key."""
    if not isinstance(value, dict) or not value:
        return {key: value}
    parts = (_flat(inner, f"{key}.{name}" if key else str(name)) for name, inner in value.items())
    return {name: inner for part in parts for name, inner in part.items()}


def _with_preset(flat: dict[str, Any]) -> dict[str, Any]:
    """``flat`` with the choices of the backbone's preset for the fields that are null."""
    with suppress(UserError):  # an unknown name: the command itself will refuse it
        preset = resolve(str(flat.get(f"{_BACKBONE}.name")))
        chosen = {f"{_BACKBONE}.{key}": value for key, value in preset.items()}
        return {key: chosen.get(key) if value is None else value for key, value in flat.items()}
    return flat


def _show(settings: dict[str, Any], key: str) -> str:
    return repr(settings[key]) if key in settings else "(absent)"


def _in_todays_form(settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` with a backbone that was written as its name alone, or before its parts were nested, translated."""
    try:
        model = settings["model"]
        backbone = model["init_args"]["backbone"]
    except (KeyError, TypeError):
        return settings
    if isinstance(backbone, str):
        backbone = {"name": backbone}
    if not isinstance(backbone, dict):
        return settings
    return {**settings, "model": {**model, "init_args": {**model["init_args"], "backbone": nested(backbone)}}}


def _known_today(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The entries of ``old`` whose names stand in ``new`` too."""
    both = {key: old[key] for key in new if key in old}
    return {
        key: _known_today(value, new[key]) if isinstance(value, dict) and isinstance(new[key], dict) else value
        for key, value in both.items()
    }
