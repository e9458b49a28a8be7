import ctypes
import os
import platform
import subprocess
import sys

import pytest
import torch

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.errors import MissingRuntimeError, UsageError
from lorkit.decompose.training.loop.devices import keep_freed_memory, launch


def test_half_precision_on_a_cpu_is_refused_and_not_replaced() -> None:
    with pytest.raises(UsageError, match="bf16"):
        launch(TrainConfig(precision="fp16", accelerator="cpu"))


def test_more_gpus_than_there_are() -> None:
    wanted = torch.cuda.device_count() + 1
    with pytest.raises(MissingRuntimeError, match=f"asks for {wanted} CUDA"):
        launch(TrainConfig(accelerator="cuda", devices=wanted))


def test_a_cpu_is_one_process_in_the_stated_precision() -> None:
    fabric = launch(TrainConfig(accelerator="cpu", precision="bf16"))
    assert (fabric.world_size, fabric.device.type) == (1, "cpu")
    with fabric.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


_FAULTS = """
import resource, torch
from lorkit.decompose.training.loop.devices import keep_freed_memory
def faults():
    torch.ones(2**24), torch.ones(2**24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24), torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), keep_freed_memory(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_memory_that_a_step_frees_is_used_by_the_next() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    text = subprocess.check_output([sys.executable, "-c", _FAULTS], env=environment, text=True, timeout=300)
    returned, done, kept = text.split()
    assert done == "True"
    assert int(kept) < 100 < int(returned)


def test_a_process_that_configures_malloc_itself_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()


def test_an_older_library_keeps_the_blocks_that_it_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: dict[int, int] = {}

    class Older:
        @staticmethod
        def mallopt(key: int, value: int) -> int:
            if key == -3 and value > 2**25:
                return 0
            taken[key] = value
            return 1

    for key in [key for key in os.environ if key.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(key)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Older)
    assert keep_freed_memory()
    assert taken == {-1: 2**30, -3: 2**25}
