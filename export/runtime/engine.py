"""Load an export and run it, with a clear error for every invalid input.

Needs the target's runtime and numpy, not torch. Shapes: N batch, C channels, further axes are space.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.verify import NoParity
from lorkit.decompose.errors import DataError, MissingRuntimeError, plural
from lorkit.export.runtime.exported import Exported, read_exported
from lorkit.export.targets import Engine, get_target
from lorkit.export.targets.gpu_timer import timer_of


class CheckedEngine:
    """An engine that refuses inputs that its network does not support.

    Attributes:
        exported: The export that it was loaded from.
        device_timer: Returns the GPU's milliseconds for a batch; None on a CPU, or if the runtime does not support it.
    """

    def __init__(self, engine: Engine, exported: Exported) -> None:
        self._engine, self.exported = engine, exported
        self._shape = exported.shape
        self._run = engine.run
        self.device_timer = timer_of(engine)

    @property
    def provider(self) -> str:
        """The provider that runs it, as reported by the runtime."""
        return self._engine.provider

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *spatial) of one image."""
        return self._shape

    def run(self, batch: Float32Array) -> Float32Array:
        """Return the logits (N, classes) of a batch (N, C, *spatial) of float32 in [0, 1].

        Raises:
            DataError: Another dtype, number of channels or size, an empty batch, NaN or infinity.
        """
        if batch.dtype != np.float32 or batch.shape[1:] != self._shape or len(batch) == 0:
            raise self._refusal(batch)
        if not batch.flags.c_contiguous:
            batch = np.ascontiguousarray(batch)
        # one pass over the memory: a sum is finite unless a value is not (or the values are beyond 1e38)
        if not np.isfinite(batch.sum()) and not np.isfinite(batch).all():
            raise DataError("batch with NaN or infinite values", required="finite values", fix="repair the images")
        return self._run(batch)

    def close(self) -> None:
        """Release the engine."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refusal(self, batch: Float32Array) -> DataError:
        wanted = f"float32 of shape (N, {', '.join(map(str, self._shape))}) with N >= 1"
        given = f"batch of {batch.dtype} with shape {tuple(batch.shape)}"
        if batch.ndim == len(self._shape):
            return DataError(given, required=wanted, fix="add a leading axis for the batch")
        if batch.ndim == len(self._shape) + 1 and batch.shape[1] != self._shape[0]:
            return DataError(given, required=wanted, fix=f"prepare the images with {plural(self._shape[0], 'channel')}")
        return DataError(given, required=wanted, fix="prepare the images with the export's recipe")


def load_engine(directory: Path | str, *, threads: int | None = None) -> CheckedEngine:
    """Load an export's engine after checking every file of it.

    Args:
        directory: An export.
        threads: CPU threads; the runtime's choice by default.

    Raises:
        ArtifactError: It is not an export, or is damaged.
        MissingRuntimeError: Its runtime or hardware is missing, or another provider than recorded would run it.
    """
    exported = read_exported(Path(directory))
    info = exported.info
    if "engine" in info.model_fields_set and info.engine is None:
        reason = info.parity.reason if isinstance(info.parity, NoParity) else ""
        raise MissingRuntimeError(
            f"{directory} holds no engine: {reason or 'it could not be built'}",
            required=info.runtime or info.target,
            fix=f"export it with --target {info.target} --profile {info.profile} where that can be built",
        )
    engine = get_target(info.target).load(exported.path, threads=threads)
    recorded = info.provider
    if recorded is not None and engine.provider != recorded:
        engine.close()
        raise MissingRuntimeError(
            f"{engine.provider} would run {directory}", required=recorded, fix="export it again on this machine"
        )
    return CheckedEngine(engine, exported)
