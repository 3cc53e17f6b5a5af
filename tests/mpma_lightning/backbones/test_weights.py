"""Reading, mapping, resizing and refusing weights."""

import pytest
import torch
from model_fixtures import SMALL, small_backbone
from safetensors.torch import save_file

from data_modules.errors import UserError
from data_modules.text.tokenizer import Tokenizer
from mpma_lightning.backbones import BackboneSpec, FusionSpec, TextSpec
from mpma_lightning.backbones.checkpoint import CARGO, read_checkpoint
from mpma_lightning.backbones.weights import load_weights


def save(path, backbone, tokenizer=None):
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    cargo = {
        "spec": backbone.spec.plain(),
        "tokenizer": tokenizer,
        "normalisation": [0.5, 0.25],
        "task": "PretrainingTask",
    }
    torch.save({"state_dict": state, CARGO: cargo, "global_step": 7}, path)
    return path


def test_round_trip_value(tmp_path) -> None:
    source = small_backbone("fusion", "align_global")
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt", source))
    assert checkpoint.spec == source.spec and checkpoint.normalisation == (0.5, 0.25) and checkpoint.step == 7
    target = small_backbone("image")
    torch.nn.init.zeros_(target.image.vit.cls_token)
    report = load_weights(target, checkpoint)["image"]
    assert report.share == 1 and not report.resized
    for name, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])


def test_run_folder_is_a_checkpoint(tmp_path) -> None:
    (tmp_path / "checkpoints").mkdir()
    save(tmp_path / "checkpoints" / "last.ckpt", small_backbone("image"))
    assert read_checkpoint(tmp_path).step == 7


def test_position_embedding_is_resized(tmp_path, capsys) -> None:
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt", small_backbone("image")))
    target = small_backbone("image", image={"size": 48})
    assert load_weights(target, checkpoint)["image"].resized == ["image.vit.pos_embed"]
    assert target.image.vit.pos_embed.shape[1] == 37
    assert "image" in capsys.readouterr().err


def test_vocabulary_rows_move_by_token(tmp_path) -> None:
    first = Tokenizer.train(["alpha beta gamma delta"] * 9, 300, 1)
    second = Tokenizer.train(["delta epsilon beta zeta"] * 9, 300, 1)
    source, target = (small_backbone("text") for _ in range(2))
    for backbone, tokenizer in ((source, first), (target, second)):
        backbone.text.bert.set_input_embeddings(torch.nn.Embedding(len(tokenizer), 24).double())
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt", source, first.to_json()))
    assert load_weights(target, checkpoint, second.to_json())["text"].resized == [
        "text.bert.embeddings.word_embeddings.weight"
    ]
    old, new = (t.encode("delta", 5)[0][1] for t in (first, second))
    assert torch.equal(target.text.word_embeddings[new], source.text.word_embeddings[old])


def test_files_of_other_code_bases(tmp_path) -> None:
    source = small_backbone("image")
    bare = {name.removeprefix("vit."): value for name, value in source.image.state_dict().items()}
    torch.save({"model": {f"module.{name}": value for name, value in bare.items()}}, tmp_path / "mae.pth")
    save_file(bare, tmp_path / "timm.safetensors")
    for name in ("mae.pth", "timm.safetensors"):
        target = small_backbone("image")
        torch.nn.init.zeros_(target.image.vit.patch_embed.proj.weight)
        load_weights(target, read_checkpoint(tmp_path / name))
        assert torch.equal(target.image.vit.patch_embed.proj.weight, source.image.vit.patch_embed.proj.weight)


def test_poor_match_is_refused_and_loads_nothing(tmp_path) -> None:
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt", small_backbone("image")))
    target = small_backbone("image", image={"options": {"embed_dim": 64, "depth": 2, "num_heads": 2}})
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(UserError, match="of part 'image'"):
        load_weights(target, checkpoint)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())
    with pytest.raises(UserError, match="fits 0% of part 'text'"):
        load_weights(small_backbone("text"), checkpoint)


