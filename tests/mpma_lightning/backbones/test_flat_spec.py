"""Specs, settings and checkpoints from before the parts of a backbone were nested."""

from pathlib import Path

import pytest
import torch
import yaml
from model_fixtures import small_backbone

from data_modules.errors import UserError
from mpma_lightning.backbones import AlignSpec, BackboneSpec, FusionSpec, ImageSpec, TextSpec, resolve
from mpma_lightning.backbones.carried import carried_spec
from mpma_lightning.backbones.checkpoint import CARGO, read_checkpoint
from mpma_lightning.backbones.flat_spec import nested
from mpma_lightning.cli.main import main
from mpma_lightning.runs.folder import Run
from mpma_lightning.runs.identity import check_continues

OLD = {
    "name": "mpma_vit_t16",
    "image": "timm/vit_tiny_patch16_224",
    "image_size": 112,
    "image_options": {"embed_dim": 128, "depth": 3, "num_heads": 4},
    "image_weights": None,
    "image_stem": "convolution",
    "image_pool": "mean",
    "text": "bert",
    "text_width": 128,
    "text_depth": 2,
    "text_heads": 4,
    "text_pool": "mean",
    "fusion": "cross",
    "fusion_depth": 2,
    "fusion_heads": 4,
    "memory": "shared",
    "memory_slots": 8,
    "shared_slots": 256,
    "shared_width": 64,
    "align_width": 64,
    "align_hidden": 256,
    "dropout": 0.0,
}
"""The spec in a checkpoint that the code of before wrote."""
USUAL = (-1, "mlp", "mlp", None, "before")
"""What alignment had no choice of."""
NEW = resolve(
    BackboneSpec(
        "mpma_vit_t16",
        ImageSpec(options={"depth": 3}),
        TextSpec(dropout=0.0),
        FusionSpec(memory="shared", shared_slots=256, shared_width=64),
        AlignSpec(local_level=-1),
    )
)


def test_value_old_spec_is_todays() -> None:
    assert carried_spec({"spec": OLD}) == NEW
    assert carried_spec({"spec": NEW.plain()}) == NEW and nested(NEW.plain()) == NEW.plain()
    partial = carried_spec({"spec": {"name": "mpma_vit_t16", "dropout": 0.0, "fusion": "pooled"}})
    text, last = TextSpec(dropout=0.0, layers=1), AlignSpec(None, None, *USUAL)
    assert partial == BackboneSpec("mpma_vit_t16", text=text, fusion=FusionSpec("pooled"), align=last)
    assert nested({"name": "mpma_vit_t16", "align": {"width": 8}}) == {"name": "mpma_vit_t16", "align": {"width": 8}}
    assert AlignSpec(64, 256, *USUAL) == NEW.align
    slots = {"name": "mpma_vit_t16", "fusion": {"memory": "slots", "slots": 8}}  # text's name of before
    assert carried_spec({"spec": slots}).fusion == FusionSpec(memory="text", slots=8)
    assert nested(OLD | {"memory": "slots"})["fusion"]["memory"] == "text" and slots["fusion"]["memory"] == "slots"


def test_value_old_checkpoint_is_read(tmp_path: Path) -> None:
    state = {f"backbone.{name}": value for name, value in small_backbone("align_global").state_dict().items()}
    cargo = {"spec": OLD, "tokenizer": None, "normalisation": [0.5, 0.25], "task": "PretrainingTask"}
    torch.save({"state_dict": state, CARGO: cargo, "global_step": 7}, tmp_path / "old.ckpt")
    assert read_checkpoint(tmp_path / "old.ckpt").spec == NEW


def test_value_run_from_before_is_continued(tmp_path: Path) -> None:
    def settings(backbone: object) -> dict[str, object]:
        return {"seed_everything": 0, "model": {"class_path": "T", "init_args": {"backbone": backbone}}, "data": {}}

    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings(OLD)))
    check_continues(Run(tmp_path), settings(NEW.plain()), dict, True)
    other = resolve("mpma_vit_t16").plain()
    with pytest.raises(UserError, match=r"backbone\.image\.options\.depth 3 -> 2"):
        check_continues(Run(tmp_path), settings(other), dict, True)


PAIRS = ["--config", str(Path(__file__).parents[3] / "experiments/pretraining/pairs.yaml"), "--data.root", "nowhere"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--model.backbone.text_depth", "2"],
            "'text_depth' of a backbone is now 'text.depth', as in text: {depth: …}",
        ),
        (
            ["--config", "{model: {init_args: {backbone: {dropout: 0}}}}"],
            "'dropout' of a backbone is now 'text.dropout'",
        ),
        (["--model.backbone.fusion", "pooled"], "got 'pooled'; this is now 'fusion.kind', as in fusion: {kind: …}"),
        (["--model.backbone.text.depht", "2"], "did you mean 'text.depth'?"),
        (["--model.backbone.fusion.memory", "txt"], "unknown choice 'txt'; did you mean 'text'?"),
    ],
)
def test_error_old_keys_name_the_new_ones(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *PAIRS, *words]) == 2
    assert line in capsys.readouterr().err.strip().splitlines()[-1]
