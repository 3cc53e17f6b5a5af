"""What a user should know of the data before a training starts: few samples, samples left out, texts that are cut."""

from collections.abc import Iterator

import numpy as np

from data_modules.loading.loaders import IndexLoaders

FEW = 20
"""Validation samples below which metrics are rough."""
_TEXTS = 500
"""Texts that are read to see how many are cut."""


def small_print(data: IndexLoaders, processes: int, accumulate: int) -> Iterator[str]:
    """Lines about the training and validation samples of ``data``, after its ``setup``.

    Args:
        data: of the run.
        processes: that share a batch.
        accumulate: batches whose gradients make a step.
    """
    shown, batch = data.training_samples(), data.batch_size * processes
    left = shown % batch
    if left:
        yield (
            f"an epoch leaves out {left:,} of {shown:,} training samples, others each time, as its last batch of "
            f"{batch:,} would not be full"
        )
    if left_batches := shown // batch % accumulate:
        yield f"the last step of an epoch has {left_batches} of {accumulate} accumulated batches"
    few = len(data.split_rows("val"))
    if few == 0:
        yield "no validation samples: nothing is measured while training, and no best checkpoint is kept"
    elif few < FEW:
        yield f"{few} validation samples: their metrics, and with them the choice of the best checkpoint, are rough"
    if (share := share_cut(data)) > 0:
        yield f"data.text.max_tokens {data.text.max_tokens} cuts {share:.0%} of the training texts"


def share_cut(data: IndexLoaders) -> float:
    """Share of the training texts that are longer than ``max_tokens``, of a sample of them; 0 where none are read."""
    rows = data.split_rows("train")
    if data.tokenizer is None or "text" not in rows or "text" not in data.request.modalities or rows.empty:
        return 0.0
    places = np.unique(np.linspace(0, len(rows) - 1, _TEXTS).astype(int))
    texts = rows["text"].fillna("").iloc[places]
    return float(np.mean([data.tokenizer.count(text) > data.text.max_tokens for text in texts]))
