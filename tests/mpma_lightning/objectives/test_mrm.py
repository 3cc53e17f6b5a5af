"""MRM mode against a plain re-computation from the equations: same weights, masks and batch, both losses to 1e-5."""

import math

import pytest
import torch
from model_fixtures import small_backbone, small_state
from timm.layers import build_sincos2d_pos_embed

from mpma_lightning.objectives.image_reconstruction import ImageReconstructionOptions
from mpma_lightning.objectives.report_reconstruction import ReportReconstructionOptions


def norm(x, module):
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / (variance + module.eps).sqrt() * module.weight + module.bias


def linear(x, module):
    return x @ module.weight.T + module.bias


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attend(query, key, value, heads, padding=None):
    parts = []
    for q, k, v in zip(*(x.chunk(heads, dim=-1) for x in (query, key, value)), strict=True):
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        if padding is not None:
            scores = scores.masked_fill(padding[:, None, :], -torch.inf)
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        parts.append(weights @ v)
    return torch.cat(parts, dim=-1)


def vit_blocks(x, blocks, heads):
    for block in blocks:
        query, key, value = linear(norm(x, block.norm1), block.attn.qkv).chunk(3, dim=-1)
        x = x + linear(attend(query, key, value, heads), block.attn.proj)
        x = x + linear(gelu(linear(norm(x, block.norm2), block.mlp.fc1)), block.mlp.fc2)
    return x


def cut(image, patch):
    """(B, C, H, W) to a list of its (B, C, patch, patch) patches, row by row."""
    side = image.shape[-1] // patch
    where = [
        (slice(r * patch, r * patch + patch), slice(c * patch, c * patch + patch))
        for r in range(side)
        for c in range(side)
    ]
    return [image[:, :, rows, columns] for rows, columns in where]


def image_tokens(vit, image, visible):
    kernel = vit.patch_embed.proj
    embedded = torch.stack([p.flatten(1) @ kernel.weight.flatten(1).T + kernel.bias for p in cut(image, 8)], dim=1)
    embedded = embedded + vit.pos_embed[:, 1:]
    rows = torch.arange(len(image))[:, None]
    start = (vit.cls_token + vit.pos_embed[:, :1]).expand(len(image), -1, -1)
    return norm(vit_blocks(torch.cat([start, embedded[rows, visible]], dim=1), vit.blocks, 2), vit.norm)


def image_loss(objective, tokens, visible, masked, target):
    decoder = objective.decoder
    embedded = linear(tokens, decoder.embed)
    full = decoder.mask_token.expand(len(tokens), 16, -1).clone()
    full[torch.arange(len(tokens))[:, None], visible] = embedded[:, 1:]
    full = full + build_sincos2d_pos_embed([4, 4], decoder.width).double()
    decoded = vit_blocks(torch.cat([embedded[:, :1], full], dim=1), decoder.blocks, 2)
    predicted = linear(norm(decoded, decoder.norm)[:, 1:], decoder.out)
    errors = []
    for place, patch in enumerate(cut(target, 16)):
        pixels = patch[:, 0].flatten(1)
        mean, variance = pixels.mean(1, keepdim=True), pixels.var(1, keepdim=True, unbiased=True)
        error = (predicted[:, place] - (pixels - mean) / (variance + 1e-6).sqrt()).square().mean(1)
        errors.append(error[masked[:, place]])
    return torch.cat(errors).mean()


def report_loss(backbone, head, state, tokens, loss_on):
    bert, shown = backbone.text.bert, state.report_mask.input_ids
    words = bert.embeddings.word_embeddings.weight[shown]
    places = bert.embeddings.position_embeddings.weight[: shown.shape[1]]
    x = norm(words + places + bert.embeddings.token_type_embeddings.weight[0], bert.embeddings.LayerNorm)
    x = x + linear(tokens[:, 1:].mean(1), backbone.fusion.project)[:, None]
    for layer in bert.encoder.layer:
        own = layer.attention.self
        read = attend(linear(x, own.query), linear(x, own.key), linear(x, own.value), 2, state.attention_mask == 0)
        x = norm(x + linear(read, layer.attention.output.dense), layer.attention.output.LayerNorm)
        more = linear(gelu(linear(x, layer.intermediate.dense)), layer.output.dense)
        x = norm(x + more, layer.output.LayerNorm)
    hidden = norm(gelu(linear(x, head.transform[0])), head.transform[2])
    logits = hidden @ bert.embeddings.word_embeddings.weight.T + head.bias
    log_probability = logits - logits.exp().sum(-1, keepdim=True).log()
    losses = -log_probability.gather(2, state.input_ids.unsqueeze(-1)).squeeze(-1)
    return losses.mean() if loss_on == "all" else losses[state.report_mask.masked].mean()


@pytest.mark.parametrize("loss_on", ["masked", "all"])
def test_mrm_value(loss_on: str) -> None:
    backbone = small_backbone("image", "text", "fusion", fusion={"kind": "pooled"}).eval()
    image = ImageReconstructionOptions(depth=2, width=16, heads=2).build(backbone)
    image.set_target(2, 1)
    report = ReportReconstructionOptions(loss_on=loss_on).build(backbone)
    image, report = image.double().eval(), report.double().eval()
    state = small_state(backbone)
    with torch.no_grad():
        tokens = image_tokens(backbone.image.vit, state.image, state.image_mask.visible)
        expected = (
            image_loss(image, tokens, state.image_mask.visible, state.image_mask.masked, state.target),
            report_loss(backbone, report.head, state, tokens, loss_on),
        )
        for objective, value in zip((image, report), expected, strict=True):
            total, count = objective(state)
            assert float(total / count) == pytest.approx(float(value), rel=1e-5)
    assert float(count) == (48 if loss_on == "all" else int(state.report_mask.masked.sum()))
