"""Small checkpoints with the tensor names of other code bases, and what their own modules compute from them.

Every function returns the file's content, the inputs of its encoders and their outputs. Modules of transformers are the
official classes; those of MRM, MGCA, GLoRIA, ConVIRT and BioViL are the parts that these are made of.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel
from transformers.models.bert.modeling_bert import BertLayer

BERT = BertConfig(
    vocab_size=400, hidden_size=64, num_hidden_layers=4, num_attention_heads=1, intermediate_size=96,
    max_position_embeddings=128, hidden_dropout_prob=0.0,
)  # fmt: skip
IDS = torch.randint(5, 59, (2, 9), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(IDS)
MASK[1, 6:] = 0


@dataclass
class Sample:
    """``state`` is what a file holds; ``outputs`` are named like the methods that have to give them."""

    state: dict[str, Any]
    image: Tensor
    outputs: dict[str, Tensor]


def pixels(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def lively(module: nn.Module) -> Any:
    """``module`` in evaluation mode, with no weight, bias or statistic at its usual start."""
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
        if name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return module.eval()


def unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def below(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def bert() -> Any:
    torch.manual_seed(5)
    return lively(BertModel(BERT, add_pooling_layer=False))


def roberta_model() -> Any:
    torch.manual_seed(5)
    kept = {
        name: getattr(BERT, name) for name in ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size")
    }
    config = RobertaConfig(
        **kept, num_attention_heads=1, max_position_embeddings=128, type_vocab_size=1, layer_norm_eps=1e-5
    )
    return lively(RobertaModel(config, add_pooling_layer=False))


def vit(**options: Any) -> Any:
    torch.manual_seed(6)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 1}
    return lively(timm.create_model("vit_base_patch16_224", num_classes=0, **(sizes | options)))


def resnet() -> Any:
    torch.manual_seed(7)
    made = torchvision.models.resnet18()
    made.fc = nn.Identity()
    return lively(made)


def maps(network: Any, image: Tensor) -> tuple[Tensor, Tensor]:
    """The cells (B, N, C) of the third and of the last stage of a ResNet."""
    x = network.maxpool(network.relu(network.bn1(network.conv1(image))))
    third = network.layer3(network.layer2(network.layer1(x)))
    return third.flatten(2).transpose(1, 2), network.layer4(third).flatten(2).transpose(1, 2)


@torch.no_grad()
def mae() -> Sample:
    """A masked autoencoder: a decoder beside the encoder."""
    encoder, decoder = vit(), nn.Linear(64, 8)
    tokens = encoder.forward_features(pixels(32))
    held = {"mask_token": torch.zeros(1, 1, 8), **below("decoder_embed", decoder)}
    return Sample(
        {"model": {**encoder.state_dict(), **held}}, pixels(32), {"tokens": tokens[:, 1:], "pooled": tokens[:, 0]}
    )


@torch.no_grad()
def mrm() -> Sample:
    encoder, reports, mixed = vit(), bert(), lively(nn.Linear(64, 64))
    tokens = encoder.forward_features(pixels(32))[:, 1:]
    shifted = reports.embeddings(input_ids=IDS) + mixed(tokens).mean(1, keepdim=True)
    fused = reports.encoder(shifted, attention_mask=(1.0 - MASK[:, None, None].float()) * -1e9).last_hidden_state
    state = {
        **encoder.state_dict(),
        **below("bert_encoder.model.bert", reports),
        **below("bert_mlp", mixed),
        **below("decoder_embed", nn.Linear(64, 8)),
        "bert_encoder.model.cls.predictions.bias": torch.zeros(400),
    }
    words = reports(IDS, MASK).last_hidden_state
    return Sample({"model": state}, pixels(32), {"pooled": tokens.mean(1), "words": words, "fused": fused})


class _Head(nn.Module):
    """MGCA's, with another layer for tokens (convolution) and vectors (linear)."""

    def __init__(self, width: int, local: bool) -> None:
        super().__init__()
        layer: Callable[[int, int], nn.Module] = (lambda i, o: nn.Conv1d(i, o, 1)) if local else nn.Linear
        self.local = local
        self.head = nn.Sequential(
            layer(width, 24), nn.BatchNorm1d(24), nn.ReLU(), layer(24, 16), nn.BatchNorm1d(16, affine=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.transpose(1, 2)).transpose(1, 2) if self.local else self.head(x)


@torch.no_grad()
def mgca(of_vit: bool = True) -> Sample:
    """Its BERT has no embeddings of token types, and is given token types, zeros, as positions."""
    encoder, reports = (vit() if of_vit else resnet()), bert()
    reports.embeddings.token_type_embeddings.weight.zero_()
    image = pixels(32 if of_vit else 64)
    if of_vit:
        tokens = encoder.forward_features(image)
        pooled, local = tokens[:, 0], tokens[:, 1:]
    else:
        pooled, local = encoder(image), maps(encoder, image)[0]
    heads = {
        "img_encoder_q.global_embed": _Head(pooled.shape[-1], False), "text_encoder_q.global_embed": _Head(64, False),
        "img_encoder_q.local_embed": _Head(local.shape[-1], True), "text_encoder_q.local_embed": _Head(64, True),
    }  # fmt: skip
    state = below("img_encoder_q.model", encoder) | below("text_encoder_q.model", reports)
    for name, head in heads.items():
        state |= below(name, lively(head))
    del state["text_encoder_q.model.embeddings.token_type_embeddings.weight"]
    state["text_encoder_q.model.embeddings.position_ids"] = torch.arange(128)[None]
    state["prototype_layer.weight"] = torch.zeros(5, 16)
    words = reports(IDS, MASK, position_ids=torch.zeros_like(IDS)).last_hidden_state
    return Sample(
        {"state_dict": state, "epoch": 3},
        image,
        {
            "pooled": pooled,
            "image": unit(heads["img_encoder_q.global_embed"](pooled)),
            "text": unit(heads["text_encoder_q.global_embed"](words[:, 0])),
            "patches": unit(heads["img_encoder_q.local_embed"](local)),
            "pieces": unit(heads["text_encoder_q.local_embed"](words)),
        },
    )


@torch.no_grad()
def gloria() -> Sample:
    encoder, reports, image = resnet(), bert(), pixels(64)
    torch.manual_seed(8)
    embed, cells = lively(nn.Linear(512, 64)), lively(nn.Conv2d(256, 64, 1, bias=False))
    state = below("gloria.img_encoder.model", encoder) | below("gloria.text_encoder.model", reports)
    state |= below("gloria.img_encoder.global_embedder", embed) | below("gloria.img_encoder.local_embedder", cells)
    third, last = maps(encoder, image)
    layers = reports(IDS, MASK, output_hidden_states=True).hidden_states
    words = torch.stack(layers[-4:]).sum(0)
    texts = (words * MASK[..., None]).sum(1)
    patches = third @ cells.weight.flatten(1).T
    found = {"pooled": last.mean(1), "image": unit(embed(last.mean(1))), "text": unit(texts), "patches": unit(patches)}
    return Sample({"state_dict": state}, image, found)


@torch.no_grad()
def convirt() -> Sample:
    encoder, reports, image = resnet(), bert(), pixels(64)
    torch.manual_seed(9)
    layers = {"res_l1": nn.Linear(512, 512), "res_l2": nn.Linear(512, 16), "bert_l1": nn.Linear(64, 64),
              "bert_l2": nn.Linear(64, 16)}  # fmt: skip
    sequence = nn.Sequential(*list(encoder.children())[:-1])
    state = below("res_features", sequence) | below("bert_model", reports)
    for name, layer in layers.items():
        state |= below(name, lively(layer))
    words, weight = reports(IDS, MASK).last_hidden_state, MASK[..., None]
    texts, pooled = (words * weight).sum(1) / weight.sum(1), encoder(image)
    found = {"pooled": pooled, "image": unit(layers["res_l2"](layers["res_l1"](pooled).relu()))}
    return Sample(state, image, found | {"text": unit(layers["bert_l2"](layers["bert_l1"](texts).relu()))})


class _Tower(nn.Module):
    """Two layers with OpenAI's names, out of torch's own; ``mask`` as nn.MultiheadAttention takes it."""

    def __init__(self, quick: bool) -> None:
        super().__init__()
        self.quick = quick
        self.resblocks = nn.ModuleList(self._block() for _ in range(2))

    def _block(self) -> nn.Module:
        block = nn.Module()
        block.attn, block.ln_1, block.ln_2 = nn.MultiheadAttention(64, 1), nn.LayerNorm(64), nn.LayerNorm(64)
        block.mlp = nn.Module()
        block.mlp.c_fc, block.mlp.c_proj = nn.Linear(64, 96), nn.Linear(96, 64)
        return block

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x.transpose(0, 1)
        for block in self.resblocks:
            normed = block.ln_1(x)
            x = x + block.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
            hidden = block.mlp.c_fc(block.ln_2(x))
            x = x + block.mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden) if self.quick else F.gelu(hidden))
        return x.transpose(0, 1)


