"""Weights that are not numbers: an evaluation stops in one line, whatever it ranks by."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from every_task import EVALUATE, build, rows

from data_modules.errors import UserError
from mpma_lightning.evaluation.finite import refuse_broken


def test_error_names_the_column_and_the_first_sample() -> None:
    ids, scores = np.array(["a", "b", "c"], object), np.zeros((3, 2))
    refuse_broken(ids, scores=scores)
    scores[1:, 1] = np.nan, np.inf
    with pytest.raises(UserError, match=r"^found match scores of 2 of 3 rows not finite \(first: b\)"):
        refuse_broken(ids, labels=np.zeros(3), match_scores=scores)


@pytest.fixture
def usual_kind() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("usual_kind")
@pytest.mark.parametrize("stage", ["val", "test", "predict"])
@pytest.mark.parametrize("name", EVALUATE)
@torch.no_grad()
def test_error_no_task_scores_or_predicts_nan(name: str, stage: str) -> None:
    task, batch, _, logged = build(name)
    task.eval().trained = True
    for weight in task.parameters():
        weight.fill_(torch.nan)
    task.on_validation_start()
    some = rows(batch, list(range(8)))
    with pytest.raises(UserError, match=r"^found .* (nan|not finite).*; the weights have diverged: use an ea") as error:
        if stage == "predict":
            task.predict_step(some, 0)
        elif stage == "val":
            task.validation_step(some, 0)
            task.on_validation_epoch_end()
        else:
            task.test_step(some, 0)
            task.on_test_epoch_end()
    assert "\n" not in str(error.value) and not logged


@pytest.mark.usefixtures("usual_kind")
@pytest.mark.parametrize(
    ("name", "part", "said"),
    [
        ("image labels", "head", "scores"),
        ("linear probe", "backbone", "features"),
        ("zero-shot", "backbone.image", "global scores"),
        ("retrieval", "backbone.text", "text embedding"),
        ("rerank", "image_text_matching.head", "match scores"),
        ("segmentation", "head.final", "logits"),
        ("frozen segmentation", "backbone.image", "logits"),
        ("vqa", "head", "logits"),
        ("vqa", "blind_head", "question only logits"),
        ("detection", "head.neck", "outputs"),
        ("detection", "head.rpn.head.cls_logits", "outputs"),
        ("detection", "head.roi_heads.box_predictor", "outputs"),
        ("grounding", "backbone.align_local", "similarity"),
        ("reports", "decoder.head", "confidence of drafts"),
        ("causal reports", "decoder.image", "confidence of drafts"),
    ],
)
@torch.no_grad()
def test_error_broken_weights(name: str, part: str, said: str) -> None:
    task, batch, _, _ = build(name)
    task.eval()
    for weight in task.get_submodule(part).parameters():
        weight.fill_(torch.nan)
    task.on_validation_start()
    task.validation_step(rows(batch, list(range(8))), 0)
    with pytest.raises(UserError, match=rf"^found {said} of \d+ of \d+ rows not finite \(first: film 0"):
        task.on_validation_epoch_end()


@pytest.mark.usefixtures("usual_kind")
@pytest.mark.parametrize(
    ("name", "part", "said"),
    [
        ("pretraining", "backbone.image", "image"),
        ("image labels", "head", "Atelectasis"),
        ("linear probe", "backbone.image", "Atelectasis"),
        ("zero-shot", "backbone.image", "global/Atelectasis"),
        ("retrieval", "backbone.text", "text embedding"),
        ("segmentation", "head.final", "logits"),
        ("vqa", "head", "logits"),
        ("detection", "head.roi_heads.box_predictor", "outputs"),
        ("grounding", "backbone.align_local", "similarity"),
        ("reports", "backbone.align_local", "evidence"),
    ],
)
@torch.no_grad()
def test_error_nothing_broken_is_predicted(name: str, part: str, said: str) -> None:
    task, batch, _, _ = build(name)
    task.eval().trained = True
    task.on_predict_start()
    assert task.predict_step(rows(batch, [0, 1]), 0)["id"] == ["film 00", "film 01"]
    for weight in task.get_submodule(part).parameters():
        weight.fill_(torch.inf)
    with pytest.raises(UserError, match=rf"^found {said} of 2 of 2 rows not finite \(first: film 00"):
        task.predict_step(rows(batch, [0, 1]), 0)
