"""The model card of an export: what it was trained on, how, what it measured, and what it is not for."""

import json
from pathlib import Path
from typing import Any

from data_modules.yaml_files import read_yaml
from mpma_lightning import __version__
from mpma_lightning.inference import Model

USE = {
    "timm": 'model = timm.create_model("local-dir:FOLDER", pretrained=True)  # see model.pretrained_cfg',
    "transformers": 'model, tokenizer = AutoModel.from_pretrained("FOLDER"), AutoTokenizer.from_pretrained("FOLDER")',
    "safetensors": 'model = mpma_lightning.load("FOLDER")',
}


def model_card(model: Model, run: Path, to: str) -> str:
    """Markdown. Metrics are those of the result records in the run folder, with their protocols and intervals."""
    folder = run.parent.parent if run.parent.name == "checkpoints" else run if run.is_dir() else run.parent
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("results*.json"))]
    config = read_yaml(folder / "config.yaml") if (folder / "config.yaml").is_file() else {}
    data = sorted({str(record.get("dataset")) for record in records} | ({_class(config, "data")} - {""}))
    phantom = any(record.get("phantom") for record in records)
    image, text = model.backbone.spec.image, model.backbone.spec.text
    mean, std = model.normalisation
    reads = []
    if "image" in model.parts:
        reads.append(f"images, gray in three channels, {image.size} × {image.size}, (pixel / 255 - {mean}) / {std}")
    if "text" in model.parts:
        reads.append(f"texts, whose feature is {text.pool} of the tokens")
    terms = (
        "The terms of these data sets, such as a data use agreement, also bind what is derived from them: read them "
        "before you pass this on. The tokeniser may hold words of the training texts. No image and no text is part of "
        "this export."
    )
    recipe = [f"- parts: {', '.join(model.parts)}"]
    recipe += [f"- image encoder: {image.encoder}"] if "image" in model.parts else []
    recipe += [f"- text encoder: {text.encoder}"] if "text" in model.parts else []
    known = records[-1] if records else {}
    recipe += [f"- {key}: {known[key]}" for key in ("steps", "seed", "initialisation") if key in known]
    synthetic = " (synthetic: the phantom)" if phantom else ""
    sections = {
        "Use": f"```python\n{USE[to]}\n```\n\nReads {'; '.join(reads)}.",
        "Data and licence": f"Trained with {', '.join(data) or 'data unknown to this file'}{synthetic}. {terms}",
        "Recipe": "\n".join(recipe),
        "Measured": "\n".join(_table(records) or ["No result record lies beside this checkpoint."]),
    }
    head = f"---\nlibrary_name: {to}\nlicense: other\ntags: [medical, radiology]\n---\n\n# {folder.resolve().name}\n\n"
    said = f"Exported by MPMA-Lightning {__version__}, for research. **Not for clinical use.**\n"
    return head + said + "".join(f"\n## {title}\n\n{text}\n" for title, text in sections.items())


def _table(records: list[dict[str, Any]]) -> list[str]:
    """Headline metrics of validation and test, with intervals where a record has them."""
    rows = []
    for record in records:
        metrics, declared = record.get("metrics", {}), record.get("declared", {})
        for name, value in metrics.items():
            stage, _, bare = name.partition("/")
            if stage not in ("val", "test") or not declared.get(bare, {}).get("headline"):
                continue
            low, high = (metrics.get(f"{name}_{end}") for end in ("low", "high"))
            interval = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
            protocol = record.get("protocols", {}).get(bare, record.get("protocol"))
            rows.append(f"| {record.get('dataset')} | {protocol} | {name} | {value:.3f}{interval} |")
    return ["| data | protocol | metric | value |", "|---|---|---|---|", *rows] if rows else []


def _class(config: Any, section: str) -> str:
    return str((config.get(section) or {}).get("class_path", "")).rpartition(".")[2]
