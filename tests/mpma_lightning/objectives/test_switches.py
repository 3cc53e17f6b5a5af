"""Every switch of the method: a value, and what it reads and builds."""

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from memory_data import MemoryData
from model_fixtures import DECODER, EACH, MASK, NAMES, VOCABULARY, only, small_backbone, small_state

from data_modules.contract import DataSpec
from data_modules.errors import UserError
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones import BackboneSpec, ImageSpec
from mpma_lightning.backbones.shared_memory import SharedMemory
from mpma_lightning.masking import OTHER_IMAGE_STREAM, ReportMask, choose_predicted, mask_image, soften_like_bert
from mpma_lightning.objectives import Objectives
from mpma_lightning.objectives.global_alignment import GlobalAlignmentOptions, own_contrast
from mpma_lightning.objectives.image_reconstruction import ImageReconstructionOptions
from mpma_lightning.objectives.image_text_matching import ImageTextMatchingOptions, draw_negatives
from mpma_lightning.objectives.local_alignment import LocalAlignmentOptions
from mpma_lightning.objectives.report_reconstruction import ReportReconstructionOptions
from mpma_lightning.tasks.pretraining import Masking, PretrainingTask

SHARED = {"memory": "shared", "shared_slots": 40, "shared_width": 16}


def build(objectives: Objectives, **changes: Any):
    """The backbone an experiment with these objectives builds, and the objectives on it."""
    active = objectives.active()
    backbone = small_backbone(*{part for option in active.values() for part in option.needs}, **changes)
    built = {name: option.build(backbone) for name, option in active.items()}
    if "image_reconstruction" in built:
        built["image_reconstruction"].set_target(2, 1)
    return backbone, {name: objective.double() for name, objective in built.items()}


# pairing


def test_separate_pairing_reads_value() -> None:
    backbone, built = build(Objectives(image_reconstruction=ImageReconstructionOptions(**DECODER)))
    state, joint, bare = (small_state(backbone) for _ in range(3))
    state.pairing = "separate"
    bare.image_mask = None  # joint pairing without an image mask: the masked report with the whole image
    losses = {name: objective(state)[0] for name, objective in built.items()}
    assert torch.allclose(losses["image_reconstruction"], built["image_reconstruction"](joint)[0])
    report = built["report_reconstruction"]
    assert torch.allclose(losses["report_reconstruction"], report(bare)[0])
    assert not torch.allclose(losses["report_reconstruction"], report(joint)[0])
    whole = small_state(backbone)
    whole.pairing = "unmasked_align"
    for name in ("global_alignment", "local_alignment"):
        assert torch.allclose(losses[name], built[name](whole)[0])
    assert report.reads(state, "image") is state.whole_image is not state.image_features


# shared memory


def test_shared_memory_value() -> None:
    torch.manual_seed(0)
    memory = SharedMemory(width=6, image_width=4, slots=35, memory_width=16).double()
    memory.memory_values.data *= 100
    image, text = torch.randn(1, 3, 4, dtype=torch.float64), torch.randn(1, 2, 6, dtype=torch.float64)
    for given, found, query, out in zip(
        (image, text),
        memory(image, text),
        (memory.image_query, memory.text_query),
        (memory.image_out, memory.text_out),
        strict=True,
    ):
        queries = query(given)[0].detach().numpy()
        keys, values = (layer(memory.memory_values).detach().numpy() for layer in (memory.key, memory.value))
        read = np.zeros_like(queries)
        for head, row in itertools.product(range(8), range(len(queries))):
            columns = slice(2 * head, 2 * head + 2)
            scores = keys[:, columns] @ queries[row, columns] / math.sqrt(2)
            best = np.argsort(-scores)[:32]
            weights = np.exp(scores[best]) / np.exp(scores[best]).sum()
            read[row, columns] = weights @ values[best, columns]
        np.testing.assert_allclose(found[0].detach().numpy(), (given[0] + out(torch.tensor(read))).detach().numpy())


def test_shared_memory_initial_scale_and_attention_maps() -> None:
    assert float(SharedMemory(8, 8, 2048, 512).memory_values.std().detach()) == pytest.approx(1 / 512, rel=0.02)
    backbone = small_backbone("fusion", fusion=SHARED).eval()
    state = small_state(backbone)
    read = (state.image_features, state.text_features, state.attention_mask)
    assert backbone.fusion.attention(*read).shape == (4, 12, 4) and backbone.fusion.memory_use(*read) == []


