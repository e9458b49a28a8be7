"""The machine: hardware and versions, stored in manifests and matched with profiles."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import threading
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from typing_extensions import TypedDict  # pydantic, which reads these from documents, asks for it below Python 3.12

from lorkit.decompose.errors import UsageError, plural
from lorkit.decompose.processes import run_child

if TYPE_CHECKING:
    import psutil

# Instruction sets that determine which kernels a runtime uses.
ISA_FLAGS = ("avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8", "asimd")
_STATUS, _CLEAR, _GROUP = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/sys/fs/cgroup")
_MEMORY = Path("/proc/meminfo")
ENGINE_WAIT = "LORKIT_ENGINE_WAIT"
"""The environment variable that says how threads of ONNX Runtime wait."""
LIBRARIES = (
    "lorkit",
    "torch",
    "numpy",
    "monai",
    "lightning-fabric",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "safetensors",
)


class Gpu(TypedDict):
    """A GPU as its driver names it."""

    name: str
    driver: str
    memory_mib: int | None
    sm: str


class Machine(TypedDict):
    """The hardware and system of a machine; unknown values are null."""

    platform: str
    python: str
    cpu: str
    threads: int
    omp_wait_policy: str
    """`passive` or `active`, as in OMP_WAIT_POLICY: how threads of OpenMP wait for each other."""
    engine_wait_policy: str
    """Of runtimes, as in LORKIT_ENGINE_WAIT: with `active`, ONNX Runtime's spin and OpenVINO's are bound to cores."""
    memory_gib: float | None
    flags: list[str]
    gpus: list[Gpu]


@cache
def fingerprint() -> Machine:
    """Return the hardware and system of this machine as plain data; unknown values are null."""
    info = _cpu_info()
    return {
        "platform": f"{platform.system()}-{platform.machine()}",
        "python": platform.python_version(),
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "threads": usable_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default").lower(),
        "engine_wait_policy": engine_wait_policy(),
        "memory_gib": _memory_gib(),
        "flags": [flag for flag in ISA_FLAGS if flag in info.get("flags", info.get("Features", "")).split()],
        "gpus": _gpus(),
    }


def engine_wait_policy() -> str:
    """Return how threads of runtimes share the cores of a machine with other programs.

    `passive`: those of ONNX Runtime sleep between two layers, and those of OpenVINO run on any core. `active`: they
    spin, and are bound to cores, as these runtimes do by themselves.

    Raises:
        UsageError: `LORKIT_ENGINE_WAIT` is neither.
    """
    given = os.environ.get(ENGINE_WAIT, "passive").lower()
    if given not in ("passive", "active"):
        raise UsageError(f"{ENGINE_WAIT} is '{given}'", required="passive or active", fix="correct or unset it")
    return given


@cache
def tool_versions() -> dict[str, str | None]:
    """Return the version of each library that can change a result; null if it is not installed."""
    return {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def usable_threads() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(counts: Iterable[int | None]) -> None:
    """Raise UsageError for more threads than the machine has processors; None leaves the number to a runtime."""
    most, asked = os.cpu_count() or 1, max((count for count in counts if count is not None), default=1)
    if asked > most:
        raise UsageError(
            f"--threads {asked} on a machine with {plural(most, 'processor')}",
            required=f"at most {most}",
            fix=f"use --threads {most} or fewer; more would measure how they wait for each other",
        )


def _cpu_info() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _gpus() -> list[Gpu]:
    """Return the GPUs from the driver's tool, without importing a GPU library."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        found = run_child(query, timeout=10)
    except OSError:  # also a time-out
        return []
    lines = found.stdout.splitlines() if found.status == 0 else []
    rows = [[cell.strip() for cell in line.split(",")] for line in lines if line.count(",") == 3]
    return [
        {"name": name, "driver": driver, "memory_mib": int(memory) if memory.isdigit() else None, "sm": capability}
        for name, driver, memory, capability in rows
    ]


def resident_mib() -> float:
    """Return the resident set of this process, in MiB."""
    return float(_process().memory_info().rss) / 2**20


def cuda_peak_mib() -> float | None:
    """Return the peak memory of torch on the current GPU in MiB; None if it has used none.

    torch is not imported: a process that has not loaded it uses no memory there.
    """
    cuda = sys.modules.get("torch.cuda")
    begun = getattr(cuda, "is_initialized", None)  # another thread may still be importing torch
    if cuda is None or begun is None or not begun():
        return None
    return float(cuda.max_memory_allocated()) / 2**20 or None


@cache
def _process() -> psutil.Process:
    import psutil

    return psutil.Process()


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(_process().memory_info().rss)


def available_bytes() -> int:
    """Return the memory that this process can still take: of the machine, or of its control group if that is less."""
    free = _free_of_linux()
    if free is None:
        import psutil  # takes as long to import as a small command takes for the rest

        free = int(psutil.virtual_memory().available)
    limit, used = (_number(_GROUP / name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else max(0, min(free, limit - used))


def _free_of_linux() -> int | None:
    """Return what Linux says is free, as psutil does there; None elsewhere."""
    try:
        lines = _MEMORY.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    words = next((line.split() for line in lines if line.startswith("MemAvailable:")), [])
    return int(words[1]) * 1024 if len(words) > 1 and words[1].isdecimal() else None


def check_memory(needed: int, given: str, *, fix: str) -> None:
    """Raise UsageError if what a setting asks for does not fit in the memory that is free, before it is taken.

    Args:
        needed: Bytes; a lower bound, so that nothing is refused that would fit.
        given: What needs them, with the setting and its value.
        fix: What the user can do.
    """
    free = available_bytes()
    if needed > free:
        raise UsageError(
            f"{given}, which needs {needed / 2**30:.3g} GiB",
            required=f"at most the {free / 2**30:.3g} GiB of memory that are free",
            fix=fix,
        )


def peak_bytes() -> int:
    """Return the peak resident memory of this process, since `PeakMemory` was last entered.

    On Linux from VmHWM: `ru_maxrss` survives exec, so a child would report its parent's peak.
    """
    status = _STATUS if _STATUS.is_file() else None
    for line in status.read_text(encoding="utf-8").splitlines() if status else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    memory = _process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


class PeakMemory:
    """The peak resident memory of this process within a `with` block, or from `start` to `stop`, in bytes.

    Linux counts it exactly. Elsewhere a thread looks every few milliseconds, which can miss short peaks.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._exact = False
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin."""
        try:
            _CLEAR.write_text("5", encoding="ascii")  # sets the peak back to what is resident now
            self._exact = True
        except OSError:
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()

    def stop(self) -> int:
        """Return the peak since the start."""
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()
        self.peak = max(self.peak, peak_bytes() if self._exact else resident_bytes())
        return self.peak

    def _watch(self) -> None:
        while not self._ended.wait(0.003):
            self.peak = max(self.peak, resident_bytes())


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None
