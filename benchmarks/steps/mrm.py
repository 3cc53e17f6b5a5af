"""The official MRM: ``mrm.py CHECKOUT --batch …``, in an interpreter that has timm 0.4.9 and transformers 4.30.

The model is imported from the checkout and left as it is. What is done around it: names that newer libraries no longer
have are put back, ``.cuda()`` does nothing on a CPU, and automatic mixed precision is bf16, as in the other rows.
"""

import sys
from itertools import cycle

import numpy as np
import torch
import worker

WORDS, TOKENS, SIDE = 30_000, 100, 448
MASK = 3


def main() -> None:
    given = worker.arguments("checkout")
    if not hasattr(np, "float"):
        np.float = float  # type: ignore[attr-defined]
    if given.device == "cpu":
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign, assignment]
    sys.path.insert(0, given.checkout)
    import model_mrm  # type: ignore[import-not-found]

    model = model_mrm.mrm(norm_pix_loss=True).to(given.device).train()
    sizes = torch.tensor(worker.lengths(given.batch, TOKENS)).unsqueeze(1)
    place = torch.arange(TOKENS).expand(given.batch, TOKENS)
    batches = []
    for _ in range(4):
        labels = torch.randint(5, WORDS, (given.batch, TOKENS)).masked_fill(place >= sizes, 0)
        masked = (torch.rand(labels.shape) < 0.5) & (place > 0) & (place < sizes)
        batches.append(
            {
                "image": torch.randn(given.batch, 1, SIDE, SIDE).expand(-1, 3, -1, -1).contiguous(),
                "ids": labels.masked_fill(masked, MASK),
                "labels": labels,
                "attention_mask": (place < sizes).long(),
                "type_ids": torch.zeros_like(labels),
            }
        )
    turns = cycle(batches)

    def loss() -> torch.Tensor:
        (of_image, of_report), _, _ = model(next(turns), mask_ratio=0.75)
        return of_image + of_report

    decayed = [weight for weight in model.parameters() if weight.requires_grad and weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.requires_grad and weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    worker.serve(model, worker.optimised(groups), loss, given)


if __name__ == "__main__":
    main()