@pytest.mark.parametrize("changes", [{"shared_slots": 31}, {"shared_width": 20}])
def test_shared_memory_error(changes) -> None:
    with pytest.raises(UserError, match=r"expected at least 32 slots and a width divisible by 8, the number of heads"):
        small_backbone("fusion", fusion=SHARED | changes)


# image decoder


def test_choose_predicted_value() -> None:
    masked = mask_image(torch.arange(500), 16, 0.75).masked
    chosen = choose_predicted(torch.arange(500), masked, 1 / 3)
    assert chosen.shape == (500, 4) and masked.gather(1, chosen).all() and (chosen.diff(dim=1) > 0).all()
    assert torch.equal(choose_predicted(torch.arange(250, 500), masked[250:], 1 / 3), chosen[250:])
    share = torch.zeros(500, 16).scatter(1, chosen, 1).sum(0) / masked.sum(0)
    assert (share - 1 / 3).abs().max() < 0.1
    assert choose_predicted(torch.arange(500), masked, 1.0).shape == (500, 12)


def test_cross_decoder_value() -> None:
    """The loss is the mean over the chosen patches; what is chosen does not change what a patch is rebuilt as."""
    options = ImageReconstructionOptions(**DECODER, kind="cross")
    backbone, built = build(only(options))
    objective = built["image_reconstruction"]
    state, whole = small_state(backbone), small_state(backbone)
    total, count = objective(state)
    objective.eval()
    everything, all_masked = objective(whole)
    assert float(count) == 4 * 4 and float(all_masked) == 4 * 12
    chosen = torch.zeros(4, 16, dtype=torch.bool)
    chosen.scatter_(1, choose_predicted(state.seed, state.image_mask.masked, 1 / 3), True)
    some, every = state.outputs["image_prediction"], whole.outputs["image_prediction"]
    assert torch.allclose(some[chosen], every[chosen]) and not some[~chosen].any()
    expected = 0.0
    for b, patch in chosen.nonzero().tolist():
        row, column = divmod(patch, 4)
        block = state.target[b, 0, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].reshape(-1).numpy()
        block = (block - block.mean()) / np.sqrt(block.var(ddof=1) + 1e-6)
        expected += ((every[b, patch].numpy() - block) ** 2).mean()
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(everything.detach()) > expected


@pytest.mark.parametrize("kind", ["full", "cross"])
def test_assisted_decoder_reads_the_report(kind: str) -> None:
    """Another report changes every rebuilt patch; the loss reaches both encoders. Unassisted, the text is not built."""
    options = ImageReconstructionOptions(**DECODER, kind=kind, assisted=True)
    backbone, built = build(only(options))
    objective = built["image_reconstruction"].eval()
    state, other = small_state(backbone), small_state(backbone)
    other.report_mask.input_ids = other.report_mask.input_ids.roll(1, 0)
    total, _ = objective(state)
    objective(other)
    hidden = state.image_mask.masked
    first, second = (s.outputs["image_prediction"][hidden] for s in (state, other))
    assert (first - second).abs().amax(1).min() > 0
    total.backward()
    for part in ("image", "text"):
        assert sum(p.grad.abs().sum() for p in getattr(backbone, part).parameters() if p.grad is not None) > 0
    assert objective.report.weight.grad.abs().sum() > 0
    bare, _ = build(only(ImageReconstructionOptions(**DECODER)))
    assert not hasattr(bare, "text")


def test_share_error() -> None:
    with pytest.raises(UserError, match="share is 0"):
        ImageReconstructionOptions(share=0.0).build(small_backbone("image"))


# report reconstruction


def test_without_assistance_no_image_is_built() -> None:
    options = ReportReconstructionOptions(assisted=False)
    backbone, built = build(only(options))
    assert backbone.parts == ("text",) and built["report_reconstruction"].trains == ("text",)
    state = small_state(backbone)
    state.image = None
    total, _ = built["report_reconstruction"](state)
    head, masked = built["report_reconstruction"].head, state.report_mask.masked
    logits = head(state.text_features.tokens[masked], backbone.text.word_embeddings)
    expected = torch.nn.functional.cross_entropy(logits, state.input_ids[masked], reduction="sum")
    assert torch.allclose(total, expected)


