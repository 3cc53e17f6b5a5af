"""Maps of sentences over the patches of their image: words in the local alignment space, and attention of fusion."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mpma_lightning.backbones import Backbone, Features
from mpma_lightning.evaluation.reports.evidence import standardised
from mpma_lightning.objectives.words import whole_words
from mpma_lightning.precision import full

TEMPERATURE = 0.1
"""Of the weights of the patches in a score, as in pre-training."""


@dataclass
class SentenceMaps:
    """N sentences.

    Attributes:
        maps: (N, H', W') larger where the image supports the sentence; None without anything to draw.
        scores: (N,) agreement with the best matching patches, cosines; None without local alignment.
    """

    maps: Tensor | None
    scores: Tensor | None


@torch.no_grad()
def sentence_maps(
    backbone: Backbone, image: Features, sentences: Mapping[str, Tensor], places: Tensor, attend: bool = True
) -> SentenceMaps:
    """Each sentence by itself, at one of B images.

    Args:
        backbone: with ``align_local``, fusion, or both: the map is then the mean of both, standardised.
        image: features that ``Backbone.local_image`` gave.
        sentences: ``input_ids``, ``attention_mask`` and ``word_ids`` (N, T).
        places: (N,) the image of each sentence.
        attend: also read the attention of fusion.
    """
    ids, mask, words = (sentences[name] for name in ("input_ids", "attention_mask", "word_ids"))
    text = backbone.text(ids, mask)
    maps: list[Tensor] = []
    scores = None
    if "align_local" in backbone.parts:
        told = whole_words(backbone, text.tokens, ids, words)
        patches = full(backbone.embed_patches(image))[places]
        cosine = (told.embeddings @ patches.transpose(1, 2)) * told.valid.unsqueeze(-1)
        mean = cosine.sum(1) / told.valid.sum(1).clamp(min=1).unsqueeze(-1)
        scores = ((mean / TEMPERATURE).softmax(1) * mean).sum(1)
        maps.append(mean.unflatten(-1, backbone.local_grid(image)))
    if attend and "fusion" in backbone.parts and backbone.fusion.reads_text_features and image.grid is not None:
        attention = backbone.fusion.attention(image.rows(places), text, mask)
        if attention is not None:
            of_words = (words >= 0).unsqueeze(-1).to(attention.dtype)
            mean = (attention * of_words).sum(1) / of_words.sum(1).clamp(min=1)
            maps.append(full(mean).unflatten(-1, image.grid))
    if not maps:
        return SentenceMaps(None, scores)
    size = maps[0].shape[-2:]
    same = [F.interpolate(each.unsqueeze(1), size, mode="bilinear")[:, 0] for each in maps]
    if len(same) > 1:
        same = [torch.from_numpy(standardised(each.cpu().numpy())) for each in same]
    return SentenceMaps(torch.stack(same).mean(0).float().cpu(), scores)
