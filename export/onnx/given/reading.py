"""Read an ONNX file that another tool wrote, and refuse what cannot be one image network, by name.

The file is not trusted: nothing of it runs here, and weights outside of it must lie in its folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, inliner

from lorkit.decompose.errors import ArtifactError, MissingDataError, UsageError, refuse_special, refusing_damage
from lorkit.export.onnx.conversion import MAX_BYTES
from lorkit.export.runtime.graph_file import files_of_weights

_FLOATS = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
_OURS = ("", "ai.onnx", "com.microsoft")
_REQUIRED = "one input with images and one output with logits or masks"
Sides = tuple[int | None, ...]


@dataclass(frozen=True)
class GivenFile:
    """An ONNX file with one image input and one output.

    Attributes:
        path: Where it was read.
        model: Its graph, with weights inside and functions inlined.
        input_name: Name of its input.
        input_shape: As stated; None is free.
        output_name: Name of its output.
    """

    path: Path
    model: onnx.ModelProto
    input_name: str
    input_shape: Sides
    output_name: str

    @property
    def opset(self) -> int:
        """Its set of standard operators."""
        return max((one.version for one in self.model.opset_import if one.domain in ("", "ai.onnx")), default=0)

    @property
    def told(self) -> str:
        """What it says of its input and output, in words."""
        return f"its input '{self.input_name}' is {shape_text(self.input_shape)}, its output '{self.output_name}'"


def shape_text(sides: Sequence[int | None]) -> str:
    """Return a shape in words; a free side is `?`."""
    return " x ".join("?" if side is None else str(side) for side in sides) or "of no stated shape"


def read_given(path: Path) -> GivenFile:
    """Read an ONNX file.

    Raises:
        MissingDataError: There is no such file.
        ArtifactError: It is no ONNX file, or keeps weights outside of its folder.
        UsageError: It has several inputs or outputs, an input that is no image of a fixed size, or operators of others.
    """
    refuse_special(path)
    if not path.is_file():
        raise MissingDataError(f"no file {path}", required="an ONNX file", fix="check the path")
    model = _load(path)
    _refuse_operators(model, path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    for word, values in (("input", inputs), ("output", model.graph.output)):
        if len(values) != 1:
            names = ", ".join(value.name for value in values) or "none"
            raise _refused(f"{path} has {len(values)} {word}s ({names})", f"export the network with one {word}")
        _check_type(path, word, values[0])
    (given,), (output,) = inputs, model.graph.output
    return GivenFile(path, model, given.name, _image_shape(path, given), output.name)


def _load(path: Path) -> onnx.ModelProto:
    """Read a file with the weights that lie beside it, in one message."""
    _check_size(path, path.stat().st_size)
    with refusing_damage(
        path, required="an ONNX model", fix="export it again", said="cannot be read as ONNX", kind=ArtifactError
    ):
        model = onnx.load(str(path), load_external_data=False)
        outside = files_of_weights(model, path)
        _check_size(path, path.stat().st_size + sum(file.stat().st_size for file in outside))
        if outside:
            model = onnx.load(str(path))
        onnx.checker.check_model(model)
        return inliner.inline_local_functions(model) if model.functions else model


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise UsageError(
            f"{path} has {size} bytes with its weights", required="less than 2 GiB", fix="export a smaller network"
        )


def _refuse_operators(model: onnx.ModelProto, path: Path) -> None:
    strange = sorted({f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in _OURS})
    if strange:
        raise UsageError(
            f"{path} has operators that no runtime here knows: {', '.join(strange[:3])}",
            required="standard ONNX operators",
            fix="export it without operators of other domains",
        )


def _check_type(path: Path, word: str, value: onnx.ValueInfoProto) -> None:
    kind = value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else TensorProto.UNDEFINED
    if kind in _FLOATS:
        return
    found = TensorProto.DataType.Name(kind).lower() if kind else "no tensor"
    fix = "export it with an image of floats"
    if word == "output":
        fix = "export the logits, before the largest is taken"
    raise UsageError(f"{word} '{value.name}' of {path} is {found}", required="float32 or float16", fix=fix)


def _image_shape(path: Path, value: onnx.ValueInfoProto) -> Sides:
    shape = tuple(
        side.dim_value if side.HasField("dim_value") and side.dim_value > 0 else None
        for side in value.type.tensor_type.shape.dim
    )
    if len(shape) not in (4, 5):
        raise _refused(
            f"input '{value.name}' of {path} is {shape_text(shape)}", "export a network of 2D images or volumes"
        )
    if None in shape[1:]:
        raise UsageError(
            f"input '{value.name}' of {path} is {shape_text(shape)}, so the size of its images is free",
            required="a fixed size and number of channels; the number of images may be free",
            fix="export it with an example image of the size that it will be given",
        )
    return shape


def _refused(given: str, fix: str) -> UsageError:
    return UsageError(given, required=_REQUIRED, fix=fix)
