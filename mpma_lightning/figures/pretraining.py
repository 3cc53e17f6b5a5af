"""Figures of pre-training: reconstructed images and reports, and the similarity of pairs."""

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.evaluation.interpolation import interpolate_hidden
from mpma_lightning.figures.canvas import (
    MAP,
    NOTHING,
    PLAIN,
    RIGHT,
    TRUTH,
    WRONG,
    canvas,
    gray,
    headline,
    scale_bar,
    scale_of,
    show,
    write,
)
from mpma_lightning.figures.sheet import sheet, shrunk
from mpma_lightning.objectives import PretrainingState
from mpma_lightning.objectives.image_reconstruction import normalise_patches, patchify, unpatchify

REPORT, LINES = 7.0, (11, 24)
"""Width in inches; lines of a report: least beside a film, and largest."""


def reconstruction(state: PretrainingState, count: int = 4) -> Figure:
    """Film, what the model sees, its prediction of the hidden patches and its error; then interpolation and its error.

    Both get each hidden patch's true mean and contrast, which the loss leaves out. Interpolated patches are multiplied
    by the one factor with the least error on these films, as in ``interpolation_mse``.
    """
    assert state.target is not None and state.image_mask is not None
    target, grid, hidden = state.target.float(), state.image_features.grid, state.image_mask.masked
    assert grid is not None
    count, side, channels = min(count, len(target)), target.shape[-1] // grid[1], target.shape[1]
    target, hidden = target[:count], hidden[:count]
    patches = patchify(target, side)
    truth = normalise_patches(patches)
    model = state.outputs["image_prediction"][:count].float()
    plain = normalise_patches(patchify(interpolate_hidden(target, hidden, grid), side))
    plain = plain * (truth * plain)[hidden].sum() / plain[hidden].square().sum().clamp(min=1e-12)
    mean, deviation = patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    errors = [(guess - truth).square().mean(-1) for guess in (model, plain)]
    scale = Normalize(0, float(torch.stack(errors)[:, hidden].max()))
    shades, heat = (colormaps[name].with_extremes(bad=NOTHING) for name in ("gray", MAP))
    figure, axes = canvas(count, 6, 2.0, 2.2, square=1.8)
    titles = ("film", "what the model sees", "the model's guess", "its error", "interpolation", "its error")
    for column, title in enumerate(titles):
        axes[0, column].set_title(title, fontsize=sheet().text)

    def draw(column: int, values: Tensor) -> None:
        for row, image in enumerate(unpatchify(values, grid, channels)):
            low, high = float(patches[row].amin()), float(patches[row].amax())
            axes[row, column].imshow(gray(image), cmap=shades, vmin=low, vmax=high)

    draw(0, patches)
    draw(1, patches.masked_fill(hidden[..., None], torch.nan))
    for column, guess, error in zip((2, 4), (model, plain), errors, strict=True):
        draw(column, torch.where(hidden[..., None], guess * deviation + mean, patches))
        for row, ax in enumerate(axes[:, column + 1]):
            shown = error[row].masked_fill(~hidden[row], torch.nan).unflatten(0, grid)
            ax.imshow(shown.cpu().numpy(), cmap=heat, norm=scale)
            below = f"mean error {float(error[row][hidden[row]].mean()):.2f}"
            ax.text(0.5, -0.02, below, fontsize=sheet().text, ha="center", va="top", transform=ax.transAxes)
    scale_bar(figure, axes, scale, "squared error of a hidden patch")
    headline(figure, "Hidden patches, guessed by the model and interpolated from the visible ones",
             "error: mean square, in units of the patch's variance; 1 is that of a plain gray patch")  # fmt: skip
    return figure