class _Clip(nn.Module):
    """CLIP's ViT with OpenAI's names."""

    def __init__(self, quick: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 8, 8, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(64))
        self.positional_embedding = nn.Parameter(torch.randn(17, 64))
        self.ln_pre, self.ln_post = nn.LayerNorm(64), nn.LayerNorm(64)
        self.transformer = _Tower(quick)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv1(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x)))


class _ClipText(nn.Module):
    """CLIP's text tower: a piece sees those before it."""

    def __init__(self, quick: bool) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(400, 64)
        self.positional_embedding = nn.Parameter(torch.randn(20, 64))
        self.transformer, self.ln_final = _Tower(quick), nn.LayerNorm(64)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        mask = torch.full((length, length), float("-inf")).triu(1)
        return self.ln_final(self.transformer(self.token_embedding(ids) + self.positional_embedding[:length], mask))


@torch.no_grad()
def clip(openai: bool) -> Sample:
    """Both towers, with the three numbers that OpenAI's own files hold, or as open_clip's ``CLIP`` writes them."""
    torch.manual_seed(14)
    visual, texts = lively(_Clip(openai)), lively(_ClipText(openai))
    project = {"visual.proj": torch.randn(64, 16), "text_projection": torch.randn(64, 16)}
    state = below("visual", visual) | texts.state_dict() | project | {"logit_scale": torch.tensor(4.0)}
    numbers = {"input_resolution": 32, "context_length": 20, "vocab_size": 400}
    state |= {name: torch.tensor(value) for name, value in numbers.items()} if openai else {}
    pooled, last = visual(pixels(32))[:, 0], texts(IDS)[torch.arange(2), MASK.sum(1) - 1]
    image, text = unit(pooled @ project["visual.proj"]), unit(last @ project["text_projection"])
    return Sample(state, pixels(32), {"pooled": pooled, "image": image, "text": text})