def test_named_parts_only_value(tmp_path) -> None:
    source = small_backbone("text")
    torch.nn.init.normal_(source.text.word_embeddings)
    target = small_backbone("fusion")
    before = {name: value.clone() for name, value in target.state_dict().items()}
    reports = load_weights(target, read_checkpoint(save(tmp_path / "a.ckpt", source)), parts=["text"])
    assert list(reports) == ["text"] and torch.equal(target.text.word_embeddings, source.text.word_embeddings)
    assert all(torch.equal(v, before[name]) for name, v in target.state_dict().items() if not name.startswith("text."))
    with pytest.raises(UserError, match="checkpoint_parts names 'txt'; this task builds image, text, fusion"):
        load_weights(target, read_checkpoint(tmp_path / "a.ckpt"), parts=["txt"])


def test_error_parts_that_read_an_image_encoder_of_another_width(tmp_path) -> None:
    parts = ["text", "fusion", "align_global"]
    checkpoint = read_checkpoint(save(tmp_path / "a.ckpt", small_backbone(*parts, fusion={"depth": 4})))
    wider = {"embed_dim": 64, "depth": 2, "num_heads": 2}
    options = {**(SMALL.image.options or {}), **wider}
    target = small_backbone(*parts, fusion={"depth": 4}, image={"options": options})
    with pytest.raises(
        UserError, match=r"fits 9\d% of part 'fusion'.*8 tensors of another shape .*key.weight \(24, 32\) →"
    ):
        load_weights(target, checkpoint, parts=parts)
    with pytest.raises(UserError, match=r"part 'align_global'.*image.mlp.0.weight \(16, 32\) → \(16, 64\)"):
        load_weights(target, checkpoint, parts=["align_global"])
    load_weights(target, checkpoint, parts=["text"])


def test_error_text_of_another_vocabulary_without_its_tokenizer(tmp_path) -> None:
    """Moving rows needs both tokenisers; without, the embedding would stay random."""
    bert = small_backbone("text", text={"depth": 3}).text.bert
    torch.save(bert.state_dict() | {"embeddings.word_embeddings.weight": torch.zeros(70, 24)}, tmp_path / "other.pth")
    torch.save({n: v for n, v in bert.state_dict().items() if "word_emb" not in n}, tmp_path / "lacking.pth")
    tokenizer = Tokenizer.train(["alpha beta gamma delta"] * 9, 300, 1).to_json()
    for name, line in (("other", r"word_embeddings.weight \(70, 24\) → \(60, 24\)"), ("lacking", "1 of .* missing")):
        with pytest.raises(UserError, match=rf"fits 9\d% of part 'text'.*{line}"):
            load_weights(
                small_backbone("text", text={"depth": 3}), read_checkpoint(tmp_path / f"{name}.pth"), tokenizer
            )


def test_error_patch_embedding_missing(tmp_path) -> None:
    state = {n.removeprefix("vit."): v for n, v in small_backbone("image").image.state_dict().items()}
    del state["patch_embed.proj.weight"]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"fits 9\d% of part 'image'.*first: image.vit.patch_embed.proj.weight"):
        load_weights(small_backbone("image"), read_checkpoint(tmp_path / "a.pth"))


def test_value_spec_differences_of_alignment_name_the_text_width() -> None:
    wide = BackboneSpec(text=TextSpec(width=48, dropout=0.3), fusion=FusionSpec("pooled"))
    other = BackboneSpec(text=TextSpec(width=24, dropout=0.1), fusion=FusionSpec("cross"))
    assert wide.differences(other, ["align_global"]) == ["text.width: 48, not 24"]
    assert wide.differences(other, ["text"]) == ["text.width: 48, not 24"]  # any weights take any dropout
    assert wide.differences(other) == [
        "text.width: 48, not 24",
        "text.dropout: 0.3, not 0.1",
        "fusion.kind: pooled, not cross",
    ]


def test_broken_files_error(tmp_path) -> None:
    path = save(tmp_path / "a.ckpt", small_backbone("image"))
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(path.read_bytes()[:2000])
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    torch.save({"epoch": 3}, tmp_path / "empty.ckpt")
    for name, message in (
        ("cut", "cut short"),
        ("text", "cannot be read"),
        ("empty", "holds no tensors"),
        ("none", "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            read_checkpoint(tmp_path / f"{name}.ckpt")
