"""Pictures of the first validation batch, in TensorBoard and as PNG files in the run folder."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure

from data_modules.text.tokenizer import Tokenizer
from mpma_lightning import drawing
from mpma_lightning.evaluation.word_recovery import finding_word_pieces
from mpma_lightning.evaluation.zero_shot import load_prompts
from mpma_lightning.objectives.state import words_of
from mpma_lightning.tasks.pretraining import PretrainingTask


class Pictures(Callback):
    """Input / visible / reconstructed, report with guesses, word→patch maps, similarity matrix; rank 0 only.

    The files show images and report text of the data in use: they stay in the run folder, under its terms of use.

    Args:
        samples: rows in each picture.
        prompts: whose finding words are looked up in the word→patch maps.
    """

    def __init__(self, samples: int = 4, prompts: str = "chest_xray") -> None:
        self.samples = samples
        self.words = load_prompts(prompts).finding_words

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0 and trainer.is_global_zero and not trainer.sanity_checking:
            self._draw(trainer, pl_module, outputs["state"], batch)

    @torch.no_grad()
    def _draw(self, trainer: Trainer, task: LightningModule, state: Any, batch: dict[str, Any]) -> None:
        assert isinstance(task, PretrainingTask)
        if "image_prediction" in state.outputs:
            keep(trainer, "reconstruction", drawing.reconstruction(state, self.samples))
        if task.tokenizer_json is not None and "report_prediction" in state.outputs:
            tokenizer = Tokenizer.from_json(task.tokenizer_json)
            keep(trainer, "report", drawing.report(state, tokenizer, self.samples))
        if "align_global" in task.backbone.parts:
            features = task.encode(batch)
            embeddings = features["image_embedding"], features["text_embedding"]
            keep(trainer, "similarity", drawing.similarity(*embeddings, batch["group"]))
        if "align_local" in task.backbone.parts:
            for row in range(min(self.samples, len(batch["id"]))):
                self._word_maps(trainer, task, state, batch, row)

    def _word_maps(self, trainer: Trainer, task: PretrainingTask, state: Any, batch: dict[str, Any], row: int) -> None:
        assert task.tokenizer_json is not None
        tokenizer = Tokenizer.from_json(task.tokenizer_json)
        one = slice(row, row + 1)
        ids, word_ids = batch["input_ids"][one], batch["word_ids"][one]
        image = task.backbone.image(state.image[one])
        text = task.backbone.text(ids, batch["attention_mask"][one])
        pieces = task.backbone.align_local.text(text.tokens, normalise=False)
        words = words_of(pieces, ids, word_ids, torch.ones_like(ids, dtype=torch.bool))
        found = finding_word_pieces(ids, word_ids, tokenizer, self.words).to(ids.device)
        chosen = sorted(set(word_ids[found].tolist()))[:6]
        if not chosen:
            return
        patches = task.backbone.align_local.image(image.tokens)
        assert image.grid is not None
        maps = (words.embeddings[0, chosen] @ patches[0].T).unflatten(-1, image.grid)
        names = [tokenizer.decode(ids[0][word_ids[0] == word].tolist()) for word in chosen]
        keep(trainer, f"word_maps_{row}", drawing.word_maps(state.image[row], maps, names, batch["text"][row][:140]))


def keep(trainer: Trainer, name: str, figure: Figure) -> None:
    """Into the run folder's ``pictures/`` as PNG, and into TensorBoard."""
    folder = Path(trainer.default_root_dir) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=110)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(f"pictures/{name}", figure, trainer.global_step)
