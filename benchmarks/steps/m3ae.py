"""The official M3AE: ``m3ae.py CHECKOUT --batch …``, in an interpreter with the libraries that README.md names.

The model is imported from the checkout and left as it is, with the settings of its pre-training script; ``older.py``
says what is done around it. CLIP and RoBERTa have random weights of the published sizes; CLIP's table of words, which
nothing reads, has one row.
"""

from typing import Any

import older
import torch
import worker

WORDS, TOKENS, SIDE = 50_265, 64, 288
BEGIN, PAD, END, FIRST, MASK = 0, 1, 2, 4, 50_264
SCRIPT = ["task_pretrain_m3ae", "clip16", "text_roberta"]


def settings() -> dict[str, Any]:
    """What ``run_scripts/pretrain_m3ae.sh`` sets."""
    from m3ae.config import ex  # type: ignore[import-not-found]

    found: dict[str, Any] = {}

    @ex.main
    def take(_config: dict[str, Any]) -> None:
        found.update(_config)

    own = {"image_size": SIDE, "max_text_len": TOKENS, "tokenizer": "roberta-base"}
    ex.run(named_configs=SCRIPT, config_updates=own, options={"--capture": "no", "--loglevel": "ERROR"})
    return found


def batch_of(count: int) -> dict[str, Any]:
    """What its ``collate`` returns, as far as a step reads it: noise, reports padded to the limit, 15 % masked."""
    sizes = torch.tensor(worker.lengths(count, TOKENS)).unsqueeze(1)
    place = torch.arange(TOKENS).expand(count, TOKENS)
    ids = torch.randint(FIRST, MASK, place.shape).masked_fill(place == 0, BEGIN)
    ids = ids.masked_fill(place == sizes - 1, END).masked_fill(place >= sizes, PAD)
    words = (place > 0) & (place < sizes - 1)
    masked = torch.rand(place.shape).masked_fill(~words, 2.0).argsort(1).argsort(1) < (0.15 * (sizes - 2)).round()
    return {
        "image": [grey(count)],
        "false_image_0": [grey(count)],
        "text": [""] * count,
        "text_ids": ids,
        "text_labels": torch.full_like(ids, -100),
        "text_ids_mlm": ids.masked_fill(masked, MASK),
        "text_labels_mlm": ids.masked_fill(~masked, -100),
        "text_masks": (place < sizes).long(),
    }


def grey(count: int) -> torch.Tensor:
    """Noise in three equal channels."""
    return torch.randn(count, 1, SIDE, SIDE).expand(-1, 3, -1, -1).contiguous()


def main() -> None:
    given = worker.arguments("checkout")
    older.give_back(given)
    older.lightning()
    from transformers import RobertaConfig, RobertaModel, file_utils

    file_utils.add_code_sample_docstrings = lambda *_, **__: lambda method: method  # its arguments have changed
    from m3ae.modules import m3ae_module  # type: ignore[import-not-found]
    from m3ae.modules.vision_encoders.clip_model import CLIP  # type: ignore[import-not-found]

    config = settings()
    worker.imported(given)
    older.random_weights(RobertaModel, RobertaConfig(vocab_size=WORDS, max_position_embeddings=514, type_vocab_size=1))
    m3ae_module.build_model = lambda _, resolution_after: CLIP(512, 224, 12, 768, 16, 1, 1, 64, 1, 1, resolution_after)
    model = m3ae_module.M3AETransformerSS(config).to(given.device).train()
    older.serve(model, batch_of, given)


if __name__ == "__main__":
    main()
