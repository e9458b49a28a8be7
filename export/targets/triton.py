"""NVIDIA Triton Inference Server: a model repository with an ONNX file for its onnxruntime backend.

Parity is checked with ONNX Runtime on the served file inside the repository. A version is named by the content of its
file, so that repositories can be merged without replacing another network's version.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from lorkit.decompose.artifacts import digest_file, write_bytes, write_text
from lorkit.decompose.errors import ArtifactError
from lorkit.export.targets.base import MODEL, SINGLE, BuildRequest, Example, NetworkForm
from lorkit.export.targets.onnx import OnnxEngine, OnnxTarget

if TYPE_CHECKING:
    pass

REPOSITORY, CONFIG, LABELS, WARMUP = "triton", "config.pbtxt", "labels.txt", "warmup"
NAMESPACE = "lorkit."
_WARM_SAMPLES = 3
# 48 bits: versions are numbers in JSON, which rounds above 53 bits
_VERSION_DIGITS = 12
_SERVED = re.compile(r"^version_policy \{ specific \{ versions: \[ (\d+) \] \} \}$", re.M)


class TritonTarget(OnnxTarget):
    """The `triton` target; no server is needed to write a repository or to check its parity."""

    name: ClassVar[str] = "triton"
    runtime: ClassVar[str] = "onnxruntime, as Triton's backend"
    forms: ClassVar[tuple[NetworkForm, ...]] = (SINGLE,)
    packages: ClassVar[bool] = True
    example: ClassVar[Example] = Example("triton_client.py", "tritonclient[grpc]", "client.py")

    def build(self, request: BuildRequest) -> Path:
        """Write the repository; return the served file.

        Raises:
            ArtifactError: The network was trained on drawn images only, without permission for that.
        """
        info = request.info
        if info.synthetic and not request.allow_synthetic:
            raise ArtifactError(
                f"the {info.owner} of region '{info.region}' was trained on phantoms only",
                required="a network trained on images of patients, to be served",
                fix="allow it for a test with --allow-synthetic, in Python with allow_synthetic=True",
            )
        model = request.directory / REPOSITORY / model_name(request)
        digest = digest_file(request.onnx_path)
        served = _claim(model, digest)
        served.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(served, request.onnx_path.read_bytes())
        tensors = _tensors(request.onnx_path)
        config = _config(
            name=model.name,
            version=served.parent.name,
            profile=request.profile,
            samples=_write_samples(model / WARMUP, request, tensors["input"]),
            labels=_write_labels(model, request),
            facts=_provenance(request, digest),
            **tensors,
        )
        write_text(model / CONFIG, config)
        return served

    def load(self, directory: Path, *, threads: int | None = None) -> OnnxEngine:
        """Open the served version with ONNX Runtime on the CPU.

        Raises:
            MissingRuntimeError: ONNX Runtime is missing.
            ArtifactError: There is no repository of one model with one served version.
        """
        configs = sorted((directory / REPOSITORY).glob(f"*/{CONFIG}"))
        served = _SERVED.search(configs[0].read_text(encoding="utf-8")) if len(configs) == 1 else None
        if served is None:
            raise ArtifactError(
                f"{directory / REPOSITORY} names no served version of one model",
                required=f"one <model>/{CONFIG} written by `decompose export`",
                fix="export it again with --force",
            )
        return super().load(configs[0].parent / served[1], threads=threads)


def model_name(request: BuildRequest) -> str:
    """Return the name in the server; exports of a run share a name only for other hardware."""
    return f"{request.info.region}-{request.info.owner}-{request.precision}"


def _claim(model: Path, digest: str) -> Path:
    """Return the directory of the file of this digest: its own version, never that of another content."""
    version = int(digest[:_VERSION_DIGITS], 16) or 1  # Triton's versions begin at 1
    while (path := model / str(version) / MODEL).exists() and digest_file(path) != digest:
        version += 1
    return path


class _Tensor(NamedTuple):
    """An input or output in Triton's terms: dims are without the batch, -1 is a free size."""

    name: str
    type: str
    dims: list[int]


def _tensors(path: Path) -> dict[str, _Tensor]:
    """Return `input` and `output` of a graph."""
    import onnx

    types = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.FLOAT16: "TYPE_FP16"}
    graph = onnx.load(path, load_external_data=False).graph
    found = {}
    for kind, value in (("input", graph.input[0]), ("output", graph.output[0])):
        tensor = value.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim[1:]]
        found[kind] = _Tensor(str(value.name), types[tensor.elem_type], dims)
    return found


def _write_samples(folder: Path, request: BuildRequest, tensor: _Tensor) -> list[str]:
    """Write a few images as raw little-endian numbers, as Triton reads them; return their names."""
    dtype = np.dtype("<f2" if tensor.type == "TYPE_FP16" else "<f4")
    images = request.images[:_WARM_SAMPLES]
    if len(images):
        folder.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        write_bytes(folder / f"image-{index}", np.ascontiguousarray(image, dtype).tobytes())
    return [f"image-{index}" for index in range(len(images))]


def _write_labels(model: Path, request: BuildRequest) -> str | None:
    """Write one class per line; None for segmentation, whose channels are named in the parameters."""
    if request.dense:
        return None
    names = request.info.outputs
    write_text(model / LABELS, "".join(" ".join(str(name).split()) + "\n" for name in names))
    return LABELS


def _provenance(request: BuildRequest, digest: str) -> dict[str, str]:
    """Return the parameters that the server gives to clients: the graph's metadata and the source."""
    import onnx

    graph = onnx.load(request.onnx_path, load_external_data=False)
    facts = {entry.key: entry.value for entry in graph.metadata_props if entry.key.startswith(NAMESPACE)}
    info = request.info
    known = {
        "region": info.region,
        "owner": info.owner,
        "task": info.task,
        "classes": json.dumps(info.classes, ensure_ascii=False),
        "outputs": json.dumps(info.outputs, ensure_ascii=False),
        "recipe": json.dumps(info.recipe.to_json(), sort_keys=True),
        "precision": request.precision,
        "profile": request.profile.name,
        "synthetic": "true" if info.synthetic else "false",
        "onnx_sha256": digest,
        "use": "not for diagnosis",
    }
    return facts | {NAMESPACE + name: text for name, text in known.items()}


def _config(**values: Any) -> str:
    """Return `config.pbtxt`, in the text format of Triton's `inference.ModelConfig`."""
    from lorkit.export.rendering.templates import environment

    templates = environment(Path(__file__).parent)
    templates.filters["quoted"] = quoted
    return templates.get_template("config.pbtxt.jinja").render(model=MODEL, **values)


def quoted(text: str) -> str:
    """Return a string literal of protobuf's text format."""
    parts = (
        f"\\{mark}" if mark in '"\\' else f"\\{ord(mark):03o}" if ord(mark) < 32 or ord(mark) == 127 else mark
        for mark in text
    )
    return f'"{"".join(parts)}"'


TARGET = TritonTarget()