def test_soften_like_bert_value() -> None:
    ids = torch.arange(10, 26).repeat(2000, 1)
    masked = torch.arange(16).remainder(2).bool().repeat(2000, 1)
    seed = torch.arange(2000)
    soft = soften_like_bert(seed, ids, ReportMask(ids.masked_fill(masked, MASK), masked), VOCABULARY)
    assert torch.equal(soft.input_ids[~masked], ids[~masked]) and torch.equal(soft.masked, masked)
    shown, true = soft.input_ids[masked], ids[masked]
    hidden, kept = (shown == MASK).double().mean(), (shown == true).double().mean()
    # a random piece is [MASK] or the true one once in VOCABULARY
    assert float(hidden) == pytest.approx(0.8 + 0.1 / VOCABULARY, abs=0.01)
    assert float(kept) == pytest.approx(0.1 + 0.1 / VOCABULARY, abs=0.01)
    half = soften_like_bert(
        seed[1000:], ids[1000:], ReportMask(ids.masked_fill(masked, MASK)[1000:], masked[1000:]), VOCABULARY
    )
    assert torch.equal(half.input_ids, soft.input_ids[1000:])


# alignment


def test_own_contrast_value_by_hand() -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0], [7.0, 3.0, 0.0]], dtype=torch.float64)
    # rows are columns 1 and 2 of three; column 1 shares a group with column 0, which row 0 then leaves out
    loss = own_contrast(logits, torch.tensor([4, 9]), torch.tensor([4, 4, 9]), first=1)
    expected = [math.log(math.exp(5) + math.exp(2)) - 5, math.log(math.exp(7) + math.exp(3) + 1)]
    assert loss.tolist() == pytest.approx(expected)


