"""The interface of a deployment target: one file in this directory that builds and loads engines from ONNX.

Shapes: N batch, C channels, further axes are space; the engine of one region maps (N, C, *spatial) to (N, classes).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.heads import IMAGE, LOGITS, MIXTURES, MixtureForm
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

    from lorkit.decompose.documents.export import ExportedNetwork
    from lorkit.profiles import Profile

Inputs = Mapping[str, NDArray[Any]]
"""Arrays (N, ...) by the names of a network's inputs: `image` or `nodes`, and for some `region` (N,) int64."""
Outputs = dict[str, Float32Array]
"""Arrays (N, ...) by the names of a network's outputs."""
NetworkForm = Literal["single", "nodes", MixtureForm]
SINGLE: Literal["single"] = "single"
"""A network of one region: images to logits."""
NODES: Literal["nodes"] = "nodes"
"""A network of one region: prepared nodes of a graph to logits."""
ALL_FORMS: tuple[NetworkForm, ...] = (SINGLE, NODES, *MIXTURES)
BatchTimer = Callable[[Inputs], float]
MODEL = "model.onnx"


@dataclass(frozen=True)
class Availability:
    """Whether a target can be built and run here, and if not, why and how to change that.

    Attributes:
        ok: It can be built here.
        reason: Why it cannot be built.
        install: How to change that, or where else the export can run.
        runs: Exports can also run here.
        cannot_run_because: Why they cannot run here although they can be built.
    """

    ok: bool
    reason: str = ""
    install: str = ""
    runs: bool = True
    cannot_run_because: str = ""

    @classmethod
    def only_built(cls, why: str, elsewhere: str) -> Availability:
        """Return that it can be built here but not run, with the reason and where it can run."""
        return cls(True, install=elsewhere, runs=False, cannot_run_because=why)


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """Inputs of an engine's build.

    Attributes:
        directory: The export, with `model.onnx`, the canonical file at `graph_precision`; the engine is written to it.
        network: The same network in torch, fp32, on the CPU, in eval mode, for targets compiled from torch.
        precision: One of the target's `precisions`.
        profile: Hardware; its batch range bounds an optimisation profile.
        shape: (C, *spatial) of one image.
        info: Description of the network.
        images: (n, C, *spatial), a few that the export may contain, for warm-up or tests.
        allow_synthetic: Whether a serving target may use a network that was trained on drawn images only.
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
        """Whether the network returns maps."""
        from lorkit.decompose.tasks import get_task  # imports SciPy, which listing the targets does not need

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
        needs: Requirements besides numpy and Pillow.
        name: Its name beside the engine.
    """

    source: str
    needs: str
    name: str


ONNX_EXAMPLE = Example("example.py", "onnxruntime", "example.py")
"""Example for the canonical file, in every export; others import from it."""
NODE_EXAMPLE = Example("node_example.py", "onnxruntime", "example.py")
"""Example for the canonical file of a network of nodes."""
WINDOWS = Example("windows.py", "numpy", "windows.py")
"""What all examples of a network that takes windows of volumes need."""


class Engine(ABC):
    """A loaded network; `close`, or the end of a `with`, releases it.

    Args:
        network: The network as loaded by the runtime.
        provider: The provider that runs it, as reported by the runtime.

    Attributes:
        first_input: Name of the input that `run` feeds.
    """

    first_input = IMAGE

    def __init__(self, network: Any, provider: str) -> None:
        self._network, self.provider = network, provider

    @abstractmethod
    def infer(self, inputs: Inputs) -> Outputs:
        """Return all outputs of a batch by name."""

    def run(self, batch: Float32Array) -> Float32Array:
        """Return the logits (N, classes) of a batch (N, C, *spatial) float32; of networks with one input and output."""
        (logits,) = self.infer({self.first_input: batch}).values()
        return logits

    @property
    def device_timer(self) -> BatchTimer | None:
        """Function that returns the GPU's milliseconds for a batch without copies; None if it cannot be measured."""
        return None

    def close(self) -> None:
        """Release the engine; it cannot run afterwards."""
        self._network = None

    def _opened(self) -> Any:
        """Return the network.

        Raises:
            ArtifactError: The engine is closed.
        """
        if self._network is None:
            raise ArtifactError("the engine is closed", required="an open engine", fix="load it again")
        return self._network

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class SingleEngine(Engine):
    """An engine of a runtime that takes one input and gives one output."""

    @abstractmethod
    def run(self, batch: Float32Array) -> Float32Array:
        """Return the logits (N, classes) of a batch (N, C, *spatial) float32."""

    def infer(self, inputs: Inputs) -> Outputs:
        """Return the logits of the images."""
        return {LOGITS: self.run(inputs[IMAGE])}


