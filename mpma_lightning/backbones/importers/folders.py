"""The folders of transformers, open_clip and timm: weights, configuration and tokeniser."""

from pathlib import Path
from typing import Any

from data_modules.boundary import read_json, read_text
from data_modules.errors import UserError
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones.importers.foreign import Foreign
from mpma_lightning.backbones.tensor_files import named_tensors, read_file

WEIGHTS = (
    *("model.safetensors", "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"),
    *("pytorch_model.bin", "open_clip_pytorch_model.bin"),
)
CONFIGS = ("open_clip_config.json", "config.json")
BESIDE = ("biovil_image_resnet50_proj_size_128.pt", "biovil_t_image_model_proj_size_128.pt")
"""Image encoders that lie beside a CXR-BERT."""


def opened_folder(folder: Path) -> tuple[Path, Foreign]:
    """The file of weights in a folder, and its tensors, configuration and tokeniser.

    Raises:
        UserError: it holds no weights, weights in several files, or a damaged file.
    """
    names = [name for name in WEIGHTS if (folder / name).is_file()]
    if not names:
        parts = sorted(path.name for path in folder.glob("*.index.json"))
        found = f"weights in several files ({parts[0]})" if parts else f"none of {', '.join(WEIGHTS)}"
        raise UserError(
            f"checkpoint {folder} is a folder with {found}; expected a run folder (with checkpoints/) or a folder of "
            "transformers, open_clip or timm with all weights in one file"
        )
    path = folder / names[0]
    config: dict[str, Any] = {}
    for name in CONFIGS:
        if (folder / name).is_file():
            config = read_json(folder / name, "the configuration of a model")
            break
    if (folder / "preprocessor_config.json").is_file():
        config = {**config, "preprocessor": read_json(folder / "preprocessor_config.json", "the settings of images")}
    beside: dict[str, Any] = {}
    for name in BESIDE:
        if (folder / name).is_file():
            beside = named_tensors(read_file(folder / name), folder / name)
    return path, Foreign(named_tensors(read_file(path), path), config, tokenizer_of(folder), beside)


def tokenizer_of(folder: Path) -> str | None:
    """The tokeniser in ``folder`` as JSON text, ``None`` without one."""
    if (folder / "tokenizer.json").is_file():
        return read_text(folder / "tokenizer.json")
    return Tokenizer.load(str(folder)).to_json() if (folder / "vocab.txt").is_file() else None
