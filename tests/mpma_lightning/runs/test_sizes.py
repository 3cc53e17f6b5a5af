"""A run goes on with the batches it was trained with."""

from pathlib import Path

import pytest
import torch
from toy_run import fit, toy

from data_modules.errors import UserError
from mpma_lightning.runs.sizes import Sizes


@pytest.mark.parametrize("now", [Sizes(16, 2, 1), Sizes(8, 4, 1), Sizes(32, 1, 1)])
def test_value_the_share_of_a_process_is_free(now: Sizes) -> None:
    now.check_same_batches(Sizes(16, 2, 1), "runs/a")


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (Sizes(16, 4, 1), r"of 32 \(batch_size 16 × 2 processes\) .* of 64 \(.* add --data\.batch_size 8$"),
        (Sizes(16, 1, 1), r"add --data\.batch_size 32$"),
        (Sizes(8, 2, 2), r"2 accumulated.* add --data\.batch_size 16 --trainer\.accumulate_grad_batches 1$"),
        (Sizes(11, 3, 1), "use a number of processes that divides 32, such as 2$"),
    ],
)
def test_error_other_batches(now: Sizes, told: str) -> None:
    with pytest.raises(UserError, match=told):
        now.check_same_batches(Sizes(16, 2, 1), "runs/a")


@pytest.mark.usefixtures("toy")
def test_error_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    more = ("--trainer.max_steps", "5")
    assert fit(*more, "--data.batch_size", "2") == 1
    assert "To continue, add --data.batch_size 4" in capsys.readouterr().err
    assert fit(*more, "--trainer.accumulate_grad_batches", "2") == 1
    assert "--data.batch_size 4 --trainer.accumulate_grad_batches 1" in capsys.readouterr().err
    assert fit(*more) == 0


@pytest.mark.usefixtures("toy")
def test_error_of_an_older_checkpoint_the_batch_size_alone_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    path = Path("runs/toy/first/checkpoints/last.ckpt")
    content = torch.load(path, weights_only=True)
    del content["callbacks"]["RunRecord"]
    torch.save(content, path)
    assert fit("--trainer.max_steps", "5", "--data.batch_size", "2") == 1
    assert "data.init_args.batch_size 4 -> 2" in capsys.readouterr().err
    assert fit("--trainer.max_steps", "5") == 0


__all__ = ["toy"]