class Target(ABC):
    """A deployment format.

    Attributes:
        name: Name for `--target`.
        runtime: Its library.
        precisions: Precisions of engines, each with the precision of the ONNX file: the same, unless the runtime lowers
            a file of higher precision itself.
        quantization: How int8 files are quantised for it: `asymmetric` (uint8 activations, for CPUs; `reduced` for
            profiles without VNNI) or `symmetric` (int8 activations, no quantised bias, for TensorRT).
        example: Its standalone example; `ONNX_EXAMPLE`, for the canonical file, if only lorkit can run the engine.
        built_from: `onnx`, or `torch` if the network itself is compiled.
        forms: Networks that it takes: those of one region, of nodes, routers, networks by region id.
        default_profile: Default profile if this machine's is a CPU; None for the machine's.
        leaves: Files that `leave` writes.
        native: Files of every engine that are code of its author, which runs when they are loaded.
        packages: It wraps an engine of another target for a server or another tool, so it is no faster than that.
    """

    name: ClassVar[str]
    runtime: ClassVar[str]
    precisions: ClassVar[Mapping[str, str]]
    quantization: ClassVar[str] = "asymmetric"
    built_from: ClassVar[str] = "onnx"
    forms: ClassVar[tuple[NetworkForm, ...]] = (SINGLE,)
    example: ClassVar[Example] = ONNX_EXAMPLE
    default_profile: ClassVar[str | None] = None
    leaves: ClassVar[tuple[str, ...]] = ()
    native: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[bool] = False

    def code_in(self, directory: Path) -> tuple[str, ...]:
        """Return the files of the engine in a directory that are code of its author."""
        return self.native

    @abstractmethod
    def available(self, profile: Profile | None = None) -> Availability:
        """Return whether it can be built and run here, for the hardware of `profile` if given."""

    @abstractmethod
    def build(self, request: BuildRequest) -> Path:
        """Build an engine into the request's directory and return its file.

        Raises:
            MissingRuntimeError: It cannot be built here.
            UsageError: The runtime refuses the network.
        """

    @abstractmethod
    def load(self, directory: Path, *, threads: int | None = None) -> Engine:
        """Load the engine in `directory`.

        Raises:
            MissingRuntimeError: It cannot run here.
            ArtifactError: The engine file is missing or not readable.
        """

    def fingerprint(self) -> str:
        """Return all that an engine depends on besides its ONNX: a change makes an export out of date."""
        return ""

    def unquantised(self, model: ModelProto) -> list[str]:
        """Return the nodes of a float32 graph that stay so in int8, because the runtime takes them in no other way."""
        return []

    def require(self, profile: Profile) -> None:  # noqa: B027 - most build for any
        """Raise UsageError unless it builds for the hardware of `profile`, MissingRuntimeError if that has no GPU."""

    def leave(self, directory: Path, profile: Profile, command: str, parent: str) -> None:  # noqa: B027 - most have none
        """Write what another machine needs, beside `model.onnx`, where the target cannot be built here.

        Args:
            directory: The export.
            profile: The hardware of that machine.
            command: The command of lorkit to run there.
            parent: What the command needs there, in words.
        """

    def outdated(self, directory: Path, profile: Profile) -> str:
        """Return the reason why an engine in `directory` is out of date; empty if it is not."""
        return ""


def shapes_of(inputs: Inputs) -> str:
    """Return in words the shape of each input."""
    shapes = [f"{name} {tuple(values.shape)}" for name, values in inputs.items()]
    return f"shape {shapes[0].partition(' ')[2]}" if len(inputs) == 1 else ", ".join(shapes)


def batches(inputs: Inputs, size: int) -> Iterator[tuple[slice, dict[str, NDArray[Any]]]]:
    """Yield the inputs in batches of at most `size` images, each with its place."""
    for start in range(0, len(next(iter(inputs.values()))), size):
        part = slice(start, start + size)
        yield part, {name: values[part] for name, values in inputs.items()}


def joined(results: Sequence[Outputs]) -> Outputs:
    """Return the outputs of consecutive batches as one."""
    return {name: np.concatenate([one[name] for one in results]) for name in results[0]}


def missing(target: Target, profile: Profile | None = None) -> MissingRuntimeError:
    """Return the error of a target that cannot be built or run here: what is missing and how to get it."""
    availability = target.available(profile)
    lacking = "run here" if availability.ok else "be built or run here"
    return MissingRuntimeError(
        f"target '{target.name}' cannot {lacking}: {availability.reason or availability.cannot_run_because}",
        required=target.runtime,
        fix=availability.install,
    )
