"""Model: embeddings, zero-shot scores, maps of phrases and answers of a checkpoint, prepared as ``test`` does it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from data_modules.errors import UserError, expect
from data_modules.images.transforms import Placement
from data_modules.text.tokenizer import Tokenizer
from data_modules.yaml_files import read_yaml
from mpma_lightning.backbones import Backbone, Features, Vocabulary, resolve
from mpma_lightning.backbones.carried import refuse_foreign_sources
from mpma_lightning.backbones.checkpoint import Checkpoint, read_checkpoint
from mpma_lightning.backbones.pixels import in_three_channels, normalised
from mpma_lightning.backbones.weights import load_weights
from mpma_lightning.evaluation.grounding import phrase_maps, resized_maps
from mpma_lightning.evaluation.zero_shot import Prompts, ZeroShotEvaluator, ZeroShotScorer, load_prompts
from mpma_lightning.inference.images import Image, Preparation, as_list
from mpma_lightning.inference.questions import answer_head_of
from mpma_lightning.precision import full
from mpma_lightning.runs.folder import Run, record_beside

GRAY = (0.4978, 0.2449)  # MIMIC-CXR [MRM]
BATCH = 32
TEMPERATURE = 0.1
SIDES = ("positive", "negative")
WORDS = ("embeddings.word_embeddings.weight", "embeddings.token_embedding.weight")
"""Endings of the names of vocabulary tables."""


def load(path: str | Path, device: str | torch.device | None = None, tokenizer: str | None = None) -> "Model":
    """The model in a run folder (its best checkpoint, else its last one), a checkpoint, or another code base's file.

    Args:
        path: the folder or file; docs/weights.md lists those of other code bases.
        device: default: a graphics card if there is one, else the processor.
        tokenizer: of a file that holds a text encoder without its tokeniser: a folder, a hub name or a tokenizer.json.

    Raises:
        UserError: no such file, a damaged one, or one of an unknown family.
    """
    path = Path(path)
    run = Run(path)
    source = (run.best() or run.last_or_refuse()) if run.checkpoints() else path
    checkpoint = read_checkpoint(source)
    if checkpoint.spec is None and checkpoint.imported is None:
        first = ", ".join(list(checkpoint.state)[:3])
        raise UserError(f"{source} is of no known family (docs/weights.md lists them); its first tensors: {first}")
    if tokenizer is not None:
        checkpoint.tokenizer = Tokenizer.load(tokenizer).to_json()
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    record = record_beside(source)
    return Model(checkpoint, torch.device(chosen), read_yaml(record) if record else {})


class Model:
    """A checkpoint, ready to use. Every method takes files or arrays of images, and reads them in batches.

    Args:
        checkpoint: from :func:`mpma_lightning.backbones.checkpoint.read_checkpoint`.
        device: where it computes.
        config: that of the run the checkpoint is from, for its preprocessing; empty: cropped, in gray.

    Attributes:
        backbone: the module; its ``spec`` says what it is made of.
        parts: what the checkpoint holds.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, config: Mapping[str, Any] | None = None) -> None:
        self.path, self.device = checkpoint.path, device
        self.tokenizer = Tokenizer.from_json(checkpoint.tokenizer) if checkpoint.tokenizer else None
        self._head = answer_head_of(checkpoint, config or {})
        self.backbone = _filled(checkpoint, self.tokenizer).to(device).eval()
        self.parts = self.backbone.parts
        self.normalisation = checkpoint.normalisation or GRAY
        data = _arguments(config or {}, "data")
        augment = data.get("augment") or {}
        side = self.backbone.spec.image.size or 224
        channels = 3 if data.get("channels") == 3 else 1
        self.preparation = Preparation(side, augment.get("fit") or "crop", augment.get("short_side"), channels)
        if self._head is not None:
            self._head.module.to(device).eval()

    @property
    def can_answer(self) -> bool:
        """Whether the checkpoint has a head for answers."""
        return self._head is not None

    @torch.inference_mode()
    def embed_images(self, images: Image | Sequence[Image], aligned: bool | None = None) -> np.ndarray:
        """Embeddings (N, D), float32.

        Args:
            images: paths or uint8 arrays (H, W) or (H, W, 3).
            aligned: the L2-normalised embeddings that texts are compared with, else the pooled features of the image
                encoder. Default: aligned where the checkpoint has global alignment.

        Raises:
            UserError: an image cannot be read, or the checkpoint does not have what is asked for.
        """
        aligned = "align_global" in self.parts if aligned is None else aligned
        self._require("align_global" if aligned else "image")
        made = [self.backbone.embed_image(f) if aligned else f.pooled for f in self._features(as_list(images))]
        return _rows(made)

    @torch.inference_mode()
    def embed_texts(self, texts: str | Sequence[str], aligned: bool | None = None) -> np.ndarray:
        """Embeddings (N, D), float32; ``aligned`` as in :meth:`embed_images`.

        Raises:
            UserError: the checkpoint has no text encoder or no tokeniser.
        """
        aligned = "align_global" in self.parts if aligned is None else aligned
        self._require("align_global" if aligned else "text")
        rows = [texts] if isinstance(texts, str) else list(texts)
        made = []
        for start in range(0, len(rows), BATCH):
            tokens = self._tokens(rows[start : start + BATCH])
            features = self.backbone.text(tokens["input_ids"], tokens["attention_mask"])
            made.append(self.backbone.embed_text(features) if aligned else features.pooled)
        return _rows(made)

    @torch.inference_mode()
    def zero_shot(
        self,
        images: Image | Sequence[Image],
        classes: Sequence[str] | Mapping[str, Mapping[str, Sequence[str]]],
        prompts: str | Path = "chest_xray",
    ) -> pd.DataFrame:
        """Scores without training, one row an image: the columns of ``scores.parquet`` that ``predict`` writes.

        Args:
            images: paths or uint8 arrays.
            classes: names that ``prompts`` has, or prompts of your own: ``{"mass": {"positive": [...], "negative":
                [...]}}``.
            prompts: a shipped prompt file or a path.

        Returns:
            ``global/<class>`` and, where the checkpoint has local alignment, ``local/<class>``: the similarity to what
            means present less that to what means absent.

        Raises:
            UserError: a class without prompts, or a checkpoint without global alignment.
        """
        self._require("align_global")
        if isinstance(classes, Mapping):
            present, absent = ({name: list(each[side]) for name, each in classes.items()} for side in SIDES)
            known = Prompts(present, absent, frozenset(), frozenset())
        else:
            known = load_prompts(prompts)
        evaluator = ZeroShotEvaluator(known, list(classes))
        if missing := [name for name in classes if name not in evaluator.classes]:
            raise UserError(f"{missing[0]!r} has no prompts in {prompts}; it has {', '.join(known.positive)}")
        similarities = ["global", *(["local"] if "align_local" in self.parts else [])]
        scorer = ZeroShotScorer(self.backbone, evaluator, self._tokens(evaluator.texts), similarities, TEMPERATURE)
        scores = [scorer(features) for features in self._features(as_list(images))]
        tables = {name: _rows([batch[name] for batch in scores]) for name in similarities}
        return pd.DataFrame(
            {f"{kind}/{c}": table[:, k] for kind, table in tables.items() for k, c in enumerate(evaluator.classes)}
        )

    @torch.inference_mode()
    def locate(self, image: Image, phrase: str) -> np.ndarray:
        """Map (H, W) of where the image shows what ``phrase`` says: cosines, NaN where the crop did not reach.

        Raises:
            UserError: the checkpoint has no local alignment, or the image cannot be read.
        """
        self._require("align_local")
        pixels, side = self.preparation.read(image), self.preparation.side
        features = self._encoded(self.preparation.crop(pixels)[None])
        maps = phrase_maps(self.backbone, features, self._tokens([phrase]))
        placement = Placement.of(pixels.shape[0], pixels.shape[1], side, self.preparation.fit)
        crop = resized_maps(maps, [placement.film(side)], side)[0].cpu().numpy()
        reached = placement.mask_back(np.ones_like(crop)) > 0
        return np.where(reached, placement.mask_back(crop), np.nan)

    @torch.inference_mode()
    def answer(self, image: Image, question: str, count: int = 5) -> dict[str, float]:
        """The ``count`` likeliest answers with their probabilities, of a checkpoint that VQA was trained on.

        Raises:
            UserError: the checkpoint has no head for answers.
        """
        if self._head is None:
            raise UserError(f"{self.path} holds no head for answers; give a checkpoint of a VQATask")
        crop = self.preparation.crop(self.preparation.read(image))
        tokens, features = self._tokens([question]), self._encoded(crop[None])
        fused = self.backbone.fused_representation(
            features, tokens["input_ids"], tokens["attention_mask"], self._head.pool
        )
        return self._head.likeliest(fused, count)

    def _features(self, images: list[Image]) -> Any:
        for crops in self.preparation.batches(images, BATCH):
            yield self._encoded(crops)

    def _encoded(self, crops: Tensor) -> Features:
        return self.backbone.local_image(in_three_channels(normalised(crops.to(self.device), self.normalisation)))

    def _tokens(self, texts: list[str]) -> dict[str, Tensor]:
        if self.tokenizer is None:
            raise UserError(
                f"{self.path} holds no tokeniser; give that of its text encoder: load(..., tokenizer=FOLDER)"
            )
        return {name: torch.tensor(rows, device=self.device) for name, rows in self.tokenizer.columns(texts).items()}

    def _require(self, part: str) -> None:
        if part not in self.parts:
            raise UserError(f"{self.path} holds {', '.join(self.parts)}; this needs {part}")


