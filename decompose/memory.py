"""How much memory this process holds, on the host and on the GPU that it trains on."""

from __future__ import annotations

import sys
from functools import cache

import psutil


def resident_mib() -> float:
    """Return the resident set of this process, in MiB."""
    return float(_process().memory_info().rss) / 2**20


def cuda_peak_mib() -> float | None:
    """Return the most that torch has held at once on the current GPU, in MiB; None where it has used none.

    torch is not imported for it: a process that has not loaded it holds nothing there.
    """
    cuda = sys.modules.get("torch.cuda")
    begun = getattr(cuda, "is_initialized", None)  # a progress line asks while another thread is importing torch
    if cuda is None or begun is None or not begun():
        return None
    return float(cuda.max_memory_allocated()) / 2**20 or None


@cache
def _process() -> psutil.Process:
    return psutil.Process()