@torch.no_grad()
def m3ae(roberta: bool = False) -> Sample:
    """Its layers are BERT's decoder layers, which see everything."""
    torch.manual_seed(12)
    encoder, reports, depth = lively(_Clip()), roberta_model() if roberta else bert(), 2
    config = BertConfig(**{**BERT.to_dict(), "is_decoder": True, "add_cross_attention": True, "intermediate_size": 256})
    config._attn_implementation = "eager"
    layers = {
        side: nn.ModuleList(lively(BertLayer(config, place)) for place in range(depth))
        for side in ("language", "vision")
    }
    project = {side: lively(nn.Linear(64, 64)) for side in layers}
    kinds = torch.randn(2, 64)
    state = below("vision_encoder.visual", encoder) | below("language_encoder", reports)
    for side in layers:
        state |= below(f"multi_modal_{side}_layers", layers[side]) | below(f"multi_modal_{side}_proj", project[side])
    state |= {"modality_type_embeddings.weight": kinds, "itm_head.fc.weight": torch.zeros(2, 128)}
    words, tokens = reports(IDS, MASK).last_hidden_state, encoder(pixels(32))
    x, y = project["language"](words) + kinds[0], project["vision"](tokens) + kinds[1]
    padding, seen = (1.0 - MASK[:, None, None].float()) * -1e9, torch.zeros(2, 1, 1, 17)
    for place in range(depth):
        x, y = (
            layers["language"][place](x, padding, y, seen),
            layers["vision"][place](y, seen, x, padding),
        )
    found = {"pooled": tokens[:, 0], "tokens": tokens[:, 1:], "words": words, "fused": x}
    return Sample({"state_dict": state}, pixels(32), found)


