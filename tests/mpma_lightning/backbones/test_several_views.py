"""Several views of a sample: means, padding, gradients and the change since the prior, computed independently."""

from collections.abc import Iterator

import pytest
import torch
from every_task import build, rows
from model_fixtures import MASK, VOCABULARY, small_backbone, small_spec

from mpma_lightning.backbones import Backbone, Features, Vocabulary
from mpma_lightning.tasks.labelled import change_since_prior

KINDS = torch.tensor([[1, 2], [0, 2], [0, 0], [1, 0]])
MEMORIES = ("text", "image", "latent", "shared", "off_by_one")


def sample(backbone: Backbone) -> tuple[Features, torch.Tensor, dict[str, torch.Tensor]]:
    """Features of four samples with their views, the views by themselves, and a report each."""
    draw = torch.Generator().manual_seed(3)
    first, views = (torch.randn(n, 3, 32, 32, generator=draw, dtype=torch.float64) for n in (4, 4))
    ids = torch.randint(5, VOCABULARY, (4, 8), generator=draw)
    told = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return backbone.with_views(backbone.image(first), views, KINDS), views, told


def some_backbone(memory: str = "text", kind: str = "cross") -> Backbone:
    torch.manual_seed(0)
    spec = small_spec(fusion={"memory": memory, "kind": kind, "depth": 2}, image={"pool": "cls"})
    backbone = Backbone(spec, ("fusion", "align_global"), Vocabulary(VOCABULARY, mask_id=MASK), views=True).double()
    if backbone.fusion.view_kinds is not None:
        torch.nn.init.normal_(backbone.fusion.view_kinds)
    return backbone.eval()


def test_value_pooled_is_the_mean_of_the_views_that_are_there() -> None:
    backbone = some_backbone()
    image, views, _ = sample(backbone)
    assert image.views is not None
    alone = backbone.image(views).pooled
    first = image.views.first
    by_hand = [(first[0] + alone[0] + alone[1]) / 3, (first[1] + alone[2]) / 2, first[2], (first[3] + alone[3]) / 2]
    torch.testing.assert_close(image.pooled, torch.stack(by_hand))
    expected = torch.nn.functional.normalize(backbone.align_global.image.mlp(torch.stack(by_hand)), dim=-1)
    torch.testing.assert_close(backbone.embed_image(image), expected)


def test_value_embedding_after_projection_is_the_mean_over_views() -> None:
    backbone = small_backbone("align_global", align={"pooled": "after"})
    image, views, _ = sample(backbone)
    project, alone = backbone.align_global.image.mlp, backbone.image(views)
    first, others = project(image.tokens).mean(1), project(alone.tokens).mean(1)
    expected = torch.nn.functional.normalize((first[0] + others[0] + others[1]) / 3, dim=-1)
    torch.testing.assert_close(backbone.embed_image(image)[0], expected)


def test_value_change_is_the_study_less_the_prior() -> None:
    image, views, _ = sample(backbone := some_backbone())
    assert image.views is not None
    alone, first = backbone.image(views).pooled, image.views.first
    zero = torch.zeros_like(first[0])
    expected = [(first[0] + alone[0]) / 2 - alone[1], first[1] - alone[2], zero, zero]
    torch.testing.assert_close(change_since_prior(image), torch.stack(expected))


@pytest.mark.parametrize("kind", ["cross", "co_attention", "pooled"])
def test_value_padding_of_fusion_is_not_read(kind: str) -> None:
    """A sample fused by itself, without the places of views that it lacks, gives what it gives in the batch."""
    for memory in MEMORIES if kind == "cross" else ("text",):
        backbone = some_backbone(memory, kind)
        image, views, told = sample(backbone)
        fused = backbone.fuse(image, None, **told)
        start = 0
        for row, kinds in enumerate(KINDS):
            own = kinds[kinds > 0]
            mine, start = views[start : start + len(own)], start + len(own)
            alone = Features(image.views.first[[row]], image.tokens[[row]], image.prefix[[row]], image.grid)
            if len(own):
                alone = backbone.with_views(alone, mine, own.unsqueeze(0))
            text = {name: value[[row]] for name, value in told.items()}
            torch.testing.assert_close(backbone.fuse(alone, None, **text), fused[[row]], msg=f"{memory} {row}")


