"""Text encoders from transformers: a BERT of any depth with random weights, or a published one."""

import json
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, BertConfig, BertModel
from transformers.masking_utils import create_bidirectional_mask

from data_modules.errors import UserError, expect
from mpma_lightning.backbones.features import Features
from mpma_lightning.backbones.registry import REGISTRY
from mpma_lightning.backbones.representation import mean_over_text, token_at
from mpma_lightning.backbones.spec import TextSpec, Vocabulary

BIDIRECTIONAL = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
"""Types of model whose tokens attend to all that are no padding; they take a mask that is made already."""
MAX_TOKENS = 512
MAX_SIZE = 1 << 20


class TextEncoder(nn.Module):
    """A BERT-like encoder.

    Args:
        bert: a model of transformers without a pooling layer.
        pool: ``cls``, the first token; ``mean`` of all tokens; or ``last``, the closing token.
        published: whether its architecture is that of a published model.
        layers: the tokens are the sum of the outputs of this many last layers.

    Raises:
        UserError: it has fewer layers.
    """

    def __init__(self, bert: Any, pool: str, published: bool = False, layers: int = 1) -> None:
        super().__init__()
        depth = bert.config.num_hidden_layers
        expect(layers == 1 or layers <= depth, "model.backbone.text.layers", layers, f"at most {depth}, its depth")
        self.bert = bert
        self.pool, self.published, self.layers = pool, published, layers
        self.width: int = bert.config.hidden_size

    @property
    def word_embeddings(self) -> Tensor:
        """The table (vocabulary, D), which the report reconstruction head shares."""
        return self.bert.get_input_embeddings().weight

    @property
    def published_config(self) -> dict[str, Any] | None:
        """The configuration that rebuilds a published architecture, plain types; ``None`` for a random BERT."""
        if not self.published:
            return None
        plain: dict[str, Any] = json.loads(self.bert.config.to_json_string(use_diff=False))
        return plain

    def forward(self, input_ids: Tensor, attention_mask: Tensor, bias: Tensor | None = None) -> Features:
        """Encode.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 at padding.
            bias: (B, D), added to the embeddings of a sample after their LayerNorm, as in MRM's code: added before it,
                a vector as large as that of the image would suppress the words.

        Raises:
            UserError: the texts are longer than the encoder's positions.
        """
        longest = self.bert.config.max_position_embeddings
        if input_ids.shape[1] > longest:
            raise UserError(
                f"texts have {input_ids.shape[1]} tokens but the text encoder has {longest} positions; "
                f"set data.text.max_tokens to {longest} or less"
            )
        if bias is None:
            several = self.layers > 1
            seen = self._seen(attention_mask)
            found = self.bert(input_ids=input_ids, attention_mask=seen, output_hidden_states=several)
            tokens = torch.stack(found.hidden_states[-self.layers :]).sum(0) if several else found.last_hidden_state
        else:
            shifted = self.bert.embeddings(input_ids=input_ids) + bias.unsqueeze(1)
            tokens = self.bert.encoder(shifted, attention_mask=self._seen(attention_mask)).last_hidden_state
        if self.pool == "last":
            pooled = token_at(tokens, attention_mask.sum(1, keepdim=True) - 1)
        else:
            pooled = tokens[:, 0] if self.pool == "cls" else mean_over_text(tokens, attention_mask)
        return Features(pooled, tokens, tokens[:, :0])

    def _seen(self, attention_mask: Tensor) -> Tensor:
        """The mask that the layers take. transformers leaves it out where nothing is padding: to know, it waits for the
        device."""
        config = self.bert.config
        if config.model_type not in BIDIRECTIONAL:
            return attention_mask
        like = self.word_embeddings[:1, :1].expand(*attention_mask.shape, 1)
        mask = create_bidirectional_mask(config, like, attention_mask, allow_is_bidirectional_skip=False)
        return cast(Tensor, mask)


