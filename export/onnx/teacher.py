"""A foundation as an ONNX file, run by ONNX Runtime, with features named by tensor.

Only the file's graph runs, in ONNX Runtime, with the named tensors as outputs. The command line opens the file and
passes it to training as a `Teacher`.

Shapes: N images, C channels, S tokens, D width.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorkit.decompose.artifacts import digest_file
from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.artifacts.weights import check_size
from lorkit.decompose.config import Config, ImageConfig
from lorkit.decompose.data.readers.registry import expected_task
from lorkit.decompose.errors import ArtifactError, DataError, UsageError, first_line, refuse_special, refusing_damage
from lorkit.decompose.models.backbones.stage_adapters import upsample_and_concatenate
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.tasks import get_task
from lorkit.export.onnx.conversion import MAX_BYTES
from lorkit.export.runtime.graph_file import files_of_weights
from lorkit.export.targets.inference_limits import run_within_limits
from lorkit.export.targets.onnx import PROVIDER, runtime_errors

_NEAREST = 3


class OnnxTeacher:
    """An ONNX file as a foundation.

    Args:
        path: The file; external data must be in its folder.
        image: Its image settings.
        features: Names of the tensors of its stages, coarse last: (N, C, *grid), or tokens (N, S, D).
        pooled: Name of the tensor of its pooled features (N, F), or of a grid that is averaged; None takes the last of
            `features`.
        dense: For segmentation: `pooled` names a grid, which is upsampled to the image; None concatenates all upsampled
            `features`.

    Raises:
        DataError: There is no such file.
        ArtifactError: It is not a graph for ONNX Runtime, or has data outside of its folder.
        UsageError: It has no such tensor, a fixed batch, or another input.
    """

    def __init__(
        self, path: Path, image: ImageConfig, features: Sequence[str], pooled: str | None, *, dense: bool = False
    ) -> None:
        model, files = _read(path)
        self.image, self._joins, self._dense = image, dense and pooled is None, dense
        self._names = [*features, pooled if pooled is not None else features[-1]]
        content = [digest_file(file) for file in (path, *files)]
        content += ["maps"] if dense else []
        self.digest = hashlib.sha256("\n".join([*content, *self._names]).encode()).hexdigest()
        self._input = _checked_input(model.graph, image, path)
        _expose(model, self._names, path)
        self._session = _session(model, path)

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxTeacher:
        """Return itself: it is frozen, and sessions cannot be copied."""
        return self

    def features(self, image: Tensor) -> TeacherFeatures:
        """Return the stages and the pooled features of normalised images (N, C, *size), on their device."""
        batch = np.ascontiguousarray(image.detach().float().cpu().numpy())
        try:
            found = run_within_limits(self._session, list(dict.fromkeys(self._names)), {self._input: batch})
        except runtime_errors() as error:
            raise UsageError(
                f"ONNX Runtime cannot run the teacher on a batch of {len(batch)} ({first_line(error)})",
                required="a graph with a free batch for images of foundation.image",
                fix="export it again with a dynamic batch axis",
            ) from None
        values = dict(zip(dict.fromkeys(self._names), found, strict=True))
        *stages, pooled = self._names
        grids = tuple(torch.from_numpy(_grid(name, values[name])).to(image.device) for name in stages)
        if self._dense:
            maps = grids if self._joins else (torch.from_numpy(_grid(pooled, values[pooled])).to(image.device),)
            return TeacherFeatures(grids, upsample_and_concatenate(maps, image.shape[2:]))
        return TeacherFeatures(grids, torch.from_numpy(_pooled(pooled, values[pooled])).to(image.device))


def open_teacher(config: Config) -> OnnxTeacher | None:
    """Open the ONNX file in `foundation.weights`; None if it is something else. Raises as `OnnxTeacher`."""
    given = config.foundation
    if not given.is_onnx:
        return None
    dense = get_task(expected_task(config)).dense
    return OnnxTeacher(Path(str(given.weights)), config.foundation_image, given.features, given.pooled, dense=dense)


def _read(path: Path) -> tuple[onnx.ModelProto, list[Path]]:
    """Read a graph without its external data, and return the files of these."""
    refuse_special(path)
    if not path.is_file():
        raise DataError(f"foundation.weights: no file {path}", required="an ONNX file", fix="correct the path")
    if path.stat().st_size > MAX_BYTES:
        raise ArtifactError(
            f"{path} has {path.stat().st_size} bytes",
            required="an ONNX model of less than 2 GiB",
            fix="keep its weights in files beside it",
        )
    with refusing_damage(
        path, required="an ONNX model", fix="export it again", said="cannot be read as ONNX", kind=ArtifactError
    ):
        model = onnx.load(str(path), load_external_data=False)
    files = sorted(files_of_weights(model, path))
    for file in files:
        check_size(file)
    return model, files


def _checked_input(graph: onnx.GraphProto, image: ImageConfig, path: Path) -> str:
    """Return the name of the only input, which must accept prepared images in batches of any size."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    kinds = [value.type.tensor_type.elem_type for value in inputs]
    if len(inputs) != 1 or kinds != [onnx.TensorProto.FLOAT]:
        raise UsageError(
            f"{path} takes {len(inputs)} inputs ({', '.join(value.name for value in inputs)})",
            required="one input, images of float32",
            fix="export the image encoder alone, in float32",
        )
    name, sides = inputs[0].name, [side.dim_value or None for side in inputs[0].type.tensor_type.shape.dim]
    if sides and sides[0] is not None:
        raise UsageError(
            f"{path} fixes the batch of '{name}' at {sides[0]}",
            required="a dynamic batch axis",
            fix="export it again with a free first axis",
        )
    wanted = (image.channels, *image.size)
    fits = len(sides) == 1 + len(wanted) and all(a in (None, b) for a, b in zip(sides[1:], wanted, strict=True))
    if sides and not fits:
        given = " x ".join("?" if side is None else str(side) for side in sides[1:])
        raise UsageError(
            f"{path} takes images {given}, foundation.image is {' x '.join(map(str, wanted))}",
            required="the same channels and size",
            fix="state them in foundation.image: {size: ..., channels: ..., mean: ..., std: ...}",
        )
    return str(name)


