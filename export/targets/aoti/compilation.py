"""Compile a network with AOTInductor: traced with a free batch, in one precision, without temporary files.

Shapes: N batch, C channels, further axes are space.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
import torch._inductor
from torch import Tensor, nn
from torch._inductor.utils import fresh_cache

from lorkit.decompose.errors import UsageError
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.models.deployable import Deployable
from lorkit.decompose.processes import held_children
from lorkit.export.targets.quiet import quiet

_MAX_BATCH = 65536
_TRACED_BATCH = 2  # torch.export specialises 0 and 1
_BROKEN = 0.1  # error relative to the largest logit: fp32 rounds at 1e-6, bf16 at 1e-2
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_MULTIPLYING = ("conv", "linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "scaled_dot_product")


class InBf16(nn.Module):
    """A deployable network in bfloat16, with normalisation and logits in fp32."""

    def __init__(self, network: Deployable) -> None:
        super().__init__()
        self.normalise, self.network = network.normalise, network.network.to(torch.bfloat16)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (N, C, *spatial) float32 to logits float32."""
        logits: Tensor = self.network(self.normalise(image).to(torch.bfloat16))
        return logits.float()


def compile_network(network: nn.Module, path: Path, shape: Sequence[int], *, precision: str, device: str) -> None:
    """Write a network as an AOTInductor package for this machine.

    Args:
        network: A `Deployable` on the CPU; it is copied.
        path: The `.pt2` to write.
        shape: (C, *spatial) of one image.
        precision: `fp32` or `bf16`.
        device: `cpu` or `cuda`.

    Raises:
        UsageError: The network has a fixed batch, uses another precision internally, or is compiled wrongly.
        Exception: Any other error of torch's tracer and compiler, which have no common base.
    """
    scratch = tempfile.TemporaryDirectory(prefix="lorkit-", ignore_cleanup_errors=True)
    with quiet("torch", logging.CRITICAL), scratch as folder, fresh_cache(dir=folder):
        network = copy.deepcopy(network).eval()
        network = (InBf16(cast(Deployable, network)) if precision == "bf16" else network).to(device)
        example = torch.zeros(_TRACED_BATCH, *shape, device=device)
        program = _trace(network, example)
        _require_precision(program, precision)
        for layouts in (True, False):
            _compile(program, path, on_cpu=device == "cpu", layouts=layouts)
            if computes(path, network, example):
                break
        else:
            raise UsageError(
                "AOTInductor compiles the network into code that returns other logits",
                required="those of the network at every batch size",
                fix="change the backbone, or use --target onnx",
            )
    _strip(path)


def computes(path: Path, network: nn.Module, example: Tensor) -> bool:
    """Return whether a package gives its network's logits at batch sizes 1, 2 and 3, up to rounding.

    PyTorch 2.13 compiles a 3D U-Net in channels-last layouts wrongly for single images only, with errors as large as
    the logits. The export's parity check judges the accuracy of the logits.

    Args:
        path: The package.
        network: The network in the compiled precision.
        example: A batch (N, C, *spatial) of any size, for shape and device.
    """
    compiled = torch._inductor.aoti_load_package(str(path))
    generator = torch.Generator().manual_seed(0)
    for batch in (1, 2, 3):
        images = torch.rand(batch, *example.shape[1:], generator=generator).to(example.device)
        with torch.no_grad():
            expected, found = network(images), compiled(images)
        error = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
        if not error <= _BROKEN:  # also for NaN
            return False
    return True


def _trace(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=_MAX_BATCH)
    with torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},), strict=False)
    (output,) = program.graph_signature.user_outputs
    found = next(node for node in program.graph.nodes if node.name == output).meta["val"]
    if isinstance(found.shape[0], int):
        raise UsageError(
            f"the network returns {found.shape[0]} rows for any number of images",
            required="a free batch size",
            fix="make the network independent of the number of images in a batch",
        )
    return program


