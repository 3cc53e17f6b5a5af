"""The slot gallery: the words and the image regions that each memory slot of a layer of fusion serves most."""

from collections import defaultdict

import torch
from matplotlib.figure import Figure
from torch import Tensor

from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones.memory_attention import MemoryUse
from mpma_lightning.figures.canvas import TEXT, canvas, headline, show

WORDS = 6


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
    """A row a slot: its words, and the ``count`` images in which it has most to do with some region.

    Args:
        image: (B, C, H, W).
        grid: (H', W') patches of an image.
        use: of one layer.
        words: from :func:`words_of_slots`.
        count: images a slot.
    """
    regions = use.regions.float().cpu()
    count = min(count, len(image))
    figure, axes = canvas(len(words), count + 1, 2.0, 1.9)
    for slot, row in enumerate(axes):
        lines = [f"slot {slot}", *(f"{share:4.0%} {word}" for word, share in list(words[slot].items())[:WORDS])]
        row[0].text(0, 1, "\n".join(lines), fontsize=TEXT, family="monospace", va="top", transform=row[0].transAxes)
        best = regions[..., slot].amax(1).argsort(descending=True)[:count].tolist()
        for ax, chosen in zip(row[1:], best, strict=True):
            show(ax, image[chosen], regions[chosen, :, slot].unflatten(0, grid))
    headline(figure, f"What each of the {len(words)} memory slots serves most",
             "left: its share of a word's attention to all slots; right: regions, brighter is more")  # fmt: skip
    return figure
