"""What a deployment target is: one file in this directory that builds and loads engines from ONNX.

Shapes: N batch, C channels, further axes are space; an engine takes (N, C, *spatial) and gives (N, classes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.errors import MissingRuntimeError

if TYPE_CHECKING:
    from torch import nn

    from lorkit.decompose.documents.export import ExportedNetwork
    from lorkit.profiles import Profile

MODEL = "model.onnx"


@dataclass(frozen=True)
class Availability:
    """Whether a target can be built and run here, and if not, why not and how to change that.

    Attributes:
        ok: It can be built here.
        reason: Why it cannot be built.
        install: How to change that, or where else what was built can run.
        runs: What was built can also run here.
        cannot_run_because: Why it cannot run here although it can be built.
    """

    ok: bool
    reason: str = ""
    install: str = ""
    runs: bool = True
    cannot_run_because: str = ""


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What an engine is built from, and for.

    Attributes:
        directory: The export: `model.onnx`, the canonical file at `graph_precision`, lies there already, and the engine
            goes there.
        network: The same network in torch, fp32, on the CPU, in eval mode: for what is compiled from torch.
        precision: One of the target's `precisions`.
        profile: Hardware that it is built for; its batch range bounds an optimisation profile.
        shape: (C, *spatial) of one image.
        info: What the network is.
        images: (n, C, *spatial), a few that may be kept in the export: they warm an engine up, or try it.
        allow_synthetic: Whether a target that serves may take a network that has only seen drawings.
    """

    directory: Path
    network: nn.Module = field(repr=False)
    precision: str
    profile: Profile
    shape: tuple[int, ...]
    info: ExportedNetwork
    images: Float32Array = field(repr=False)
    allow_synthetic: bool = False

    @property
    def dense(self) -> bool:
        """Whether the network answers with maps."""
        from lorkit.decompose.tasks import get_task  # SciPy comes with it, which listing the targets need not pay

        return get_task(self.info.task).dense

    @property
    def onnx_path(self) -> Path:
        """The canonical file."""
        return self.directory / MODEL


@dataclass(frozen=True)
class Example:
    """A script that runs one image through an engine without lorkit.

    Attributes:
        source: Its file in this package.
        needs: What to install besides numpy and Pillow.
        name: Its name beside the engine.
    """

    source: str
    needs: str
    name: str


ONNX_EXAMPLE = Example("example.py", "onnxruntime", "example.py")
"""Runs the canonical file; it is in every export, and the others borrow from it."""


@runtime_checkable
class Engine(Protocol):
    """A loaded network."""

    @property
    def provider(self) -> str:
        """What runs it, as the runtime itself reports."""
        ...

    def run(self, batch: Float32Array) -> Float32Array:
        """Return the logits (N, classes) of a batch (N, C, *spatial) float32."""
        ...

    def close(self) -> None:
        """Release what it holds; it cannot run afterwards."""
        ...


@runtime_checkable
class DeviceTimed(Protocol):
    """What an engine adds whose GPU can be asked for its own time, by events on the stream that it runs on."""

    @property
    def device_timer(self) -> Callable[[Float32Array], float] | None:
        """What returns the GPU's milliseconds for a batch, copies left out; None where it runs on a CPU."""
        ...


class Target(Protocol):
    """A deployment format.

    Attributes:
        name: What `--target` calls it.
        runtime: The library that runs it.
        precisions: What it can build, each with the precision of the ONNX file that it takes: the same, unless its
            runtime lowers a file of higher precision itself.
        quantization: How int8 files are quantised for it: `asymmetric` (uint8 activations, for CPUs; `reduced` for
            profiles without VNNI) or `symmetric` (int8 activations, no quantised bias, for TensorRT).
        example: How its engine runs by itself; `ONNX_EXAMPLE` where only lorkit can, and the canonical file stands in.
        built_from: `onnx`, or `torch` where the network itself is compiled and the file lies beside it.
    """

    name: ClassVar[str]
    runtime: ClassVar[str]
    precisions: ClassVar[Mapping[str, str]]
    quantization: ClassVar[str]
    built_from: ClassVar[str]
    example: ClassVar[Example]

    def available(self, profile: Profile | None = None) -> Availability:
        """Tell whether it can be built and run here; for the hardware of `profile` where one is given."""
        ...

    def fingerprint(self) -> str:
        """Return what a built engine depends on besides its ONNX: a change makes an export out of date."""
        ...

    def build(self, request: BuildRequest) -> Path:
        """Build an engine into the request's directory and return its file.

        Raises:
            MissingRuntimeError: It cannot be built here.
            UsageError: The runtime refuses the network.
        """
        ...

    def load(self, directory: Path, *, threads: int | None = None) -> Engine:
        """Load the engine that `build` wrote into `directory`.

        Raises:
            MissingRuntimeError: It cannot run here.
            ArtifactError: The engine file is missing or not readable.
        """
        ...


@runtime_checkable
class HardwareBound(Protocol):
    """What a target adds whose engines are for one kind of hardware.

    Attributes:
        default_profile: Profile that is taken when none is named and this machine's is a CPU; None for the machine's.
    """

    default_profile: ClassVar[str | None]

    def require(self, profile: Profile) -> None:
        """Check that it builds for the hardware of `profile`.

        Raises:
            UsageError: It does not.
        """
        ...

    def outdated(self, directory: Path, profile: Profile) -> str:
        """Return why an engine that lies in `directory` is not what would be built now; empty where it is."""
        ...


def missing(target: Target, profile: Profile | None = None) -> MissingRuntimeError:
    """Return the error of a target that cannot be built or run here: what is missing and how to get it."""
    availability = target.available(profile)
    lacking = "run here" if availability.ok else "be built or run here"
    return MissingRuntimeError(
        f"target '{target.name}' cannot {lacking}: {availability.reason or availability.cannot_run_because}",
        required=target.runtime,
        fix=availability.install,
    )