@REGISTRY.register("text", "bert")
def random_bert(spec: TextSpec, vocabulary: Vocabulary, config: dict[str, Any] | None = None) -> TextEncoder:
    """A BERT with random weights.

    The initial standard deviation is √(2 / 5 d) for a width d: close to BERT's 0.02 at 768, larger at smaller widths.

    Args:
        spec: a complete one.
        vocabulary: that of the tokeniser.
        config: unused; only published encoders need it.
    """
    width, depth, heads, dropout = spec.width or 0, spec.depth or 0, spec.heads or 0, spec.dropout or 0.0
    expect(heads >= 1 and width % heads == 0, "model.backbone.text.heads", heads, f"a divisor of the width, {width}")
    options = BertConfig(
        vocab_size=vocabulary.size,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=MAX_TOKENS,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=vocabulary.pad_id,
        initializer_range=(2 / (5 * width)) ** 0.5,
    )
    return TextEncoder(BertModel(options, add_pooling_layer=False), spec.pool or "cls", layers=spec.layers or 1)


@REGISTRY.register("text", "hf/")
def published_bert(
    name: str, spec: TextSpec, vocabulary: Vocabulary, config: dict[str, Any] | None = None
) -> TextEncoder:
    """A BERT-like model from the hub or a local folder, truncated to its first ``depth`` layers [MGCA].

    It is returned in training mode: transformers loads in evaluation mode, and Lightning would keep that.

    Args:
        name: hub name or folder.
        spec: a complete one.
        vocabulary: that of the tokeniser.
        config: a :attr:`TextEncoder.published_config` from a checkpoint. The model is then built from it with random
            weights, which the checkpoint fills; hub and folder are not needed.

    Raises:
        UserError: the model cannot be loaded or is not BERT-like, or its vocabulary differs from the tokeniser's.
    """
    if config is not None:
        known = _known_config(config)
        expected = f"at most {known.vocab_size}, the rows of the text encoder's vocabulary; give its own tokeniser"
        expect(vocabulary.size <= known.vocab_size, "the tokeniser's number of pieces", vocabulary.size, expected)
        without = (
            {} if known.model_type == "clip_text_model" else {"add_pooling_layer": False}
        )  # it has none to leave out
        bert = AutoModel.from_config(known, trust_remote_code=False, **without)
        return TextEncoder(bert, spec.pool or "cls", True, spec.layers or 1)
    try:
        bert = AutoModel.from_pretrained(
            name,
            dtype=torch.float32,
            trust_remote_code=False,
            add_pooling_layer=False,
            hidden_dropout_prob=spec.dropout,
            attention_probs_dropout_prob=spec.dropout,
        ).train()
    except (OSError, ValueError) as error:
        raise UserError(f"text encoder hf/{name} could not be loaded: {str(error).splitlines()[0]}") from error
    rows = bert.get_input_embeddings().weight.shape[0]
    if rows != vocabulary.size:
        raise UserError(
            f"text encoder hf/{name} has {rows} vocabulary rows but the tokeniser has {vocabulary.size} tokens; "
            f"set data.text.tokenizer to {name} so that both agree"
        )
    if spec.depth is not None:
        if not hasattr(bert, "encoder") or not hasattr(bert.encoder, "layer"):
            raise UserError(
                f"text encoder hf/{name} is not BERT-like (no encoder.layer); choose a BERT, RoBERTa or similar"
            )
        bert.encoder.layer = bert.encoder.layer[: spec.depth]
        bert.config.num_hidden_layers = len(bert.encoder.layer)
    return TextEncoder(bert, spec.pool or "cls", True, spec.layers or 1)


def _known_config(carried: dict[str, Any]) -> Any:
    """transformers' configuration with the fields of ``carried`` that its class knows, plain and bounded; others, such
    as names of code to download, are left out."""
    kind = str(carried.get("model_type"))
    expect(kind in CONFIG_MAPPING, "the text encoder's model_type", kind, "one that transformers knows, such as bert")
    known = {*CONFIG_MAPPING[kind]().to_dict(), "dtype", "architectures", "_name_or_path"} - {"model_type", "auto_map"}
    options = {key: value for key, value in carried.items() if key in known}
    for key, value in options.items():
        sound = value is None or isinstance(value, str | bool | float | list | dict)
        expect(sound or (isinstance(value, int) and abs(value) <= MAX_SIZE), f"the text encoder's {key}", value,
               f"text, true, false or a number up to {MAX_SIZE}")  # fmt: skip
    try:
        return AutoConfig.for_model(kind, **options)
    except Exception as error:  # transformers validates each field in its own way
        raise UserError(f"the checkpoint's text encoder cannot be built: {str(error).splitlines()[0]}") from error
