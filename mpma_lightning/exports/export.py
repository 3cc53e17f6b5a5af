"""Writes the encoders of a checkpoint into a folder that another library reads."""

import shutil
from pathlib import Path
from typing import Literal

from data_modules.errors import UserError

Library = Literal["timm", "transformers", "safetensors", "open_clip"]


def export(run: Path, to: Library, out: Path, push: str | None = None) -> list[str]:
    """Export the weights of a run folder, a checkpoint, or a file of another code base.

    Nothing but weights, settings, tokeniser and model card is written: no text and no image of any data set.

    Args:
        run: the run folder (its best checkpoint, else its last one) or file.
        to: ``timm``: the image encoder, for ``timm.create_model("local-dir:OUT", pretrained=True)``. ``transformers``:
            the text encoder with its tokeniser, for ``AutoModel.from_pretrained(OUT)``. ``safetensors``: every part
            under our names, with the settings that ``model.checkpoint`` needs to read it again.
            ``open_clip``: refused, with the reason.
        out: a new or empty folder.
        push: also upload it to this repository of the Hugging Face hub, where the user is logged in.

    Returns:
        names of the files.

    Raises:
        UserError: the checkpoint has no such encoder, the library cannot express it, or the folder is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not an empty folder; nothing is overwritten: choose another with --out DIR")
    from mpma_lightning.exports.card import model_card  # here, so that help needs no torch
    from mpma_lightning.exports.open_clip_folder import write_open_clip
    from mpma_lightning.exports.plain_folder import write_plain
    from mpma_lightning.exports.timm_folder import write_image
    from mpma_lightning.exports.transformers_folder import write_text
    from mpma_lightning.inference import load

    writers = {
        "timm": write_image,
        "transformers": write_text,
        "safetensors": write_plain,
        "open_clip": write_open_clip,
    }
    model, write = load(run, device="cpu"), writers[to]
    out.mkdir(parents=True, exist_ok=True)
    try:
        write(model, out)
        (out / "README.md").write_text(model_card(model, run, to))
    except UserError:
        shutil.rmtree(out)
        raise
    if push is not None:
        _upload(out, push)
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def _upload(folder: Path, repository: str) -> None:
    """Upload ``folder``; UserError where the user is not logged in, or the hub cannot be reached."""
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True, private=True)
        api.upload_folder(repo_id=repository, folder_path=folder)
    except Exception as error:  # the hub's client has many kinds of errors
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{folder} is written, but could not be uploaded to {repository} ({type(error).__name__}: {reason}); "
            "log in with `hf auth login`, or check the network"
        ) from error
