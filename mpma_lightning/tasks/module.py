"""BackboneModule: a LightningModule with a backbone: spec, initial weights, inputs, optimiser and checkpoints."""

from dataclasses import asdict, replace
from typing import Any

import pandas as pd
import torch
from lightning import LightningModule
from torch import Tensor, nn

from data_modules.base import DataModule, attached_data
from data_modules.contract import DataSpec
from data_modules.errors import UserError, expect
from data_modules.index.hashing import stable_hash
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones import Backbone, BackboneSpec, Features, Vocabulary, resolve
from mpma_lightning.backbones.backbone import with_encoders
from mpma_lightning.backbones.carried import carried_spec, refuse_foreign_sources
from mpma_lightning.backbones.checkpoint import CARGO, Checkpoint, read_checkpoint
from mpma_lightning.backbones.pixels import in_three_channels, normalised
from mpma_lightning.backbones.weights import load_weights
from mpma_lightning.optim import Optim

GRAY_MEAN, GRAY_STD = 0.4978, 0.2449  # MIMIC-CXR [MRM]
VIEW_PLACES = "view_places"
"""Of a batch on its way to the device: (M,) which of its B · V further views there are."""


class BackboneModule(LightningModule):
    """Builds the ``parts`` of a backbone that a task needs and initialises them from a checkpoint.

    Args:
        backbone: a name, a spec, or ``None`` for that of the checkpoint (without one, the default preset).
        checkpoint: initial weights: a ``.ckpt`` of any task, a run folder, or a file or folder of another code base
            (docs/weights.md lists them). It also supplies the backbone's spec, the tokeniser and the normalisation, as
            far as it holds them; what ``backbone`` says counts more than what another code base's file does.
        checkpoint_parts: load only these parts of the backbone, such as ``[text]``; other parts have random weights
            and may differ from the checkpoint's.
        optim: optimiser and schedule.
        mean: mean of the gray values in [0, 1]; default: MIMIC-CXR's.
        std: standard deviation of the gray values; default: MIMIC-CXR's.
    """

    reads_views = False
    """Whether it reads the further views of samples."""
    target_scale = 1
    """Side of the crop divided by the side of the encoder's input."""

    def __init__(
        self,
        backbone: BackboneSpec | str | None = None,
        checkpoint: str | None = None,
        checkpoint_parts: list[str] | None = None,
        optim: Optim | None = None,
        mean: float = GRAY_MEAN,
        std: float = GRAY_STD,
    ) -> None:
        super().__init__()
        expect(std > 0, "model.std", std, "more than 0")
        self.optim = optim or Optim()
        self.source: Checkpoint | None = read_checkpoint(checkpoint) if checkpoint else None
        self.checkpoint_parts = checkpoint_parts
        self.spec = self._agree(backbone)
        self._spec_is_carried = backbone is None and self.source is not None and self.source.spec is not None
        self.normalisation = (self.source and self.source.normalisation) or (mean, std)
        self.tokenizer_json: str | None = self.source.tokenizer if self.source else None
        self._built = False

    def _agree(self, backbone: BackboneSpec | str | None) -> BackboneSpec:
        carried = self.source.spec if self.source else None
        imported = self.source.determined(self.checkpoint_parts) if self.source else None
        if backbone is None:
            return carried or resolve(imported or "mpma_vit_b16")
        given = BackboneSpec(name=backbone) if isinstance(backbone, str) else backbone
        if carried is None:
            return resolve(given.over(imported) if imported else given)
        assert self.source is not None
        if differences := resolve(given).differences(carried, self.checkpoint_parts):
            raise UserError(
                f"model.backbone disagrees with checkpoint {self.source.path}: {'; '.join(differences[:4])}. "
                "Leave model.backbone out to take the checkpoint's, or train without model.checkpoint"
            )
        return carried if self.checkpoint_parts is None else resolve(given)

    @property
    def parts(self) -> tuple[str, ...]:
        """Backbone parts this task needs."""
        raise NotImplementedError

    def build_heads(self) -> None:
        """Build the modules that depend on the backbone and on ``data_spec``."""

    @property
    def data(self) -> DataModule:
        """The data module of this run; its ``spec`` is filled before :meth:`configure_model`."""
        return attached_data(self.trainer)

    @property
    def data_spec(self) -> DataSpec:
        """Description of the data; filled before :meth:`configure_model`."""
        return self.data.spec

    @property
    def training_rows(self) -> pd.DataFrame:
        """Rows of the training samples, with the columns of ``DataModule.read_index``, for what a head or a baseline
        takes from them, such as a mean. Filled before :meth:`configure_model`; ``predict`` on a folder has none."""
        return self.data.split_rows("train")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Inputs that the data must supply; fusion and alignment heads need both image and text."""
        alone = [part for part in self.parts if part in ("image", "text")]
        return tuple(alone) if len(alone) == len(self.parts) else ("image", "text")

    @property
    def needs_tokenizer(self) -> bool:
        """Whether the data must supply a tokeniser, as the checkpoint has none."""
        return self.tokenizer_json is None and "text" in self.modalities

    @property
    def crop_size(self) -> int:
        """Side of the crops in pixels that the data should supply."""
        return (self.spec.image.size or 224) * self.target_scale

    def configure_model(self) -> None:
        """Build the backbone's parts and the heads, then load the backbone's weights from ``checkpoint``."""
        if self._built:
            return
        if self.tokenizer_json is None:
            self.tokenizer_json = self.data_spec.tokenizer
        spec, text_config = self.spec, None
        if self.source is not None:  # sources of weights it replaces are not read: they may be missing here
            filled = ("image", "text") if self.checkpoint_parts is None else self.checkpoint_parts
            spec = replace(spec, image=replace(spec.image, weights=None)) if "image" in filled else spec
            text_config = self.source.text_config if "text" in filled else None
            if self._spec_is_carried:
                refuse_foreign_sources(self.source.path, spec, with_encoders(self.parts), filled, text_config)
        views = bool(self.data_spec.views) and self.reads_views
        self.backbone = Backbone(spec, self.parts, self._vocabulary(), text_config, views)
        self.build_heads()
        if self.source is not None:
            load_weights(self.backbone, self.source, self.tokenizer_json, self.checkpoint_parts)
            self.source.state = self.source.heads = {}
        self._built = True

    def _vocabulary(self) -> Vocabulary | None:
        if self.tokenizer_json is None:
            return None
        tokenizer = Tokenizer.from_json(self.tokenizer_json)
        return Vocabulary(len(tokenizer), tokenizer.pad_id, tokenizer.mask_id)

    def tokenised(self, texts: list[str], most: int = 128) -> dict[str, Tensor]:
        """``input_ids``, ``attention_mask`` and ``word_ids`` (N, T) of texts, cut at ``most`` word-pieces."""
        assert self.tokenizer_json is not None
        columns = Tokenizer.from_json(self.tokenizer_json).columns(texts, most)
        return {name: torch.tensor(column, device=self.device) for name, column in columns.items()}

    def normalise(self, image: Tensor) -> Tensor:
        """uint8 (B, C, S, S) crops to floats, see :func:`mpma_lightning.backbones.pixels.normalised`."""
        return normalised(image, self.normalisation)

    def encoder_input(self, crops: Tensor) -> Tensor:
        """(B, 3, s, s) of normalised crops, down-sampled by ``target_scale``, gray repeated in three channels."""
        if self.target_scale != 1:
            side, rest = divmod(crops.shape[-1], self.target_scale)
            expect(not rest, "data.image_size", crops.shape[-1], f"a multiple of target_scale, {self.target_scale}")
            crops = nn.functional.interpolate(crops, (side, side), mode="bicubic", antialias=True)
        return in_three_channels(crops)

    def images(self, batch: dict[str, Any]) -> Tensor:
        """(B, 3, s, s) input of the image encoder."""
        return self.encoder_input(self.normalise(batch["image"]))

    def further_views(self, batch: dict[str, Any]) -> tuple[Tensor | None, Tensor] | None:
        """What :meth:`Backbone.with_views` takes of a batch; ``None`` where samples have one view each."""
        if "views" not in batch:
            return None
        kinds: Tensor = batch["view_kinds"]
        there = batch[VIEW_PLACES] if VIEW_PLACES in batch else _places_of_views(kinds)
        crops = batch["views"].flatten(0, 1).index_select(0, there) if len(there) else None
        return None if crops is None else self.encoder_input(self.normalise(crops)), kinds

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Note which further views there are while the batch is in the host's memory: a step that asked the device for
        their number would wait for it."""
        if isinstance(batch, dict) and "view_kinds" in batch:
            return batch | {VIEW_PLACES: _places_of_views(batch["view_kinds"])}
        return batch

    def with_views(self, image: Features, batch: dict[str, Any]) -> Features:
        """``image`` with the further views of its samples, where the batch has some."""
        further = self.further_views(batch)
        return image if further is None else self.backbone.with_views(image, *further)

    def configure_optimizers(self) -> Any:
        trainer = self.trainer
        batch = self.data.batch_size * trainer.world_size * trainer.accumulate_grad_batches
        optimizer, scheduler = self.optim.build(self, batch, trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout from (seed, step, rank) only, so that a continued run equals an uninterrupted one."""
        seed = stable_hash(self.data.seed, self.global_step, batch_idx, self.global_rank)
        torch.manual_seed(seed % (1 << 63))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add spec, tokeniser and normalisation; UserError for weights that are not finite, which are not saved."""
        self._refuse_broken_weights(checkpoint["state_dict"])
        checkpoint[CARGO] = {
            "task": type(self).__name__,
            "spec": asdict(self.spec),
            "tokenizer": self.tokenizer_json,
            "normalisation": list(self.normalisation),
            "text_config": self.backbone.text_config,
        }

    def _refuse_broken_weights(self, weights: dict[str, Tensor]) -> None:
        broken = [name for name, value in weights.items() if not torch.isfinite(value).all()]
        if broken:
            raise UserError(
                f"{len(broken)} of {len(weights)} weights are not finite at step {self.global_step} (first: "
                f"{broken[0]}); they are not saved, the last checkpoint is kept. Lower model.optim.lr, or add "
                f"--config experiments/debug/anomaly.yaml --trainer.default_root_dir {self.trainer.default_root_dir} "
                "to find the operation"
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        cargo, path = checkpoint.get(CARGO), self.trainer.ckpt_path
        if cargo is None:
            raise UserError(
                f"ckpt_path {path} was not written by this project; use model.checkpoint to start from its weights"
            )
        if differences := carried_spec(cargo, str(path)).differences(self.spec):
            raise UserError(
                f"ckpt_path {path} holds another backbone ({'; '.join(differences[:4])}); ckpt_path resumes the same "
                "run, model.checkpoint starts a new one from weights"
            )
        self._leave_out_unused(checkpoint["state_dict"], str(path))
        self._settle_view_kinds(checkpoint["state_dict"])
        if "text" in self.modalities and cargo["tokenizer"] != self.tokenizer_json:
            raise UserError(
                f"ckpt_path {path} was trained with another tokeniser than the data give now; evaluate it with "
                f"--model.checkpoint {path} --ckpt_path null, which brings its own tokeniser"
            )

    def _settle_view_kinds(self, weights: dict[str, Tensor]) -> None:
        """A checkpoint of one view a sample is evaluated with several, and the other way round."""
        built = self.state_dict()
        for name in [name for name in (*weights, *built) if name.endswith("fusion.view_kinds")]:
            if name not in built:
                weights.pop(name, None)
            else:
                weights.setdefault(name, built[name])

    def _leave_out_unused(self, weights: dict[str, Tensor], path: str) -> None:
        """Remove the weights of an older checkpoint that no encoder uses, such as those of timm's ``head``.

        UserError in ``fit``: the optimiser's state in the checkpoint counts them.
        """
        built = self.state_dict()
        unused = [name for name in weights if name.startswith("backbone.image.") and name not in built]
        if unused and self.trainer.state.fn == "fit":
            raise UserError(
                f"ckpt_path {path} has {len(unused)} weights that the image encoder no longer has, as it did not use "
                f"them (first: {unused[0]}); start a new run from its weights with --model.checkpoint {path}"
            )
        for name in unused:
            del weights[name]


def _places_of_views(kinds: Tensor) -> Tensor:
    return (kinds > 0).flatten().nonzero().squeeze(1)
