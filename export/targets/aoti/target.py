"""AOTInductor: the network compiled ahead of time to machine code, a `.pt2` that PyTorch runs without its source.

The package contains a shared library, which runs when it is loaded, so it must come from a trusted source. It is
compiled for the instruction sets of the machine that compiles and for one build of PyTorch; the note beside it states
both, and loading compares them. Compiled code does not check the shapes of its input, so they are checked here.
"""

from __future__ import annotations

import logging
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lorkit.decompose.artifacts import digest_json
from lorkit.decompose.errors import ArtifactError, LorkitError, MissingRuntimeError, UsageError, first_line
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.export.targets.aoti.engine import CPU, CUDA, FIX, AotiEngine, AotiRequirements
from lorkit.export.targets.base import Availability, BuildRequest, Example, missing
from lorkit.export.targets.host_note import HostTarget, missing_flags, require_bf16, unsupported
from lorkit.export.targets.quiet import quiet

if TYPE_CHECKING:
    from lorkit.profiles import Profile

PACKAGE = "model.pt2"
# torch's loader would unpickle other members of a package
_MEMBERS = ("data/aotinductor/", "archive_format", "archive_version", "byteorder", ".data/", "version")
_FAILURES = (RuntimeError, ValueError, AssertionError, OSError, zipfile.BadZipFile)


class AotiTarget(HostTarget[AotiRequirements]):
    """The `aoti` target."""

    name: ClassVar[str] = "aoti"
    runtime: ClassVar[str] = "torch and a C++ compiler"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "fp32", "bf16": "fp32"}
    built_from: ClassVar[str] = "torch"
    requirements = AotiRequirements
    files: ClassVar[tuple[str, ...]] = (PACKAGE,)
    native: ClassVar[tuple[str, ...]] = (PACKAGE,)
    example: ClassVar[Example] = Example("aoti_example.py", "torch", "aoti_example.py")

    def available(self, profile: Profile | None = None) -> Availability:
        """Tell whether it can be compiled here (a compiler, the profile's CPU or a GPU); loading needs no compiler."""
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            return Availability(
                False, f"there is no C++ compiler '{compiler}'", "apt-get install g++, or name yours in CXX"
            )
        if _device(profile) == CUDA:
            import torch

            if not torch.cuda.is_available():
                return Availability(
                    False,
                    f"profile '{profile.name if profile else ''}' is a GPU, and PyTorch {torch.__version__} sees none",
                    "run it on a machine with the GPU and a CUDA build of PyTorch",
                )
        return unsupported(profile) or Availability(True)

    def fingerprint(self) -> str:
        """Return a digest of PyTorch, the CPU's instruction sets and the GPUs."""
        gpus = [[gpu["name"], gpu.get("sm")] for gpu in fingerprint()["gpus"]]
        return digest_json([tool_versions()["torch"], fingerprint()["platform"], fingerprint()["flags"], gpus])

    def build(self, request: BuildRequest) -> Path:
        """Compile the network for this machine: 10 to 60 seconds, in a temporary directory.

        Raises:
            MissingRuntimeError: A compiler, the profile's hardware, or bf16 in this CPU is missing.
            UsageError: The network does not compile, has a fixed batch, or uses another precision internally.
        """
        if not self.available(request.profile).ok:
            raise missing(self, request.profile)
        device, path = _device(request.profile), request.directory / PACKAGE
        if request.precision == "bf16" and device == CPU:
            require_bf16()
        from lorkit.export.targets.aoti.compilation import compile_network  # imports torch

        try:
            compile_network(request.network, path, request.shape, precision=request.precision, device=device)
        except LorkitError:
            raise
        except _FAILURES as error:
            raise UsageError(
                f"AOTInductor does not compile {type(request.network).__name__} ({first_line(error)})",
                required="a network that torch.export traces with a free batch size",
                fix="change the backbone, or use --target onnx",
            ) from None
        self.write_note(request, shape=list(request.shape), **_here(device))
        return path

    def load(self, directory: Path, *, threads: int | None = None) -> AotiEngine:
        """Load the compiled code; see `lorkit.export.targets.aoti.engine` for the effect of `threads` on the process.

        Raises:
            MissingRuntimeError: It was compiled for a GPU, and there is none.
            ArtifactError: A file is missing or damaged, or was compiled for another PyTorch or another machine.
        """
        note = self.read_note(directory)
        _require_same(note, directory / PACKAGE)
        import torch._inductor

        try:
            _check_members(directory / PACKAGE)
            with quiet("torch", logging.CRITICAL):
                compiled = torch._inductor.aoti_load_package(str(directory / PACKAGE))
            device = str(compiled.get_metadata().get("AOTI_DEVICE_KEY", note.device))
        except _FAILURES as error:
            raise ArtifactError(
                f"PyTorch cannot load {directory / PACKAGE} ({first_line(error)})", required="an intact engine", fix=FIX
            ) from None
        if device != note.device:
            raise ArtifactError(f"{directory / PACKAGE} is code for {device}", required=note.device, fix=FIX)
        return AotiEngine(compiled, note, threads=threads)


def _device(profile: Profile | None) -> str:
    return CUDA if profile is not None and profile.device.kind == "gpu" else CPU


def _here(device: str) -> dict[str, Any]:
    """Return the properties of this machine that compiled code depends on, as a note's fields."""
    import torch

    gpu = {}
    if device == CUDA:
        major, minor = torch.cuda.get_device_capability()
        gpu = {"name": torch.cuda.get_device_name(), "sm": f"{major}.{minor}"}
    host = {"platform": str(fingerprint()["platform"]), "capability": torch.backends.cpu.get_cpu_capability()}
    flags = [str(flag) for flag in fingerprint()["flags"]]
    return {"torch": str(torch.__version__), "device": device, "host": host, "flags": flags, "gpu": gpu}


def _require_same(note: AotiRequirements, path: Path) -> None:
    """Compare a note with this machine: the same PyTorch and GPU, and every instruction set of the code."""
    import torch

    if note.device == CUDA and not torch.cuda.is_available():
        raise MissingRuntimeError(
            f"{path} runs on {note.gpu.get('name', 'a GPU')}, and PyTorch sees no GPU",
            required="that GPU and a CUDA build of PyTorch",
            fix="run it there, or export it for a CPU profile",
        )
    here = _here(note.device)
    lacking = missing_flags(note.flags)
    pairs = {
        "PyTorch": (note.torch, here["torch"]),
        "platform": (note.host.get("platform"), here["host"]["platform"]),
        "CPU capability": (note.host.get("capability"), here["host"]["capability"]),
        "GPU": (note.gpu, here["gpu"]),
    }
    changed = [name for name, (built, found) in pairs.items() if built != found]
    if changed or lacking:
        what = f"for {changed[0]} {pairs[changed[0]][0]}" if changed else f"with {', '.join(lacking)}"
        have = f"{changed[0]} is {pairs[changed[0]][1]}" if changed else "CPU lacks them"
        raise ArtifactError(
            f"{path} was compiled {what[:160]}, and here the {have}", required="the machine that compiled it", fix=FIX
        )


def _check_members(path: Path) -> None:
    with zipfile.ZipFile(path) as package:
        names = package.namelist()
    foreign = [name for name in names if not name.partition("/")[2].startswith(_MEMBERS)]
    if foreign:
        raise ArtifactError(
            f"{path} holds '{foreign[0][:80]}'", required="compiled code and nothing else", fix="do not use this engine"
        )


TARGET = AotiTarget()
