"""What a deployment target is: one file in this directory that builds and loads engines from ONNX.

Shapes: N batch, C channels, further axes are space; an engine takes (N, C, *spatial) and gives (N, classes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.errors import MissingRuntimeError

if TYPE_CHECKING:
    from lorkit.profiles import Profile

Floats = NDArray[np.float32]
MODEL = "model.onnx"


@dataclass(frozen=True)
class Availability:
    """Whether a target can be built and run here, and if not, why not and how to change that."""

    ok: bool
    reason: str = ""
    install: str = ""


@runtime_checkable
class Engine(Protocol):
    """A loaded network."""

    @property
    def provider(self) -> str:
        """What runs it, as the runtime itself reports."""
        ...

    def run(self, batch: Floats) -> Floats:
        """Return the logits (N, classes) of a batch (N, C, *spatial) float32."""
        ...

    def close(self) -> None:
        """Release what it holds; it cannot run afterwards."""
        ...


class Target(Protocol):
    """A deployment format.

    Attributes:
        name: What `--target` calls it.
        runtime: The library that runs it.
        precisions: What it can build now.
    """

    name: ClassVar[str]
    runtime: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]

    def available(self) -> Availability:
        """Tell whether it can be built here."""
        ...

    def fingerprint(self) -> str:
        """Return what a built engine depends on besides its ONNX: a change makes an export out of date."""
        ...

    def build(
        self, onnx_path: Path, directory: Path, *, precision: str, profile: Profile, shape: Sequence[int]
    ) -> Path:
        """Build the engine of an ONNX file into `directory` and return its file.

        Args:
            onnx_path: The canonical file.
            directory: Where the engine goes.
            precision: One of `precisions`.
            profile: Hardware that it is built for; its batch range bounds an optimisation profile.
            shape: (C, *spatial) of one image.

        Raises:
            MissingRuntimeError: It cannot be built here.
        """
        ...

    def load(self, directory: Path, *, threads: int | None = None) -> Engine:
        """Load the engine that `build` wrote into `directory`.

        Raises:
            MissingRuntimeError: It cannot run here.
            ArtifactError: The engine file is missing or not readable.
        """
        ...


def missing(target: Target) -> MissingRuntimeError:
    """Return the error of a target that cannot be built or run here: what is missing and how to get it."""
    availability = target.available()
    return MissingRuntimeError(
        f"target '{target.name}' cannot be built or run here: {availability.reason}",
        required=target.runtime,
        fix=availability.install,
    )