def _filled(checkpoint: Checkpoint, tokenizer: Tokenizer | None) -> Backbone:
    """The backbone with every part that ``checkpoint`` holds."""
    held = dict.fromkeys(name.partition(".")[0] for name in checkpoint.state)
    parts = [part for part in held if part in ("image", "text") or {"image", "text"} <= held.keys()]
    spec = checkpoint.spec or resolve(checkpoint.determined() or "")
    refuse_foreign_sources(checkpoint.path, spec, parts, parts, checkpoint.text_config)
    rows = [len(value) for name, value in checkpoint.state.items() if name.endswith(WORDS)]
    size = len(tokenizer) if tokenizer else sum(rows)
    expected = f"at most {sum(rows)}, the rows of the vocabulary of {checkpoint.path}; give its own tokeniser"
    expect(not rows or size <= rows[0], "the tokeniser's number of pieces", size, expected)
    size = rows[0] if rows else size
    ids = (tokenizer.pad_id, tokenizer.mask_id) if tokenizer else (0, 0)
    spec.image.weights = None
    backbone = Backbone(spec, parts, Vocabulary(size, *ids), checkpoint.text_config)
    load_weights(backbone, checkpoint)
    return backbone


def _arguments(config: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The arguments of ``model`` or ``data`` in the record of a run."""
    found = config.get(section) or {}
    return dict(found.get("init_args", found))


def _rows(batches: list[Tensor]) -> np.ndarray:
    return torch.cat([full(batch).float().cpu() for batch in batches]).numpy()
