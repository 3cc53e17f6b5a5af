"""The official MGCA: ``mgca.py CHECKOUT --batch …``, in an interpreter with the libraries that README.md names.

The model is imported from the checkout and left as it is, with the defaults of its command; ``older.py`` says what is
done around it. Autograd's anomaly detection, which it turns on, is turned off. Its ViT and BERT have random weights.
"""

from argparse import ArgumentParser
from types import SimpleNamespace
from typing import Any

import older
import torch
import worker

TOKENS, SIDE = 112, 224
PIECES = {name: place for place, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *range(5, 28_996)])}


def batch_of(count: int) -> dict[str, Any]:
    """What its ``multimodal_collate_fn`` returns, as far as a step reads it: noise, every piece a word of its own."""
    sizes = torch.tensor(worker.lengths(count, TOKENS)).unsqueeze(1)
    place = torch.arange(TOKENS).expand(count, TOKENS)
    ids = torch.randint(5, len(PIECES), place.shape).masked_fill(place == 0, PIECES["[CLS]"])
    return {
        "imgs": torch.randn(count, 1, SIDE, SIDE).expand(-1, 3, -1, -1).contiguous(),
        "caption_ids": ids.masked_fill(place == sizes - 1, PIECES["[SEP]"]).masked_fill(place >= sizes, 0),
        "attention_mask": (place < sizes).long(),
        "token_type_ids": torch.zeros_like(ids),
    }


def main() -> None:
    given = worker.arguments("checkout")
    older.give_back(given)
    older.lightning()
    import torchvision.transforms  # noqa: F401
    import transformers
    from timm.models import helpers

    helpers.named_apply = None  # which MRM's timm does not have, and MGCA does not call
    older.unused("cosine_annealing_warmup", "dateutil.tz", "nltk.tokenize", "pandas", "pydicom", "cv2",
                 "fairscale.nn.checkpoint.checkpoint_activations")  # fmt: skip
    from mgca.models.backbones import med  # type: ignore[import-not-found]
    from mgca.models.mgca.mgca_module import MGCA  # type: ignore[import-not-found]

    worker.imported(given)
    torch.autograd.set_detect_anomaly(False)
    vocabulary = SimpleNamespace(get_vocab=lambda: {str(name): place for name, place in PIECES.items()})
    transformers.AutoTokenizer.from_pretrained = lambda _: vocabulary  # type: ignore[method-assign, assignment]
    torch.hub.load_state_dict_from_url = lambda **_: {"model": {}}  # type: ignore[assignment]
    older.random_weights(med.BertModel)
    defaults = MGCA.add_model_specific_args(ArgumentParser(add_help=False)).parse_args([])
    gpus = int(given.device == "cuda")
    model = MGCA(**vars(defaults), gpus=gpus).to(given.device).train()
    older.serve(model, batch_of, given)


if __name__ == "__main__":
    main()
