"""The slot gallery: the words and the image regions that each memory slot of a layer of fusion serves most."""

from collections import defaultdict

import torch
from matplotlib.figure import Figure
from torch import Tensor

from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones.memory_attention import MemoryUse
from mpma_lightning.figures.canvas import canvas, headline, show
from mpma_lightning.figures.sheet import sheet

WORDS, PAGE = 6, 5


def words_of_slots(use: MemoryUse, tokenizer: Tokenizer, input_ids: Tensor, word_ids: Tensor) -> list[dict[str, float]]:
    """For each of the m slots, the words of a batch and the mean share of a word's attention to slots that it receives,
    largest first.

    Args:
        use: of one layer, for these reports.
        tokenizer: of the reports.
        input_ids, word_ids: (B, T) the whole reports, without masks.
    """
    shares = (use.words / use.words.sum(-1, keepdim=True).clamp(min=1e-12)).cpu()
    found: dict[str, list[Tensor]] = defaultdict(list)
    for ids, owners, values in zip(input_ids.cpu(), word_ids.cpu(), shares, strict=True):
        for word in range(int(owners.max()) + 1):
            pieces = owners == word
            found[tokenizer.decode(ids[pieces].tolist())].append(values[pieces].mean(0))
    names = list(found)
    means = torch.stack([torch.stack(found[name]).mean(0) for name in names])
    return [
        {names[i]: float(means[i, slot]) for i in means[:, slot].argsort(descending=True)}
        for slot in range(means.shape[1])
    ]


def slot_gallery(
    image: Tensor, grid: tuple[int, int], use: MemoryUse, words: list[dict[str, float]], count: int
) -> Figure:
    """A row a slot: its words, and the ``count`` images in which it has most to do with some region. On a page, the
    ``PAGE`` slots with the largest share of a word.

    Args:
        image: (B, C, H, W).
        grid: (H', W') patches of an image.
        use: of one layer.
        words: from :func:`words_of_slots`.
        count: images a slot.
    """
    regions = use.regions.float().cpu()
    count = min(count, len(image))
    chosen = sorted(range(len(words)), key=lambda slot: -max(words[slot].values()))
    chosen = chosen if sheet().width is None else chosen[:PAGE]
    figure, axes = canvas(len(chosen), count + 1, 2.0, 1.9, square=1.5)
    for slot, row in zip(sorted(chosen), axes, strict=True):
        lines = [f"slot {slot}", *(f"{share:4.0%} {word}" for word, share in list(words[slot].items())[:WORDS])]
        row[0].text(
            0, 1, "\n".join(lines), fontsize=sheet().text, family="monospace", va="top", transform=row[0].transAxes
        )
        best = regions[..., slot].amax(1).argsort(descending=True)[:count].tolist()
        for ax, film in zip(row[1:], best, strict=True):
            show(ax, image[film], regions[film, :, slot].unflatten(0, grid))
    which = f"each of the {len(words)}" if len(chosen) == len(words) else f"{len(chosen)} of the {len(words)}"
    headline(figure, f"What {which} memory slots serve{'s' * (len(chosen) == len(words))} most",
             "left: its share of a word's attention to all slots; right: regions, brighter is more")  # fmt: skip
    return figure
