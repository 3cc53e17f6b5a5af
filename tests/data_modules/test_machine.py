"""Cores and memory of the machine."""

import os
import sys

import pytest

from data_modules import machine


def test_value_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)
    here = machine.peak_resident_mib()
    assert 10 < here < 1_000_000
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine.cores() == os.cpu_count()
    assert machine.peak_resident_mib() == pytest.approx(here / 1024, rel=0.1)
