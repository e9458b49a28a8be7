"""Start Lightning Fabric for the configured devices and precision."""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import platform
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.errors import MissingRuntimeError, UsageError, plural
from lorkit.decompose.methods.baselines.balancers import check_balancer
from lorkit.decompose.processes import end_with_parent, marked_children
from lorkit.decompose.training.loop.compiling import check_compiler

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT = 2**30
_KEPT_BLOCKS = (_KEPT, 2**25)  # older versions keep none of more than 32 MiB
_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def device_of(settings: TrainConfig) -> torch.device:
    """Return the kind of device in the settings, whether or not it exists."""
    on_gpu = settings.accelerator == "cuda" or (settings.accelerator == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if on_gpu else "cpu")


def keep_freed_memory() -> bool:
    """Let the C library keep up to 1 GiB of freed memory; return whether it does.

    A step frees its maps. glibc returns them to the system, which clears every page when the next step asks for it
    again. Other C libraries, and a process whose environment configures malloc, are left alone.
    """
    if platform.libc_ver()[0] != "glibc" or any(key.startswith(("MALLOC_", "GLIBC_TUNABLES")) for key in os.environ):
        return False
    library = ctypes.CDLL(None)
    blocks = any(library.mallopt(_M_MMAP_THRESHOLD, size) == 1 for size in _KEPT_BLOCKS)
    return blocks and library.mallopt(_M_TRIM_THRESHOLD, _KEPT) == 1


def launch(settings: TrainConfig) -> Fabric:
    """Start Fabric, and with several devices the other processes, which run the same command from its beginning.

    Raises:
        MissingRuntimeError: There are fewer CUDA devices than requested, or compilation or the gradient balancer needs
            something that is not installed.
        UsageError: The device, or the gradient balancer, does not support the precision.
    """
    end_with_parent()  # one of the further processes
    keep_freed_memory()
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = device_of(settings)
    on_gpu = device.type == "cuda"
    if on_gpu and settings.devices > gpus:
        raise MissingRuntimeError(
            f"train asks for {plural(settings.devices, 'CUDA device')}, {gpus} are available",
            required="a GPU for each of train.devices and a CUDA build of torch",
            fix="lower train.devices or set train.accelerator to cpu",
        )
    if settings.precision == "fp16" and not on_gpu:
        raise UsageError(
            "train.precision is fp16 on a CPU", required="bf16 or fp32 there", fix="set train.precision to bf16"
        )
    check_balancer(settings.balancer, settings)
    if settings.compile:
        check_compiler(device)
    from lightning_fabric import Fabric  # seconds of imports that only training needs

    # Fabric prints the precision to the terminal, which only listeners of events should use
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=device.type,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=cast(Any, _PRECISION[settings.precision]),
    )
    with marked_children():
        fabric.launch()
    return fabric


def memory_format(dims: int) -> torch.memory_format:
    """Return the layout of a batch by its number of axes: 4 for 2D images, 5 for volumes."""
    return torch.channels_last if dims == 4 else torch.contiguous_format


def set_layout_(module: nn.Module, layout: torch.memory_format = torch.channels_last) -> nn.Module:
    """Convert a network's weights to the layout of its batches, in place; networks for volumes are unchanged."""
    if not any(value.dim() == 5 for value in itertools.chain(module.parameters(), module.buffers())):
        module.to(memory_format=layout)  # type: ignore[call-overload]
    return module
