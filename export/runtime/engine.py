"""Load an export and run it, with a clear error for every invalid input.

Needs the target's runtime and numpy, not torch. Shapes: N batch, C channels, further axes are space.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.artifacts.manifest import replaced
from lorkit.decompose.documents.heads import REGION
from lorkit.decompose.documents.verify import NoParity
from lorkit.decompose.errors import DataError, MissingRuntimeError, plural
from lorkit.export.runtime.exported import Exported, read_exported
from lorkit.export.runtime.native_code import require_trusted
from lorkit.export.runtime.outputs import require_finite
from lorkit.export.targets import Engine, get_target
from lorkit.export.targets.base import BatchTimer, Inputs, Outputs


class CheckedEngine(Engine):
    """An engine that refuses inputs that its network does not support.

    Attributes:
        exported: The export that it was loaded from.
    """

    def __init__(self, engine: Engine, exported: Exported) -> None:
        super().__init__(engine, engine.provider)
        self.exported, self._shape = exported, exported.shape
        self.first_input, self._cases = exported.info.inputs[0], exported.region.words.cases

    @property
    def device_timer(self) -> BatchTimer | None:
        """The timer of its runtime."""
        timer: BatchTimer | None = self._network.device_timer
        return timer

    def infer(self, inputs: Inputs) -> Outputs:
        """Return all outputs of a batch: images (N, C, *spatial) float32 in [0, 1], and what else the network takes.

        Raises:
            DataError: Other inputs than those of the network, another dtype, number of channels or size, an empty
                batch, NaN or infinity in inputs or outputs, or an index of no region.
        """
        taken = self.exported.info.inputs
        if set(inputs) != set(taken):
            raise DataError(
                f"the inputs {', '.join(inputs)}",
                required=f"{', '.join(taken)}, which {self.exported.path} takes",
                fix="give it each of them",
            )
        first = self.first_input
        images = self._images(inputs[first])
        if len(taken) > 1:
            self._check_regions(inputs[REGION], len(images))
        found: Outputs = self._network.infer({name: images if name == first else inputs[name] for name in taken})
        require_finite(found, self.exported.path)
        return found

    def run(self, batch: Float32Array) -> Float32Array:
        """Return the logits (N, classes) of a batch (N, C, *spatial) of float32 in [0, 1]; errors as in `infer`."""
        return super().run(batch)

    def _images(self, batch: NDArray[Any]) -> NDArray[Any]:
        if batch.dtype != np.float32 or batch.shape[1:] != self._shape or len(batch) == 0:
            raise self._refusal(batch)
        if not batch.flags.c_contiguous:
            batch = np.ascontiguousarray(batch)
        # one pass over the memory: a sum is finite unless a value is not (or the values are beyond 1e38)
        if not np.isfinite(batch.sum()) and not np.isfinite(batch).all():
            fix = f"repair the {self._cases}"
            raise DataError("batch with NaN or infinite values", required="finite values", fix=fix)
        return batch

    def _check_regions(self, region_N: NDArray[Any], count: int) -> None:
        known = len(self.exported.info.heads)
        whole = region_N.dtype == np.int64 and region_N.shape == (count,)
        if not whole or region_N.min() < 0 or region_N.max() >= known:
            names = ", ".join(f"{index} {head.region}" for index, head in enumerate(self.exported.info.heads))
            values = f": {region_N.tolist()}" if whole else ""
            raise DataError(
                f"regions of {region_N.dtype} with shape {region_N.shape}{values}",
                required=f"int64 of shape ({count},), each one of {names}",
                fix="give the index of each image's region",
            )

    def close(self) -> None:
        """Release the engine."""
        self._network.close()

    def _refusal(self, batch: Float32Array) -> DataError:
        wanted = f"float32 of shape (N, {', '.join(map(str, self._shape))}) with N >= 1"
        given = f"batch of {batch.dtype} with shape {tuple(batch.shape)}"
        if batch.ndim == len(self._shape):
            return DataError(given, required=wanted, fix="add a leading axis for the batch")
        by_channel = self.exported.recipe.nodes is None and batch.ndim == len(self._shape) + 1
        if by_channel and batch.shape[1] != self._shape[0]:
            channels = plural(self._shape[0], "channel")
            return DataError(given, required=wanted, fix=f"prepare the {self._cases} with {channels}")
        return DataError(given, required=wanted, fix=f"prepare the {self._cases} with the export's recipe")


def load_engine(directory: Path | str, *, threads: int | None = None) -> CheckedEngine:
    """Load an export's engine after checking every file of it.

    Args:
        directory: An export.
        threads: CPU threads; the runtime's choice by default.

    Raises:
        ArtifactError: It is not an export, is damaged, or is compiled code that this machine did not build (see
            `trust_native`).
        MissingRuntimeError: Its runtime or hardware is missing, or another provider than recorded would run it.
    """
    return engine_of(read_exported(Path(directory)), threads=threads)


def engine_of(exported: Exported, *, threads: int | None = None) -> CheckedEngine:
    """Load the engine of an export whose files were checked just now; errors are those of `load_engine`."""
    info, directory = exported.info, exported.path
    if "engine_file" in info.model_fields_set and info.engine_file is None:
        reason = info.parity.reason if isinstance(info.parity, NoParity) else ""
        raise MissingRuntimeError(
            f"{directory} has no engine: {reason or 'it could not be built'}",
            required=info.runtime or info.target,
            fix=f"export it with --target {info.target} --profile {info.profile} where that can be built",
        )
    require_trusted(get_target(info.target), exported.path, exported.manifest.files)
    engine = get_target(info.target).load(exported.path, threads=threads)
    recorded = info.provider
    if recorded is not None and engine.provider != recorded:
        engine.close()
        raise MissingRuntimeError(
            f"{engine.provider} would run {directory}", required=recorded, fix="export it again on this machine"
        )
    return CheckedEngine(engine, exported)


def load_opened(opened: Exported, *, threads: int | None = None) -> CheckedEngine:
    """Load the engine of an export that was opened before, so that what is measured is what the digest names.

    Raises:
        BusyError: It was replaced since.
        ArtifactError: As `load_engine`.
        MissingRuntimeError: As `load_engine`.
    """
    engine = load_engine(opened.path, threads=threads)
    if engine.exported.manifest.digest != opened.manifest.digest:
        engine.close()
        raise replaced(opened.manifest)
    return engine
