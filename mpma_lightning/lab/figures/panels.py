"""The pictures of a task, as TensorBoard has them, and reconstructions at several mask ratios."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from matplotlib.figure import Figure

from data_modules.errors import UserError, expect
from mpma_lightning.figures.mask_ratios import Rebuilt, mask_ratios
from mpma_lightning.lab.figures.opened import Opened, drawn
from mpma_lightning.lab.figures.wanted import Drawn, Wanted
from mpma_lightning.tasks.pretraining import PretrainingTask

RATIOS = (0.25, 0.5, 0.75, 0.9)
SAMPLES = 3


def panel(wanted: Wanted, name: str, samples: int = SAMPLES) -> Drawn:
    """A picture that the task draws of a batch; ``{stage}`` in ``name`` is the stage."""
    count = len(wanted.ids) or wanted.samples or samples

    def draw(opened: Opened) -> Mapping[str, Figure]:
        opened.task.annotations = (*opened.task.annotations, *{"boxes"} - {*opened.task.annotations})
        batch = opened.shown(count)
        outcome = getattr(opened.task, "validation_step" if opened.stage == "val" else "test_step")(batch, 0)
        return opened.task.figures(batch, outcome, opened.stage, count)

    return drawn(wanted, draw, name)


def gallery(wanted: Wanted, name: str) -> Drawn:
    """A picture that the task draws of a whole split."""
    count = len(wanted.ids) or wanted.samples or SAMPLES
    return drawn(wanted, lambda opened: opened.task.epoch_figures(opened.stage, count), name, whole=True)


def slots(wanted: Wanted) -> Drawn:
    """The memory slots of a layer of fusion."""
    layer = wanted.layer or 0

    def draw(opened: Opened) -> Mapping[str, Figure]:
        task = _pretraining(opened)
        batch = opened.shown(0)
        outcome = task.validation_step(batch, 0)
        found = task.extra_figure("slots", batch, outcome, wanted.samples or 4)
        expect(layer < len(found), "--layer", layer, f"0 to {len(found) - 1}, the layers of fusion with slots")
        return found

    return drawn(wanted, draw, f"slots_{layer}")


def ratios(wanted: Wanted) -> Drawn:
    """Reconstructions with several shares of the patches hidden."""
    shares = tuple(wanted.ratios) or RATIOS
    for share in shares:
        expect(0 < share < 1, "--ratios", share, "shares above 0 and below 1")
    count = len(wanted.ids) or wanted.samples or 2

    def draw(opened: Opened) -> Mapping[str, Figure]:
        task = _pretraining(opened)
        if "image_reconstruction" not in task.objectives:
            raise UserError(f"{wanted.runs[0]} was trained without image_reconstruction: it rebuilds no patches")
        batch, rebuilt = opened.shown(count), []
        batch = {name: values[:count] for name, values in batch.items()}
        for share in shares:
            task.masking = replace(task.masking, image_ratio=share)
            state = task.state(batch)
            task.objectives["image_reconstruction"](state)
            rebuilt.append(Rebuilt(share, state.image_mask.masked, state.outputs["image_prediction"]))  # type: ignore[union-attr]
        assert state.target is not None and state.image_features.grid is not None
        return {"mask_ratios": mask_ratios(state.target, state.image_features.grid, rebuilt)}

    return drawn(wanted, draw, "mask_ratios")


def _pretraining(opened: Opened) -> PretrainingTask:
    if not isinstance(opened.task, PretrainingTask):
        found = type(opened.task).__name__
        raise UserError(f"found a run of {found}; expected one of PretrainingTask, which rebuilds and remembers")
    return opened.task


reconstruction = partial(panel, name="reconstruction")
masked_report = partial(panel, name="report")
similarity = partial(panel, name="similarity", samples=64)
word_maps = partial(panel, name="word_maps")
overlay = partial(panel, name="{stage}_overlay", samples=6)
answers = partial(panel, name="answers", samples=4)
drafts = partial(panel, name="{stage}_drafts")
texts_of_images = partial(gallery, name="retrieval_i2t")
images_of_texts = partial(gallery, name="retrieval_t2i")
