"""The official MRM: ``mrm.py CHECKOUT --batch …``, in an interpreter that has timm 0.4.9 and transformers 4.30.

The model is imported from the checkout and left as it is; ``older.py`` says what is done around it. Automatic mixed
precision is bf16, as in the other rows.
"""

from itertools import cycle

import older
import torch
import worker

WORDS, TOKENS, SIDE = 30_000, 100, 448
MASK = 3


def main() -> None:
    given = worker.arguments("checkout")
    older.give_back(given)
    import model_mrm  # type: ignore[import-not-found]

    worker.imported(given)
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

    worker.serve(model, worker.optimised(worker.groups(model)), loss, given)


if __name__ == "__main__":
    main()