def test_multi_positive_mask_value() -> None:
    backbone, built = build(only(GlobalAlignmentOptions(multi_positive="mask")))
    state = small_state(backbone)
    total, count = built["global_alignment"](state)
    image, text = (x.detach().numpy() for x in (state.global_image, state.global_text))
    group, expected = state.group.numpy(), 0.0
    for logits in (image @ text.T / 0.07, text @ image.T / 0.07):
        for i in range(4):
            kept = [j for j in range(4) if j == i or group[j] != group[i]]
            expected += 0.5 * (np.log(np.exp(logits[i, kept]).sum()) - logits[i, i])
    assert float(count) == 4 and float(total.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("negatives", ["pair", "batch"])
def test_learned_local_temperature(negatives: str) -> None:
    fixed = LocalAlignmentOptions(negatives=negatives)
    learned = LocalAlignmentOptions(negatives=negatives, learn_temperature=True)
    backbone = small_backbone(*fixed.needs)
    objective = learned.build(backbone).double()
    total, _ = objective(small_state(backbone))
    assert torch.allclose(total, fixed.build(backbone)(small_state(backbone))[0])
    total.backward()
    assert objective.log_scale.grad.abs() > 0
    objective.log_scale.data.fill_(9.0)
    assert float(objective.temperature.detach()) == pytest.approx(0.01)


@pytest.mark.parametrize("kind", [GlobalAlignmentOptions, LocalAlignmentOptions])
def test_value_learned_temperature_beyond_its_bound_comes_back(kind) -> None:
    """At log 100 the gradient is the slope of the loss over log 1/τ there, not 0."""
    backbone = small_backbone(*kind.needs)

    def loss(log_scale: float) -> float:
        return float(kind(temperature=math.exp(-log_scale)).build(backbone).double()(small_state(backbone))[0].detach())

    learned = kind(learn_temperature=True).build(backbone).double()
    learned.log_scale.data.fill_(9.0)
    total, _ = learned(small_state(backbone))
    total.backward()
    bound, step = math.log(100), 1e-3
    assert float(total.detach()) == pytest.approx(loss(bound), rel=1e-4)
    slope = (loss(bound + step) - loss(bound - step)) / (2 * step)
    assert abs(slope) > 0.1 and float(learned.log_scale.grad) == pytest.approx(slope, rel=1e-2)
    assert float(learned.log_scale.detach()) == pytest.approx(bound)


def test_value_fixed_temperature_is_taken_as_it_is() -> None:
    backbone = small_backbone("align_global")
    state = small_state(backbone)
    total, _ = GlobalAlignmentOptions(temperature=0.004, multi_positive="mask").build(backbone)(state)
    image, text = (x.detach().numpy() for x in (state.global_image, state.global_text))
    group, expected = state.group.numpy(), 0.0
    for logits in (image @ text.T / 0.004, text @ image.T / 0.004):
        for i in range(4):
            kept = [j for j in range(4) if j == i or group[j] != group[i]]
            expected += 0.5 * (np.logaddexp.reduce(logits[i, kept]) - logits[i, i])
    assert expected > 1 and float(total.detach()) == pytest.approx(expected, rel=1e-5)
    local = LocalAlignmentOptions(temperature=0.004).build(backbone)
    assert local.temperature == 0.004


@pytest.mark.parametrize("kind", [GlobalAlignmentOptions, LocalAlignmentOptions])
def test_value_encoders_stay_in_mixed_precision(kind) -> None:
    backbone = small_backbone(*kind.needs).float()
    seen = set()
    layers = {"image": backbone.image.vit.blocks[0].mlp.fc1, "text": backbone.text.bert.encoder.layer[0].output.dense}
    for name, linear in layers.items():
        linear.register_forward_hook(lambda *call, name=name: seen.add((name, call[2].dtype)))
    state = small_state(backbone)
    state.image = state.image.float()
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = kind().build(backbone)(state)
    assert seen == {("image", torch.bfloat16), ("text", torch.bfloat16)} and total.dtype == torch.float32


# matching


def test_draw_negatives_value() -> None:
    similarity = torch.tensor([[1.0, 0.9, 0.0, 0.1]] * 4, dtype=torch.float64) * 0.07
    group, seeds = torch.tensor([5, 5, 6, 7]), torch.arange(40_000).reshape(-1, 4)
    drawn = torch.stack([draw_negatives(similarity, group, seed).squeeze(1) for seed in seeds[:2500]])
    assert not ((drawn[:, :2] == 0) | (drawn[:, :2] == 1)).any() and not (drawn[:, 3] == 3).any()
    # of row 0 columns 2 and 3 remain, with odds 1 : e^0.1; of row 2, columns 0, 1 and 3
    assert float((drawn[:, 0] == 3).double().mean()) == pytest.approx(1 / (1 + math.exp(-0.1)), abs=0.03)
    weights = np.exp([1.0, 0.9, 0.1])
    assert float((drawn[:, 2] == 0).double().mean()) == pytest.approx(weights[0] / weights.sum(), abs=0.03)
    assert draw_negatives(similarity, torch.ones(4, dtype=torch.long), seeds[0], 2).tolist() == [[-1, -1]] * 4


@pytest.mark.parametrize(("pairing", "hard"), itertools.product(["joint", "separate"], [False, True]))
def test_image_text_matching_value(pairing: str, hard: bool) -> None:
    aligned = GlobalAlignmentOptions(weight=float(hard))
    backbone, built = build(only(aligned, ImageTextMatchingOptions(weight=1)))
    assert ("align_global" in backbone.parts) == hard
    objective, state = built["image_text_matching"], small_state(backbone)
    state.pairing = pairing
    total, count = objective(state)
    similarity = state.global_image @ state.global_text.T if hard else torch.zeros(4, 4)
    other_text = draw_negatives(similarity, state.group, state.seed)[:, 0].tolist()
    other_image = draw_negatives(similarity.T, state.group, state.seed, 1, OTHER_IMAGE_STREAM)[:, 0].tolist()
    images = backbone.image(state.image, state.image_mask.visible if pairing == "joint" else None)
    ids = state.report_mask.input_ids if pairing == "joint" else state.input_ids

    def score(image: int, text: int) -> float:
        one = slice(text, text + 1)
        fused = backbone.fuse(images.rows(torch.tensor([image])), None, ids[one], state.attention_mask[one])
        return float(objective.head(fused[0, 0]).detach())

    expected = sum(math.log(1 + math.exp(-score(i, i))) for i in range(4))
    expected += sum(math.log(1 + math.exp(score(i, other_text[i]))) for i in range(4))
    expected += sum(math.log(1 + math.exp(score(other_image[i], i))) for i in range(4))
    assert float(count) == 12 and float(total.detach()) == pytest.approx(expected, rel=1e-5)
    assert all(state.group[i] != state.group[j] for i, j in enumerate(other_text))
    assert 0 <= float(objective.monitor(state)["matching_accuracy"][0]) <= 12


def test_value_the_two_negatives_of_a_pair_are_drawn_independently() -> None:
    """Of 8 pairs without similarities, the other report and the other image come from one pair in 1 case of 7."""
    _, built = build(only(ImageTextMatchingOptions(weight=1)))
    objective, same = built["image_text_matching"], []
    for first in range(0, 8 * 500, 8):
        state = SimpleNamespace(
            group=torch.arange(8), seed=torch.arange(first, first + 8), backbone=SimpleNamespace(parts=())
        )
        images, reports, _ = objective._pairs(state)
        same.append(reports[8:16] == images[16:])
    assert float(torch.stack(same).double().mean()) == pytest.approx(1 / 7, abs=0.02)


def test_matching_without_negatives_and_missing_input_error() -> None:
    backbone, built = build(only(ImageTextMatchingOptions(weight=1)))
    state = small_state(backbone)
    state.group = torch.ones(4, dtype=torch.long)
    total, count = built["image_text_matching"](state)
    assert float(count) == 4 and torch.isfinite(total)
    state.seed = None
    with pytest.raises(KeyError, match="seed"):
        built["image_text_matching"](state)


# fused representation


@pytest.mark.parametrize("fusion", ["cross", "pooled"])
@pytest.mark.parametrize("pool", ["mask", "mean", "cls"])
def test_fused_representation_value(pool: str, fusion: str) -> None:
    backbone = small_backbone("fusion", fusion={"kind": fusion}).eval()
    image = backbone.image(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    ids = torch.tensor([[2, 9, 8, 7, 3], [2, 11, 3, 0, 0]])
    mask = (ids > 0).long()
    found = backbone.fused_representation(image, ids, mask, pool)
    assert found.shape == (2, 24 + 32) and torch.equal(found[:, 24:], image.pooled)
    for row, text in enumerate(([2, 9, 8, 7], [2, 11])):
        text = torch.tensor([[*text, MASK, 3] if pool == "mask" else [*text, 3]])
        fused = backbone.fuse(image.rows(torch.tensor([row])), None, text, torch.ones_like(text))[0]
        expected = {"mask": fused[-2], "mean": fused.mean(0), "cls": fused[0]}[pool]
        assert torch.allclose(found[row, :24], expected)


def test_fused_representation_error() -> None:
    backbone = small_backbone("fusion")
    image = backbone.image(torch.randn(1, 3, 32, 32, dtype=torch.float64))
    with pytest.raises(UserError, match="expected mask, mean or cls"):
        backbone.fused_representation(image, torch.tensor([[2, 3]]), torch.ones(1, 2), "max")  # type: ignore[arg-type]


# the task


def task_and_batch(objectives: Objectives, masking: Masking, **image: Any):
    tokenizer = Tokenizer.train(["the heart is large and the lungs are clear"], 400)
    spec = BackboneSpec("mpma_vit_t16", ImageSpec(size=64, **image))
    task = PretrainingTask(backbone=spec, masking=masking, objectives=objectives, target_scale=1)
    data = MemoryData(DataSpec("Memory", tokenizer=tokenizer.to_json()))
    task.trainer = SimpleNamespace(datamodule=data, log_every_n_steps=1, global_step=0)  # type: ignore[assignment]
    task.configure_model()
    encoded = [tokenizer.encode(text, 12) for text in ("the heart is large", "the lungs are clear and large")]
    names = ("input_ids", "attention_mask", "word_ids")
    batch = {name: torch.tensor([e[i] for e in encoded]) for i, name in enumerate(names)}
    image = torch.randint(0, 255, (2, 1, 64, 64), dtype=torch.uint8)
    return task, batch | {"image": image, "group": torch.arange(2), "seed": torch.arange(2), "id": ["a", "b"]}


@pytest.mark.parametrize("image", [{"encoder": "timm/resnet18"}, {"pool": "cls"}])
def test_alignment_only_masks_nothing_and_trains_a_cnn(image) -> None:
    task, batch = task_and_batch(only(GlobalAlignmentOptions(), LocalAlignmentOptions()), Masking(), **image)
    state = task.state(batch, training=True)
    assert state.image_mask is None and not state.report_mask.masked.any()
    task.check_every, task.log = 1, lambda *_: None  # type: ignore[method-assign]
    outcome = task.step(batch, "train")
    sum(outcome[name][0] for name in outcome if name.endswith("_loss")).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in task.parameters())


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224"])
def test_masked_objectives_refuse_a_cnn_and_windows(name: str) -> None:
    task, batch = task_and_batch(
        Objectives(image_reconstruction=ImageReconstructionOptions(weight=0)), Masking(), encoder=f"timm/{name}"
    )
    with pytest.raises(UserError, match=f"timm/{name} cannot drop masked patches"):
        task.step(batch, "val")


def test_bert_style_in_training_only() -> None:
    task, batch = task_and_batch(Objectives(), Masking(report_ratio=0.5, report_style="bert"))
    batch["seed"] = torch.tensor([3, 4])
    shown = task.state(batch).report_mask
    assert (shown.input_ids[shown.masked] == task.backbone.vocabulary.mask_id).all()
    trained = [task.state({**batch, "seed": torch.tensor([s, -s])}, training=True).report_mask for s in range(1, 20)]
    assert any((m.input_ids[m.masked] != task.backbone.vocabulary.mask_id).any() for m in trained)


# every combination

MATCHING = ImageTextMatchingOptions(weight=1)
IMAGE, CROSS = ImageReconstructionOptions(**DECODER), ImageReconstructionOptions(**DECODER, kind="cross")
REPORT, ALONE = ReportReconstructionOptions(loss_on="all"), ReportReconstructionOptions(assisted=False)
GLOBAL = GlobalAlignmentOptions(multi_positive="mask", learn_temperature=True)
LOCAL = LocalAlignmentOptions(negatives="batch", learn_temperature=True)
SETS = {
    **{name: only(options) for name, options in EACH.items()},
    "everything": Objectives(**EACH | {NAMES[type(one)]: one for one in (CROSS, REPORT, GLOBAL, LOCAL, MATCHING)}),
    "defaults": Objectives(image_reconstruction=IMAGE),
    "mrm": only(IMAGE, REPORT),
    "m3ae": only(IMAGE, ReportReconstructionOptions(), MATCHING),
    "alignment": only(GLOBAL, LOCAL),
    "global_alignment": only(GLOBAL),
    "report_reconstruction": only(REPORT),
    "image_reconstruction": only(CROSS),
    "mlm": only(ALONE),
    "mae and mlm": only(IMAGE, ALONE),
}
VARIANTS = {
    "text": {},
    "image": {"fusion": {"memory": "image"}},
    "latent": {"fusion": {"memory": "latent"}},
    "off_by_one": {"fusion": {"memory": "off_by_one"}},
    "cls": {"image": {"pool": "cls"}, "text": {"pool": "cls"}},
    "shared": {"fusion": SHARED},
    "none": {"fusion": {"memory": "none"}},
    "pooled": {"fusion": {"kind": "pooled"}},
}
PAIRINGS = ["joint", "separate", "unmasked_align"]


def combinations() -> list[tuple[str, str, str]]:
    """Objectives, backbone and pairing; kinds of fusion only where there is fusion."""
    return [
        (objectives, variant, pairing)
        for objectives, variant, pairing in itertools.product(SETS, VARIANTS, PAIRINGS)
        if variant in ("text", "cls") or any("fusion" in o.needs for o in SETS[objectives].active().values())
    ]


@pytest.mark.parametrize(("objectives", "variant", "pairing"), combinations())
def test_gradient_reaches_every_parameter(objectives: str, variant: str, pairing: str) -> None:
    backbone, built = build(SETS[objectives], **VARIANTS[variant])
    state = small_state(backbone)
    state.pairing = pairing  # type: ignore[assignment]
    losses = {name: objective(state) for name, objective in built.items()}
    sum(total / count for total, count in losses.values()).backward()
    for module in (backbone, *built.values()):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