def test_value_kinds_of_views_are_told_apart() -> None:
    backbone = some_backbone()
    image, views, told = sample(backbone)
    swapped = backbone.with_views(
        Features(image.views.first, image.tokens, image.prefix, image.grid), views, KINDS.where(KINDS == 0, 3 - KINDS)
    )
    difference = (backbone.fuse(image, None, **told) - backbone.fuse(swapped, None, **told)).abs().amax((1, 2))
    assert (difference > 1e-6).tolist() == [True, True, False, True]


def test_value_attention_is_of_the_patches_of_the_first_view() -> None:
    for kind in ("cross", "co_attention"):
        backbone = some_backbone(kind=kind)
        image, _, told = sample(backbone)
        maps = backbone.fused_attention(image, told["input_ids"], told["attention_mask"])
        assert maps is not None and maps.shape == (4, 4, 4)
    uses = some_backbone("image").fusion.memory_use(image, backbone.text(**told), told["attention_mask"])
    assert all(use.regions.shape[1] == 16 for use in uses)


def test_gradient_reaches_every_view_and_the_kinds() -> None:
    backbone = some_backbone()
    draw = torch.Generator().manual_seed(4)
    first, views = (torch.randn(n, 3, 32, 32, generator=draw, dtype=torch.float64).requires_grad_() for n in (4, 4))
    ids = torch.randint(5, VOCABULARY, (4, 8), generator=draw)
    image = backbone.with_views(backbone.image(first), views, KINDS)
    for value in (backbone.embed_image(image), backbone.fuse(image, None, ids, torch.ones_like(ids))):
        gradients = torch.autograd.grad(value.square().sum() + value.sum(), [first, views], retain_graph=True)
        assert all((gradient.flatten(1).abs().sum(1) > 0).all() for gradient in gradients)
    (of_kinds,) = torch.autograd.grad(value.sum(), [backbone.fusion.view_kinds])
    assert (of_kinds.abs().sum(1) > 0).all()


def test_value_rows_and_join_keep_views() -> None:
    image, _, _ = sample(some_backbone())
    parts = [image.rows(torch.tensor(places)) for places in ([0, 1], [2, 3, 0])]
    joined = Features.join(parts).map(lambda x: x.float())
    assert joined.views is not None and joined.views.tokens.dtype == torch.float32
    assert joined.views.kinds.tolist() == KINDS[[0, 1, 2, 3, 0]].tolist()
    torch.testing.assert_close(joined.pooled, image.pooled[[0, 1, 2, 3, 0]].float())


TASKS = pytest.mark.parametrize("name", ["pretraining", "image labels", "labels of both", "retrieval"])


@pytest.fixture
def usual_kind() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


@TASKS
@pytest.mark.usefixtures("usual_kind")
def test_value_a_batch_without_any_view_is_one_of_one_view(name: str) -> None:
    losses = []
    for views in ((), ("lateral",)):
        task, batch, _, _ = build(name, views)
        batch |= {"view_kinds": torch.zeros_like(batch["view_kinds"])} if views else {}
        losses.append(float(task.training_step(rows(batch, list(range(8))), 0)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


@TASKS
@pytest.mark.usefixtures("usual_kind")
def test_gradient_of_every_parameter(name: str) -> None:
    """As DDP needs it, whether or not a batch has a view."""
    task, batch, _, _ = build(name, ("lateral", "prior"))
    for kinds in (batch["view_kinds"], torch.zeros_like(batch["view_kinds"])):
        task.zero_grad()
        task.training_step(rows(batch | {"view_kinds": kinds}, list(range(8))), 0).backward()
        assert not [key for key, weight in task.named_parameters() if weight.requires_grad and weight.grad is None]