def _require_precision(program: torch.export.ExportedProgram, precision: str) -> None:
    """Check that every convolution and product has the precision's dtype: a network may cast internally."""
    found = Counter(
        str(node.meta["val"].dtype).removeprefix("torch.")
        for node in program.graph.nodes
        if node.op == "call_function" and _name(node.target).startswith(_MULTIPLYING)
    )
    wanted = str(_DTYPES[precision]).removeprefix("torch.")
    if set(found) - {wanted}:
        listed = ", ".join(f"{count} in {name}" for name, count in sorted(found.items()))
        raise UsageError(
            f"the network computes convolutions and products in another precision ({listed})",
            required=wanted,
            fix="remove the cast, or use another --precision",
        )


def _name(target: object) -> str:
    """Return an operator's name without its namespace and overload, such as `conv2d`."""
    return str(target).partition(".")[2].partition(".")[0]


def _compile(program: torch.export.ExportedProgram, path: Path, *, on_cpu: bool, layouts: bool) -> None:
    # torch compiles five programs, a quarter of the time, to learn whether the compiler has this CPU's instructions
    try:
        _package(program, path, on_cpu=on_cpu, layouts=layouts, known_instructions=True)
    except Exception as error:
        if not _compiler_refused(error):
            raise
        _forget_instructions()
        _package(program, path, on_cpu=on_cpu, layouts=layouts, known_instructions=None)


def _compiler_refused(error: Exception) -> bool:
    """Return whether the C++ compiler refused a program, which torch may report within an error of its own."""
    from torch._inductor.exc import CppCompileError

    return isinstance(error, CppCompileError) or isinstance(getattr(error, "inner_exception", None), CppCompileError)


def _forget_instructions() -> None:
    """Have torch ask the compiler again: it keeps the instructions that it took as known until the process ends."""
    from torch._inductor import cpu_vec_isa

    kinds = [one for one in vars(cpu_vec_isa).values() if isinstance(one, type)]
    for asked in (cpu_vec_isa.valid_vec_isa_list, *(vars(kind).get("__bool__") for kind in kinds)):
        if (forget := getattr(asked, "cache_clear", None)) is not None:
            forget()


def _package(
    program: torch.export.ExportedProgram, path: Path, *, on_cpu: bool, layouts: bool, known_instructions: bool | None
) -> None:
    from torch._inductor import aoti_compile_and_package, config

    settings = {
        "freezing": on_cpu,  # weights become constants in the layout of the kernels
        "layout_optimization": layouts,  # channels last: a ResNet is 1.6 times as fast
        "cpp.dynamic_threads": True,  # else the number of threads of this process is compiled in
        "cpp.vec_isa_ok": known_instructions,  # None: it tries them
        "cpp.march": _level(),  # else all features of this CPU, more than a note states
        "compile_threads": 1,  # no pool of processes after the call
        "cpp_cache_precompile_headers": False,  # they would be outside of the scratch directory
        "aot_inductor.precompile_headers": False,
        "aot_inductor.enable_line_tables": False,  # debug information, most of the library's size
    }
    known = config.get_config_copy()  # not every release has every setting
    patched = config.patch({name: value for name, value in settings.items() if name in known})
    with patched, torch.no_grad(), held_children():
        aoti_compile_and_package(program, package_path=str(path))


def _level() -> str | None:
    """Return the x86-64 level of the recorded flags; None leaves the choice to the compiler."""
    if not fingerprint()["platform"].endswith("x86_64"):
        return None
    flags = fingerprint()["flags"]
    return "x86-64-v4" if "avx512f" in flags else "x86-64-v3" if "avx2" in flags else "x86-64"


def _strip(path: Path) -> None:
    """Remove the sources, which contain this machine's command lines; only the library runs."""
    stripped = path.with_suffix(".stripped")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(stripped, "w") as kept:
        for entry in source.infolist():
            if not entry.filename.endswith(".cpp"):
                kept.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
    stripped.replace(path)
