"""MPMA pre-training: paired masking, reconstruction and alignment in one pass."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from data_modules.errors import UserError, expect
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.evaluation.metric import Metric, loss
from mpma_lightning.evaluation.zero_shot import load_prompts
from mpma_lightning.figures import pretraining as drawing
from mpma_lightning.figures.memory import slot_gallery, words_of_slots
from mpma_lightning.figures.word_maps import named_findings, word_maps
from mpma_lightning.masking import mask_image, mask_report, soften_like_bert
from mpma_lightning.objectives import Objective, Objectives, PretrainingState
from mpma_lightning.objectives.image_reconstruction import ImageReconstruction
from mpma_lightning.objectives.report_reconstruction import ReportReconstruction
from mpma_lightning.objectives.state import Pairing, aligned_pieces
from mpma_lightning.objectives.words import WordCounts, whole_words
from mpma_lightning.tasks.base import Step, Task
from mpma_lightning.tasks.module import VIEW_PLACES


@dataclass
class Masking:
    """Paired masking of image and report. Without a reconstruction objective nothing is masked.

    Attributes:
        pairing: what alignment reads. ``joint``: the masked image and the masked report, as reconstruction does;
            ``unmasked_align``: the whole image and report, in a second pass. Both are possible readings of the
            abstract [ours]. ``separate``: as ``unmasked_align``, and report reconstruction also reads the whole image
            [M3AE]. See :class:`PretrainingState`.
        image_ratio: share of masked patches [MRM: 0.75].
        report_ratio: share of masked words [MRM: 0.5; M3AE: 0.15].
        report_style: masked words become ``mask`` tokens [MRM], or as in ``bert`` 80 % [MASK], 10 % random, 10 %
            unchanged [M3AE]; in training only: evaluation always masks.
    """

    pairing: Pairing = "joint"
    image_ratio: float = 0.75
    report_ratio: float = 0.5
    report_style: Literal["mask", "bert"] = "mask"


class PretrainingTask(Task):
    """MPMA, reimplemented from the abstract; details that it leaves open follow MRM, MGCA, M3AE and Meshed-Memory.

    Args:
        masking: of images and reports.
        objectives: the losses, their weights and options.
        target_scale: side of the reconstruction target divided by the side of the encoder's input (MRM: 2, MAE: 1).
        check_every: steps between measurements of the norm of each loss's gradient at the features that it should
            train. The norms are logged; a loss without any gradient in the first epoch stops the run.
        shuffle_pairs: control experiment: train every report with the image of the previous sample of the batch. What
            such a model reaches above chance (a ``local_gap`` above 0) does not come from the pairs.
    """

    protocol = "pretraining"
    reads_views = True
    figure_samples = 4
    extra_figures = ("slots",)
    step_metrics = (
        loss("image_reconstruction_loss", headline=True, baseline="interpolation_mse"),
        loss("report_reconstruction_loss", headline=True),
        Metric("local_gap", unit="ratio", headline=True, baseline=0.0),
        Metric("masked_word_accuracy", unit="share"),
        Metric("matching_accuracy", unit="share"),
        Metric("in_batch_retrieval", unit="share"),
    )

    def __init__(
        self,
        *,
        masking: Masking | None = None,
        objectives: Objectives | None = None,
        target_scale: int = 2,
        check_every: int = 100,
        shuffle_pairs: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.masking = masking or Masking()
        self.options = (objectives or Objectives()).active()
        expect(target_scale >= 1, "model.target_scale", target_scale, "at least 1")
        expect(check_every >= 1, "model.check_every", check_every, "at least 1")
        self.target_scale = target_scale
        self.check_every = check_every
        self.shuffle_pairs = shuffle_pairs
        if not self.options:
            raise UserError("every objective has weight 0; set the weight of at least one of model.objectives above 0")
        hides = 0 < self.masking.image_ratio < 1 or "image_reconstruction" not in self.options
        expected = "more than 0 and less than 1, or model.objectives.image_reconstruction.weight 0"
        expect(hides, "model.masking.image_ratio", self.masking.image_ratio, expected)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(sorted({part for option in self.options.values() for part in option.needs}))

    @property
    def loss_weights(self) -> dict[str, float]:
        return {name: option.weight for name, option in self.options.items()}

    def build_heads(self) -> None:
        self.objectives = nn.ModuleDict({name: option.build(self.backbone) for name, option in self.options.items()})
        for objective in self.objectives.values():
            if isinstance(objective, ImageReconstruction):
                channels = 3 if isinstance(self.normalisation[0], list) else self.data_spec.channels
                objective.set_target(self.target_scale, channels)

    @property
    def _masks(self) -> bool:
        return any(option.masks for option in self.options.values())

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Mask the reports while they are in the host's memory: a step that counted masked words on the device would
        wait for it."""
        batch = super().on_before_batch_transfer(batch, dataloader_idx)
        reads_text = "input_ids" in batch and "text" in self.backbone.parts
        return self._with_masked_report(batch) if reads_text else batch

    def _with_masked_report(self, batch: dict[str, Any]) -> dict[str, Any]:
        """``batch`` with ``report_mask`` and ``word_counts``."""
        vocabulary, ratio = self.backbone.vocabulary, self.masking.report_ratio if self._masks else 0.0
        assert vocabulary is not None
        mask = mask_report(batch["seed"], batch["input_ids"], batch["word_ids"], ratio, vocabulary.mask if ratio else 0)
        counts = WordCounts.of(batch["word_ids"], aligned_pieces(mask, self.masking.pairing))
        return batch | {"report_mask": mask, "word_counts": counts}

    def state(self, batch: dict[str, Any], training: bool = False) -> PretrainingState:
        """Input of the objectives; masks are determined by the samples' seeds."""
        state = PretrainingState(self.backbone, group=batch["group"], seed=batch["seed"], across_ranks=training)
        state.pairing = self.masking.pairing
        if "image" in batch and "image" in self.backbone.parts:
            state.target = self.normalise(batch["image"])
            state.image = self.encoder_input(state.target)
            state.further = self.further_views(batch)
            patches = (state.image.shape[-1] // self.backbone.image.patch_size) ** 2
            if self._masks and self.masking.image_ratio > 0:
                state.image_mask = mask_image(batch["seed"], patches, self.masking.image_ratio)
        if "input_ids" in batch and "text" in self.backbone.parts:
            state.input_ids, state.word_ids = batch["input_ids"], batch["word_ids"]
            state.attention_mask = batch["attention_mask"]
            if "report_mask" not in batch:
                batch = self._with_masked_report(batch)
            state.report_mask, state.word_counts = batch["report_mask"], batch["word_counts"]
            if training and self.masking.report_style == "bert":
                vocabulary = self.backbone.vocabulary
                assert vocabulary is not None
                state.report_mask = soften_like_bert(
                    batch["seed"], batch["input_ids"], state.report_mask, vocabulary.size
                )
        return state

    def step(self, batch: dict[str, Any], stage: str) -> Step:
        if self.shuffle_pairs and stage == "train" and "image" in batch:
            rolled = {name: batch[name].roll(1, 0) for name in ("image", "views", "view_kinds") if name in batch}
            batch = {name: values for name, values in batch.items() if name != VIEW_PLACES} | rolled
        state = self.state(batch, training=stage == "train")
        outcome: Step = {}
        for name, objective in self.objectives.items():
            assert isinstance(objective, Objective)
            outcome[f"{name}_loss"] = objective(state)
        due = stage != "train" or self.global_step % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if due:
            for objective in self.objectives.values():
                with torch.no_grad():
                    outcome |= objective.monitor(state)  # type: ignore[operator]
        if stage == "train" and self.global_step % self.check_every == 0:
            self._check_gradients(state, outcome)
        outcome["state"] = state
        return outcome

    def encode(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Features of whole images and reports.

        Returns:
            ``image``, ``text`` (B, D) and, when global alignment is trained, ``image_embedding``, ``text_embedding``
            (B, e); of the modalities that the batch and the backbone have.
        """
        features: dict[str, Tensor] = {}
        aligned = "align_global" in self.backbone.parts
        if "image" in batch and "image" in self.backbone.parts:
            image = self.with_views(self.backbone.image(self.images(batch)), batch)
            features["image"] = image.pooled
            if aligned:
                features["image_embedding"] = self.backbone.embed_image(image)
        if "input_ids" in batch and "text" in self.backbone.parts:
            text = self.backbone.text(batch["input_ids"], batch["attention_mask"])
            features["text"] = text.pooled
            if aligned:
                features["text_embedding"] = self.backbone.embed_text(text)
        return features

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Tensor:
        """(N, e) normalised embeddings of texts, in the global alignment space."""
        return self.encode(dict(self.tokenised(texts)))["text_embedding"].float()

    @torch.no_grad()
    def recover_report(self, image: Tensor, input_ids: Tensor, attention_mask: Tensor, places: Tensor) -> Tensor:
        """(M,) most likely word-pieces at the ``places`` (B, T) of masked reports, given images (B, 3, S, S)."""
        features = self.backbone.image(image)
        fused = self.backbone.fuse(features, None, input_ids, attention_mask)
        objective = self.objectives["report_reconstruction"]
        assert isinstance(objective, ReportReconstruction)
        return objective.head(fused[places], self.backbone.text.word_embeddings).argmax(-1)

    def figures(self, batch: dict[str, Any], outcome: Step, stage: str, count: int) -> dict[str, Figure]:
        """In validation: predicted patches and reports, similarity of pairs, and where words have their place."""
        if stage != "val":
            return {}
        state, found = outcome["state"], {}
        tokenizer = Tokenizer.from_json(self.tokenizer_json) if self.tokenizer_json is not None else None
        if "image_prediction" in state.outputs:
            found["reconstruction"] = drawing.reconstruction(state, count)
        if tokenizer is not None and "report_prediction" in state.outputs:
            found["report"] = drawing.report(state, tokenizer, count)
        if "align_global" in self.backbone.parts:
            features = self.encode(batch)
            embeddings = features["image_embedding"], features["text_embedding"]
            found["similarity"] = drawing.similarity(*embeddings, batch["group"])
        if tokenizer is not None and "align_local" in self.backbone.parts:
            found |= self._word_maps(tokenizer, batch, count)
        return found

    def extra_figure(self, name: str, batch: dict[str, Any], outcome: Step, count: int) -> dict[str, Figure]:
        """``slots``: a gallery of the memory slots of each layer of fusion, which reads the masked report.

        Raises:
            UserError: fusion has no slots.
        """
        state = outcome["state"]
        uses = []
        if "fusion" in self.backbone.parts:
            uses = self.backbone.fusion.memory_use(state.whole_image, state.text_features, state.attention_mask)
        if not uses or self.tokenizer_json is None:
            raise UserError(
                f"found no memory slots for the figure {name}; expected fusion.memory text, image or latent"
            )
        tokenizer, found = Tokenizer.from_json(self.tokenizer_json), {}
        for layer, use in enumerate(uses):
            words = words_of_slots(use, tokenizer, state.input_ids, state.word_ids)
            found[f"slots_{layer}"] = slot_gallery(state.image, state.whole_image.grid, use, words, count)
        return found

    def _word_maps(self, tokenizer: Tokenizer, batch: dict[str, Any], count: int) -> dict[str, Figure]:
        """Of the films whose reports name the most findings; none where no report names any."""
        names, owners = load_prompts("chest_xray").named_findings, batch["word_ids"]
        read = (owners.amax(1) + 1).tolist()
        named = [named_findings(text, tokenizer, names, most) for text, most in zip(batch["text"], read, strict=True)]
        rows = sorted((i for i, told in enumerate(named) if told.places), key=lambda i: -len(named[i].places))[:count]
        if not rows:
            return {}
        image = self.backbone.local_image(self.images({"image": batch["image"][rows]}))
        ids = batch["input_ids"][rows]
        text = self.backbone.text(ids, batch["attention_mask"][rows])
        words = whole_words(self.backbone, text.tokens, ids, owners[rows]).embeddings
        grid, patches = self.backbone.local_grid(image), self.backbone.embed_patches(image)
        maps = [
            (words[k, list(named[i].places.values())] @ patches[k].T).unflatten(-1, grid) for k, i in enumerate(rows)
        ]
        boxes = [batch["boxes"][i] for i in rows] if "boxes" in batch else None
        figure = word_maps([batch["image"][i] for i in rows], [named[i] for i in rows], maps, boxes)
        return {"word_maps": figure}

    def predict(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ids and features of a batch."""
        return {"id": batch["id"], **self.encode(batch)}

    def _check_gradients(self, state: PretrainingState, outcome: Step) -> None:
        """Log the norm of each loss's gradient at each encoder's features."""
        for name, objective in self.objectives.items():
            total, count = outcome[f"{name}_loss"]
            for part in objective.trains:  # type: ignore[union-attr]
                features = objective.reads(state, part)  # type: ignore[operator]
                gradients = torch.autograd.grad(
                    total / count.clamp(min=1), features.outputs, retain_graph=True, allow_unused=True
                )
                norms = [gradient.norm() for gradient in gradients if gradient is not None]
                norm = torch.stack(norms).norm() if norms else torch.zeros((), device=total.device)
                self.gradient_norms[f"{name}/{part}"] = norm.detach()
                self.log(f"gradient/{name}/{part}", norm.detach())
