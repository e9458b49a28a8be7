"""torch.compile of a live backbone during training."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.experts.batch_routing import BatchRouting
from lorkit.decompose.models.regional import RegionalModel

# a graph is compiled for each set of regions in a batch; beyond torch's limit of 8 it would fall back to eager
_GRAPHS = 64


@contextmanager
def compiled(live: RegionalModel, device: torch.device) -> Iterator[None]:
    """Compile a model's backbone in place inside the context; parameters, keys and classes do not change.

    If it gives pooled features and maps, only the stages that both need are compiled.

    Args:
        live: The model.
        device: Its device.

    Raises:
        MissingRuntimeError: There is no C++ compiler for the CPU, or no Triton for the GPU.
    """
    check_compiler(device)
    # rows per region vary between batches and must not become constants of the graph; buffers must not be
    # donated to backward, because a gradient balancer runs it once per region
    with (
        cast(Any, torch._dynamo.config).patch(allow_unspec_int_on_nn_module=True, recompile_limit=_GRAPHS),
        cast(Any, torch._functorch.config).patch(donated_buffer=False),
    ):
        live.backbone.compile()
        if live.forks:
            live.encode = torch.compile(live.encode)  # type: ignore[method-assign]
        try:
            yield
        finally:
            live.backbone._compiled_call_impl = None
            if live.forks:
                del live.encode


def loosen_(routed: BatchRouting) -> None:
    """Let the counts of a plan vary without a new graph: the compiler treats a tuple, not a list, as constant."""
    object.__setattr__(routed, "counts", list(routed.counts))


def check_compiler(device: torch.device) -> None:
    """Raise MissingRuntimeError if the compiler for which torch generates code is missing."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise _missing("Triton", "pip install triton")
    default = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", default)
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise _missing(f"a C++ compiler ('{compiler}')", "apt-get install g++, name one in CXX")


def _missing(what: str, how: str) -> MissingRuntimeError:
    return MissingRuntimeError(
        f"train.compile needs {what}, which is missing", required=what, fix=f"{how}, or set train.compile to false"
    )