def report(state: PretrainingState, tokenizer: Tokenizer, count: int = 4) -> Figure:
    """Films with their reports; hidden words are bold: blue where the model's word is right, else orange with the truth
    in brackets."""
    assert state.input_ids is not None and state.report_mask is not None and state.word_ids is not None
    count, films = min(count, len(state.input_ids)), state.target is not None
    masked, ids = state.report_mask.masked.cpu(), state.input_ids.cpu()
    guesses = torch.zeros_like(ids)
    guesses[masked] = state.outputs["report_prediction"].cpu()
    told = [
        spoken(*each, tokenizer)
        for each in zip(ids[:count], guesses[:count], state.word_ids[:count].cpu(), masked[:count], strict=True)
    ]
    longest = max(sum(len(text) + 1 for text, _ in words) for words in told)
    widths = [2.2, REPORT] if films else [REPORT]
    inches = REPORT * shrunk(widths)
    needed = int(1.1 * longest * sheet().character / inches) + 2
    lines = min(max(LINES[0] if films else 1, needed), int(LINES[1] * REPORT / inches))
    figure, axes = canvas(count, 1 + films, height=0, widths=widths, lines=lines)
    for row, words in enumerate(told):
        hidden = [colour == RIGHT for _, colour in words if colour != PLAIN]
        ax = axes[row, -1]
        ax.set_title(f"{sum(hidden)} of {len(hidden)} hidden words are right", fontsize=sheet().text + 1, loc="left")
        write(ax, words, inches - 0.2, lines)
        if films:
            axes[row, 0].set_anchor("N")
            show(axes[row, 0], state.target[row])  # type: ignore[index]
    headline(figure, "Hidden words in bold: blue = the model's word is right, orange = wrong, [true word]")
    return figure


def spoken(ids: Tensor, guesses: Tensor, owners: Tensor, masked: Tensor, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """The words of one report and their colours: ``PLAIN`` where visible, ``RIGHT``, or ``WRONG`` with the truth.

    Args:
        ids, guesses, owners, masked: (T,) true and predicted pieces, the word of each piece, and whether it is hidden.
        tokenizer: of the report.
    """
    words: list[tuple[str, str]] = []
    place, special = 0, (tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id)
    while place < len(ids):
        end = place + 1
        while end < len(ids) and owners[place] >= 0 and owners[end] == owners[place]:
            end += 1
        truth = ids[place:end].tolist()
        if truth[0] not in special:
            text, colour = tokenizer.decode(truth), PLAIN
            if masked[place:end].any():
                hidden = masked[place:end]
                guess = tokenizer.decode(torch.where(hidden, guesses[place:end], ids[place:end]).tolist())
                text, colour = (text, RIGHT) if guess == text else (f"{guess or '?'} [{text}]", WRONG)
            words.append((text, colour))
        place = end
    return words


def similarity(image: Tensor, text: Tensor, group: Tensor) -> Figure:
    """Cosine of every film with every report of a batch, and how many films are most similar to their own report.

    Args:
        image, text: (B, e) normalised.
        group: (B,); pairs of one group belong together.
    """
    cosines = (image @ text.T).detach().float().cpu().numpy()
    own = (group[:, None] == group[None]).cpu().numpy()
    first = int(own[np.arange(len(own)), cosines.argmax(1)].sum())
    figure, axes = canvas(1, 1, 7.0, 6.2, square=6.2)
    ax: Axes = axes[0, 0]
    ax.set_axis_on()
    scale = scale_of(cosines)
    ax.imshow(cosines, cmap=MAP, norm=scale)
    rows, columns = np.nonzero(own)
    ax.scatter(columns, rows, s=max(4, 900 / len(own)), facecolors="none", edgecolors=TRUTH, linewidths=1)
    ax.set_xlabel("report, by its place in the batch", fontsize=sheet().text + 1)
    ax.set_ylabel("film, by its place in the batch", fontsize=sheet().text + 1)
    ax.tick_params(labelsize=sheet().text)
    ax.locator_params(integer=True)
    scale_bar(figure, axes, scale, "cosine similarity: brighter is more alike")
    headline(
        figure,
        f"{first} of {len(own)} films are most similar to their own report",
        "circle: film and report belong together; it should be the brightest of its row",
    )
    return figure
