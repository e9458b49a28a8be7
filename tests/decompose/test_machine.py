from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from lorkit.decompose import machine
from lorkit.decompose.errors import UsageError
from lorkit.decompose.machine import (
    ISA_FLAGS,
    check_threads,
    cuda_peak_mib,
    engine_wait_policy,
    fingerprint,
    resident_mib,
    tool_versions,
)


def test_fingerprint_is_plain_data_that_names_this_machine() -> None:
    found = json.loads(json.dumps(fingerprint()))
    assert found["threads"] >= 1
    assert set(found["flags"]) <= set(ISA_FLAGS)
    assert found["cpu"]


@pytest.mark.parametrize(("given", "found"), [(None, "passive"), ("ACTIVE", "active")])
def test_threads_wait_passively_unless_the_user_says_otherwise(given: str | None, found: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
    code = "import lorkit; from lorkit.decompose.machine import fingerprint; print(fingerprint()['omp_wait_policy'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == found


@pytest.mark.parametrize(("given", "found"), [(None, "passive"), ("ACTIVE", "active"), ("passive", "passive")])
def test_threads_of_engines_wait_passively_unless_the_user_says_otherwise(
    given: str | None, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LORKIT_ENGINE_WAIT", raising=False)
    if given is not None:
        monkeypatch.setenv("LORKIT_ENGINE_WAIT", given)
    fingerprint.cache_clear()
    try:
        assert engine_wait_policy() == fingerprint()["engine_wait_policy"] == found
    finally:
        fingerprint.cache_clear()


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORKIT_ENGINE_WAIT", "spin")
    with pytest.raises(UsageError, match="LORKIT_ENGINE_WAIT is 'spin'"):
        engine_wait_policy()


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


def test_the_peak_within_a_block_is_that_of_the_block() -> None:
    """Large pages before the block do not count, those within it do, also when they are given back."""
    size = 2**25
    _touch(2 * size)
    with machine.PeakMemory() as outer:
        start = machine.resident_bytes()
        _touch(size)
    assert 0.9 * size <= outer.peak - start <= 2 * size
    assert machine.peak_bytes() >= outer.peak


def _touch(size: int) -> None:
    """Use so many bytes of new pages, which a heap with free memory would not take, and give them back."""
    with mmap.mmap(-1, size) as pages:
        for at in range(0, size, mmap.PAGESIZE):
            pages[at] = 1


@pytest.mark.parametrize("stated", ["/proc/meminfo", "/no/such/file"])
def test_memory_that_is_left_is_what_psutil_says(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_MEMORY", Path(stated))
    monkeypatch.setattr(machine, "_GROUP", Path("/no/such/directory"))
    assert abs(machine.available_bytes() - psutil.virtual_memory().available) < 2**30


def test_memory_that_is_left_is_at_most_that_of_the_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = machine.available_bytes()
    monkeypatch.setattr(machine, "_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert machine.available_bytes() > 0
    (tmp_path / "memory.max").write_text("5000\n")
    assert machine.available_bytes() == 4000
    assert free > 0


def test_threads_beyond_the_processors_are_refused_with_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    check_threads([None, 1, 4])
    check_threads([])
    with pytest.raises(UsageError, match=r"--threads 5 on a machine with 4 processors; required: at most 4; use"):
        check_threads([1, 5, None])