def _expose(model: onnx.ModelProto, names: Sequence[str], path: Path) -> None:
    """Make the named tensors the outputs of a graph, in place, and remove nodes that are no longer needed."""
    known = [name for node in model.graph.node for name in node.output if name]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=_NEAREST, cutoff=0.3) or known[-_NEAREST:]
            raise UsageError(
                f"{path} has no tensor '{name}'",
                required=f"one of its {len(known)} tensors, such as {', '.join(near)}",
                fix="correct foundation.features or foundation.pooled",
            )
    typed = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    wanted = [typed.get(name, onnx.ValueInfoProto(name=name)) for name in dict.fromkeys(names)]
    outputs = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in wanted]
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def _session(model: onnx.ModelProto, path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.resolve().parent))
    with refusing_damage(
        path, required="a graph of standard operators", fix="export it again", said="does not load in ONNX Runtime",
        kind=ArtifactError,
    ):  # fmt: skip
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[PROVIDER])


def _grid(name: str, value: NDArray[Any]) -> Float32Array:
    """Return (N, C, *grid); tokens (N, S, D) become a square grid, without a leading class token."""
    if value.ndim >= 4:
        return value.astype(np.float32, copy=False)
    if value.ndim == 3:
        for first in (0, 1):
            side = math.isqrt(value.shape[1] - first)
            if side and side * side == value.shape[1] - first:
                tokens = value[:, first:].transpose(0, 2, 1)
                return np.ascontiguousarray(tokens.reshape(*tokens.shape[:2], side, side), dtype=np.float32)
    raise _other_shape(name, value, "a stage (N, C, *grid), or tokens (N, S, D) of a square grid", "features")


def _pooled(name: str, value: NDArray[Any]) -> Float32Array:
    if value.ndim in (2, 4, 5):
        pooled: Float32Array = value.astype(np.float32).mean(axis=tuple(range(2, value.ndim)))
        return pooled
    raise _other_shape(name, value, "pooled features (N, F), or a grid (N, C, *grid) to average", "pooled")


def _other_shape(name: str, value: NDArray[Any], required: str, key: str) -> UsageError:
    given = f"tensor '{name}' of the teacher has shape {list(value.shape)}"
    return UsageError(given, required=required, fix=f"name another tensor in foundation.{key}")
