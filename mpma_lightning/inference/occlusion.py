"""Where a model without local alignment has its evidence: what falls when a part of the image is covered."""

import numpy as np

from mpma_lightning.inference.model import Model

CELLS = 10
"""Steps of the covering square along each side; the square is two steps wide."""


def occlusion_map(model: Model, pixels: np.ndarray, text: str, cells: int = CELLS) -> np.ndarray:
    """(H, W) mean fall of the cosine of image and text when a square over the pixel is covered by the image's mean
    [Zeiler and Fergus 2014]. It needs ``(cells - 1)²`` + 1 embeddings.

    Args:
        model: with global alignment.
        pixels: uint8 (H, W) or (H, W, 3).
        text: the sentence.
        cells: steps of the square along each side.

    Raises:
        UserError: the checkpoint has no global alignment.
    """
    height, width = pixels.shape[:2]
    rows, columns = (np.linspace(0, side, cells + 1).round().astype(int) for side in (height, width))
    places = [(slice(rows[i], rows[i + 2]), slice(columns[j], columns[j + 2]))
              for i in range(cells - 1) for j in range(cells - 1)]  # fmt: skip
    mean = pixels.reshape(-1, *pixels.shape[2:]).mean(0).round().astype(np.uint8)
    wanted = model.embed_texts(text, aligned=True)[0]
    whole = float(model.embed_images(pixels, aligned=True)[0] @ wanted)
    fall, times = np.zeros((height, width)), np.zeros((height, width))
    for place in places:
        covered = pixels.copy()
        covered[place] = mean
        fall[place] += whole - float(model.embed_images(covered, aligned=True)[0] @ wanted)
        times[place] += 1
    return fall / times
