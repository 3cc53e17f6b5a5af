"""Every figure in both columns of a journal: its width, letters of 7 points or more, and no text outside of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from mpma_lightning.backbones.memory_attention import MemoryUse
from mpma_lightning.evaluation.grounding import WHOLE
from mpma_lightning.evaluation.reports.evidence import Sentence, boxes_in_pixels
from mpma_lightning.figures import dense
from mpma_lightning.figures.answers import answer_cards
from mpma_lightning.figures.canvas import canvas, headline
from mpma_lightning.figures.curves import label_efficiency, training_curves
from mpma_lightning.figures.embedding_map import embedding_map, in_the_plane
from mpma_lightning.figures.mask_ratios import Rebuilt, mask_ratios
from mpma_lightning.figures.memory import slot_gallery
from mpma_lightning.figures.phrase import phrase_map
from mpma_lightning.figures.pretraining import similarity
from mpma_lightning.figures.reports import report_cards
from mpma_lightning.figures.retrieval import Query, images_of_texts, texts_of_images
from mpma_lightning.figures.sheet import COLUMNS, SCREEN, Sheet, drawn_on, letters, sheet, shrunk
from mpma_lightning.figures.word_maps import Named, word_maps
from mpma_lightning.lab.figures.kinds import KINDS
from mpma_lightning.objectives.image_reconstruction import normalise_patches, patchify

LONG = "There is a moderate left pleural effusion with adjacent atelectasis and the heart is mildly enlarged. " * 4
NAME = "Enlarged Cardiomediastinum"
MAP, BOX = torch.rand(2, 4, 4), torch.tensor([[1.0, 1.0, 9.0, 9.0]])
FILMS = torch.randint(0, 255, (2, 1, 16, 16), generator=torch.Generator().manual_seed(0))


def cards() -> Figure:
    batch = {"image": FILMS, "text": [LONG, LONG], "answer": ["left lower lobe", "yes"]}
    predicted = [("right upper lobe", False), ("yes", True)]
    return answer_cards(batch, predicted, torch.rand(2, 3), ["yes", "no", "left lower lobe"], MAP, "1 of 2 are right")


def reports() -> Figure:
    draft = [Sentence(LONG, {"Edema": 1}, np.random.default_rng(0).random((4, 4)), 0.4, False)]
    return report_cards(FILMS, [LONG, LONG], [draft, draft])


def gallery(draw: Any) -> Figure:
    data = [{"image": FILMS[i % 2].numpy(), "text": LONG} for i in range(6)]
    return draw(data, [Query(0, [1, 2, 3, 4, 5], [False] * 5, 1234)], 2000, "of the same study")


def slots() -> Figure:
    use = MemoryUse(*torch.rand(3, 2, 5), torch.rand(2, 5, 8), torch.rand(2, 16, 8))
    return slot_gallery(FILMS, (4, 4), use, [{"cardiomediastinal": 0.3, "effusion": 0.2}] * 8, 4)


def ratios() -> Figure:
    patches = torch.rand(2, 16, 16)
    return mask_ratios(
        FILMS.float(), (4, 4), [Rebuilt(r, torch.ones(2, 16).bool(), patches) for r in (0.25, 0.5, 0.75, 0.9)]
    )


def in_plane() -> Figure:
    labels = (np.random.default_rng(0).random((30, 7)) > 0.7).astype(float)
    return embedding_map(
        np.random.default_rng(1).random((30, 2)), labels, [f"{NAME} {i}" for i in range(7)], "30 films"
    )


def targets(count: int) -> list[dict[str, torch.Tensor]]:
    return [{"boxes": BOX, "labels": torch.tensor([0]), "scores": torch.tensor([0.7])}] * count


DRAWN: dict[str, Callable[[], Figure]] = {
    "mask_ratios": ratios,
    "similarity": lambda: similarity(torch.eye(3), torch.eye(3), torch.arange(3)),
    "word_maps": lambda: word_maps([*FILMS], [Named(LONG, {"effusion": 1, "heart": 2})] * 2, [MAP, MAP], [BOX] * 2),
    "slots": slots,
    "phrase": lambda: phrase_map(FILMS[0, 0].numpy(), np.eye(16), LONG[:100], "fall of the cosine when covered"),
    "embedding": in_plane,
    "masks": lambda: dense.masks(FILMS, FILMS > 99, FILMS > 120, ["a/long/name of a film.png"] * 2, "Mass"),
    "boxes": lambda: dense.boxes(FILMS, targets(2), targets(2), ["Mass"]),
    "overlay": lambda: dense.grounding(FILMS, MAP, [BOX] * 2, [LONG] * 2, [WHOLE] * 2, [True, False]),
    "retrieval_i2t": lambda: gallery(texts_of_images),
    "retrieval_t2i": lambda: gallery(images_of_texts),
    "answers": cards,
    "drafts": reports,
    "curves": lambda: training_curves({"runs/a/first": [(1, 2.0), (2, 1.0)], "runs/a/second": [(1, 3.0)]}, "loss"),
    "label_efficiency": lambda: label_efficiency({"MPMA": {0.01: [80.0, 82.0], 1.0: [90.0]}}, "AUROC (%)"),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("column", COLUMNS)
def test_value_figures_are_legible_in_the_column_of_a_journal(name: str, column: str) -> None:
    if column == "single" and not getattr(KINDS.get(name), "single", True):
        pytest.skip("the command refuses it in a single column")
    with drawn_on(COLUMNS[column]):
        figure = DRAWN[name]()
    wide, high = figure.get_size_inches()
    assert wide <= {"single": 3.51, "double": 7.21}[column] and high < 9.7, "89 and 183 mm wide, on one page"
    assert not figure.get_suptitle() and len(figure.get_label()) > 10, "the caption says it"
    figure.draw_without_rendering()
    told = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    on = [text for text in told if text.axes is None or text.axes.axison or text in text.axes.texts]
    on += [ax.title for ax in figure.axes]
    assert min(text.get_fontsize() for text in told) >= 7
    for text in on:
        box = text.get_window_extent()
        inside = box.x0 >= -2 and box.x1 <= figure.bbox.width + 2
        assert inside or text.get_clip_on() or not text.get_text(), text.get_text()


def test_value_the_screen_is_as_wide_as_its_cells_and_says_what_it_shows() -> None:
    assert sheet() == SCREEN and shrunk([9.0, 9.0]) == 1 and letters(40, [9.0, 9.0]) == 40
    with drawn_on(COLUMNS["double"]):
        assert shrunk([3.0]) == 1, "what fits stays as it is"
        assert letters(40, [9.0, 9.0]) == int(40 * 183 / 25.4 / 18 * 9 / 7), "narrower, in smaller letters"
        with drawn_on(Sheet(width=9.0)):
            figure, _ = canvas(1, 2, 9.0, 10.0, square=9.0)
    assert sheet() == SCREEN and figure.get_size_inches().tolist() == [9.0, 5.5], "images half as high; text as before"
    headline(figure, "shown")
    assert figure.get_suptitle() == figure.get_label() == "shown"


def test_value_errors_of_hidden_patches_are_written() -> None:
    films = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    truth = normalise_patches(patchify(films, 4))
    hidden = torch.tensor([[True, False, False, True]])
    guess = torch.where(hidden[..., None], truth + 0.5, torch.full_like(truth, 99.0))
    figure = mask_ratios(films, (2, 2), [Rebuilt(0.5, hidden, guess)])
    written = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert written == ["error 0.25"] and figure.axes[1].get_title() == "50% hidden"
    seen, guessed = (np.asarray(figure.axes[i].images[0].get_array()) for i in (1, 3))
    assert np.isnan(seen[:4, :4]).all() and np.allclose(seen[:4, 4:], films[0, 0, :4, 4:], atol=1e-5)
    deviation = (films[0, 0, :4, :4].var() + 1e-6).sqrt()
    assert np.allclose(guessed[:4, :4], films[0, 0, :4, :4] + 0.5 * deviation, atol=1e-4), "true mean and contrast"


def test_value_the_strongest_region_is_boxed_in_pixels() -> None:
    heat = np.zeros((4, 4))
    heat[1, 2] = heat[2, 2] = 1
    assert boxes_in_pixels(heat, (8, 16)) == [[8, 2, 12, 6]]
    figure = phrase_map(np.zeros((4, 4)), heat, "here", "cosine")
    (frame,) = figure.axes[1].patches
    assert frame.get_bbox().bounds == (2, 1, 1, 2) and figure.axes[1].lines[0].get_xydata().tolist() == [[2, 1]]


def test_value_neighbours_stay_neighbours_in_the_plane() -> None:
    draw = np.random.default_rng(0)
    far = np.concatenate([draw.normal(0, 1, (20, 8)), draw.normal(30, 1, (20, 8))])
    points = in_the_plane(far)
    own = np.arange(40) < 20
    nearest = np.array([np.argsort(np.linalg.norm(points - p, axis=1))[1] for p in points])
    assert (own[nearest] == own).all() and (in_the_plane(far) == points).all(), "the same picture again"


def test_value_panels_count_who_shows_a_finding() -> None:
    labels = np.array([[1, 0, np.nan], [1, 1, np.nan], [0, 0, np.nan]])
    figure = embedding_map(np.eye(3)[:, :2], labels, ["Edema", "Mass", "Nodule"], "3 films")
    assert [ax.get_title() for ax in figure.axes] == ["Edema (2)", "Mass (1)"], "most frequent first; none is left out"
    assert len(figure.axes[0].collections[1].get_offsets()) == 2


def test_value_means_and_deviations_of_seeds() -> None:
    figure = label_efficiency({"ours": {1.0: [90.0], 0.01: [80.0, 84.0]}, "theirs": {0.1: [70.0]}}, "AUROC (%)")
    ax = figure.axes[0]
    lines = {line.get_label(): line.get_xydata().tolist() for line, *_ in ax.containers}
    assert ax.containers[0][0].get_xydata().tolist() == [[0.01, 82.0], [1.0, 90.0]] and lines
    bar = ax.containers[0][2][0].get_segments()[0][:, 1]
    assert np.allclose(bar, [82 - 8**0.5, 82 + 8**0.5]) and "1 to 2 seeds" in figure.get_label()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1 %", "10 %", "100 %"]
