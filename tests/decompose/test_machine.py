from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

from lorkit.decompose.machine import ISA_FLAGS, cuda_peak_mib, fingerprint, resident_mib, tool_versions


def test_fingerprint_is_plain_data_that_names_this_machine() -> None:
    machine = json.loads(json.dumps(fingerprint()))
    assert machine["threads"] >= 1
    assert set(machine["flags"]) <= set(ISA_FLAGS)
    assert machine["cpu"]


def test_versions_name_the_libraries_that_change_results() -> None:
    assert tool_versions()["torch"]


def test_a_process_holds_memory() -> None:
    assert 1 < resident_mib() < 1e6


@pytest.mark.parametrize("loaded", [False, True])
def test_a_torch_that_is_half_imported_holds_nothing_on_a_gpu(loaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    monkeypatch.delitem(sys.modules, "torch.cuda", raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, "torch.cuda", ModuleType("torch.cuda"))
    assert cuda_peak_mib() is None


@pytest.mark.parametrize(("begun", "most", "shown"), [(False, 2**31, None), (True, 0, None), (True, 2**31, 2048.0)])
def test_what_torch_held_at_most(begun: bool, most: int, shown: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = ModuleType("torch.cuda")
    vars(cuda).update(is_initialized=lambda: begun, max_memory_allocated=lambda: most)
    monkeypatch.setitem(sys.modules, "torch.cuda", cuda)
    assert cuda_peak_mib() == shown
