"""What Lightning says of every run of this project, and nobody can act on, is not shown."""

import warnings

import pytest
from lightning.pytorch.trainer.connectors.data_connector import _DataHookSelector, warning_cache
from memory_data import MemoryData

from mpma_lightning.cli.quiet import silence_noise
from mpma_lightning.tasks.pretraining import PretrainingTask


@pytest.mark.parametrize("silent", [False, True])
def test_value_the_hook_of_tasks_is_no_news(silent: bool) -> None:
    task, hook = PretrainingTask(), "on_before_batch_transfer"
    warning_cache.clear()
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        if silent:
            silence_noise()
        assert _DataHookSelector(task, MemoryData()).get_instance(hook) is task
    assert [hook in str(each.message) for each in shown] == ([] if silent else [True])
