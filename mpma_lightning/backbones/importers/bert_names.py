"""Text encoders with BERT's names below ``text.bert.``, and what tensor shapes say about them."""

from typing import Any

from torch import Tensor
from transformers import BertConfig, RobertaConfig

from mpma_lightning.backbones.importers.foreign import Foreign, Table, depth_of
from mpma_lightning.backbones.spec import TextSpec

PREFIX = "text.bert."
NAMES: Table = [
    (
        r"(embeddings\.(?:word_embeddings|position_embeddings|token_type_embeddings|LayerNorm)\.\w+"
        r"|encoder\.layer\.\d+\.(?:attention|intermediate|output)\.\S+)",
        r"\1",
    ),
]
UNUSED = (r".*position_ids", r".*pooler\.dense\.(weight|bias)")
"""Buffers, and the pooler of next-sentence prediction, which no text encoder here has."""


def bert(foreign: Foreign, prefix: str = "") -> dict[str, Tensor]:
    """Take a BERT, below ``prefix``, out of ``foreign``; old names of LayerNorm parameters are renewed."""
    found = foreign.take([(f"{prefix}{pattern}", new) for pattern, new in NAMES], PREFIX)
    foreign.drop(*(prefix + pattern for pattern in UNUSED))
    old = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    state = {_renewed(name, old): value for name, value in found.items()}
    types = f"{PREFIX}embeddings.token_type_embeddings.weight"
    if types not in state:  # BLIP's BERT, which MGCA uses, adds none
        words = state[f"{PREFIX}embeddings.word_embeddings.weight"]
        state[types] = words.new_zeros(2, words.shape[1])
    return state


def _renewed(name: str, old: dict[str, str]) -> str:
    for ending, new in old.items():
        name = name.removesuffix(ending) + new if name.endswith(ending) else name
    return name


def bert_config(state: dict[str, Tensor], config: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Plain configuration of the BERT or RoBERTa with the tensors ``state``, whose names begin with ``text.bert.``.

    Args:
        state: its tensors.
        config: its ``config.json``; what it does not say is read off the tensors.
        more: further values, such as ``num_attention_heads``; by default heads have 64 channels.
    """
    embeddings, layer = f"{PREFIX}embeddings.", f"{PREFIX}encoder.layer.0."
    words, width = state[f"{embeddings}word_embeddings.weight"].shape
    types = state[f"{embeddings}token_type_embeddings.weight"].shape[0]
    given = {key: value for key, value in (config or {}).items() if key not in ("model_type", "auto_map")}
    roberta = (config or {}).get("model_type", "") in ("roberta", "xlm-roberta") or (not given and types == 1)
    kind = RobertaConfig if roberta else BertConfig
    known = kind().to_dict()
    shapes = {
        "vocab_size": words,
        "hidden_size": width,
        "num_hidden_layers": depth_of(state, r"text\.bert\.encoder\.layer\.(\d+)\."),
        "intermediate_size": state[f"{layer}intermediate.dense.weight"].shape[0],
        "max_position_embeddings": state[f"{embeddings}position_embeddings.weight"].shape[0],
        "type_vocab_size": types,
    }
    usual = {"num_attention_heads": max(1, width // 64), **({"layer_norm_eps": 1e-5} if roberta else {})}
    chosen = {**usual, **{key: value for key, value in given.items() if key in known}, **more, **shapes}
    return {**kind(**chosen).to_dict(), "model_type": "roberta" if roberta else "bert"}


def bert_spec(config: dict[str, Any], pool: str = "cls", layers: int = 1) -> TextSpec:
    """The text encoder of this configuration."""
    width, depth, heads = (config[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    return TextSpec(f"hf/{config['model_type']}", width, depth, heads, pool, layers=layers)  # type: ignore[arg-type]
