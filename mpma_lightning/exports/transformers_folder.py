"""The text encoder as a folder of transformers."""

from pathlib import Path

from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from data_modules.errors import UserError
from data_modules.text.tokenizer import CLIP, ROBERTA
from mpma_lightning.inference import Model


def write_text(model: Model, out: Path) -> None:
    """Write model, configuration and tokeniser as ``save_pretrained`` does.

    ``last_hidden_state`` is the tokens of :class:`Model`; its pooled feature is the first token or their mean.

    Raises:
        UserError: there is no text encoder, no tokeniser, or it is none of transformers.
    """
    if "text" not in model.parts or model.tokenizer is None:
        lacks = "no text encoder" if "text" not in model.parts else "no tokeniser"
        raise UserError(f"{model.path} holds {', '.join(model.parts)} and {lacks}; export --to timm or safetensors")
    bert = getattr(model.backbone.text, "bert", None)
    if bert is None or not hasattr(bert, "save_pretrained"):
        encoder = model.backbone.spec.text.encoder
        raise UserError(f"text.encoder {encoder} is no model of transformers; export --to safetensors")
    bert.save_pretrained(out)
    backend = model.tokenizer.to_backend()
    names: dict[str, str] = {}
    for key, (role, other) in zip(("pad", "unk", "cls", "sep", "mask"), ROBERTA.items(), strict=True):
        known = [name for name in (role, other, CLIP.get(role, role)) if backend.token_to_id(name) is not None]
        names |= {f"{key}_token": known[0]} if known else {}
    first, last = names["cls_token"], names["sep_token"]
    ends = [(name, backend.token_to_id(name)) for name in (first, last)]
    backend.post_processor = TemplateProcessing(single=f"{first} $A {last}", special_tokens=ends)
    longest = bert.config.max_position_embeddings
    made = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=longest, **names)
    made.save_pretrained(out)