@torch.no_grad()
def biovil(two: bool = False) -> tuple[Sample, dict[str, Tensor]]:
    """The image file and CXR-BERT's, which lie in one folder.

    With ``two``, BioViL-T: it narrows the cells, and beside them reads a constant in place of an earlier image.
    """
    encoder, reports, image, width = resnet(), bert(), pixels(64), 16 if two else 512
    torch.manual_seed(10)
    project = lively(
        nn.Sequential(nn.Conv2d(width, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 1))
    )
    cells = maps(encoder, image)[1].transpose(1, 2).unflatten(2, (2, 2))
    hidden, norm, out = lively(nn.Linear(64, 16)), lively(nn.LayerNorm(16, eps=1e-12)), lively(nn.Linear(16, 16))
    head = "cls_projection_head."
    texts = below("bert", reports) | below(f"{head}dense_to_hidden", hidden)
    texts |= below(f"{head}LayerNorm", norm) | below(f"{head}dense_to_output", out)
    words = reports(IDS, MASK).last_hidden_state
    state, read = below("encoder.encoder", encoder) | below("projector.model", project), cells
    if two:
        narrow, constant = lively(nn.Conv2d(512, 8, 1, bias=False)), torch.randn(1, 8, 1, 1)
        state |= below("encoder.backbone_to_vit", narrow) | {"encoder.missing_previous_emb": constant}
        state["encoder.vit_pooler.type_embed"] = torch.zeros(2, 1, 8)
        read = torch.cat([narrow(cells), constant.expand(2, -1, 2, 2)], dim=1)
    found = {
        "pooled": cells.mean((2, 3)),
        "image": unit(project(read).mean((2, 3))),
        "text": unit(out(norm(F.gelu(hidden(words[:, 0]))))),
    }
    return Sample(state, image, found), texts


@torch.no_grad()
def one_channel() -> Sample:
    """A DenseNet as TorchXRayVision has it, of an image of one channel."""
    torch.manual_seed(11)
    network = torchvision.models.densenet121()
    network.features.conv0 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    network = lively(network)
    for value in (network.features.norm5.weight, network.features.norm5.bias):
        value.div_(300)  # its features are then of order 1
    gray = pixels(64)[:, :1]
    cells = network.features(gray).relu()
    state = network.state_dict() | {"op_threshs": torch.zeros(14)}
    return Sample(state, gray.expand(-1, 3, -1, -1), {"pooled": cells.mean((2, 3))})


@torch.no_grad()
def open_clip() -> Sample:
    """BiomedCLIP's towers: a ViT of timm and a BERT, with open_clip's heads without biases."""
    encoder, reports = vit(), bert()
    torch.manual_seed(13)
    project = lively(nn.Linear(64, 16, bias=False))
    heads = nn.Sequential(lively(nn.Linear(64, 40, bias=False)), nn.GELU(), lively(nn.Linear(40, 16, bias=False)))
    state = below("visual.trunk", encoder) | below("text.transformer", reports)
    state |= below("visual.head.proj", project) | below("text.proj", heads) | {"logit_scale": torch.tensor(4.0)}
    tokens, words = encoder.forward_features(pixels(32)), reports(IDS, MASK).last_hidden_state
    found = {"pooled": tokens[:, 0], "image": unit(project(tokens[:, 0])), "text": unit(heads(words[:, 0]))}
    return Sample(state, pixels(32), found)
