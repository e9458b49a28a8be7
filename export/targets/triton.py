"""NVIDIA Triton Inference Server: a model repository with an ONNX file for its onnxruntime backend.

Parity is checked with ONNX Runtime on the served file inside the repository. A version is named by the content of its
file, so that repositories can be merged without replacing another network's version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lorkit.decompose.artifacts import digest_file, write_bytes, write_text
from lorkit.decompose.errors import ArtifactError
from lorkit.export.targets.base import MODEL, Availability, BuildRequest, Example
from lorkit.export.targets.onnx import OnnxEngine, OnnxTarget

if TYPE_CHECKING:
    from lorkit.profiles import Profile

REPOSITORY, CONFIG, LABELS, WARMUP = "triton", "config.pbtxt", "labels.txt", "warmup"
NAMESPACE = "lorkit."
_WARM_SAMPLES = 3
# 48 bits: versions are numbers in JSON, which rounds above 53 bits
_VERSION_DIGITS = 12
_SERVED = re.compile(r"^version_policy \{ specific \{ versions: \[ (\d+) \] \} \}$", re.M)


class TritonTarget:
    """The `triton` target."""

    name: ClassVar[str] = "triton"
    runtime: ClassVar[str] = "onnxruntime, as Triton's backend"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}
    quantization: ClassVar[str] = "asymmetric"
    built_from: ClassVar[str] = "onnx"
    example: ClassVar[Example] = Example("triton_client.py", "tritonclient[grpc]", "client.py")

    def __init__(self) -> None:
        self._onnx = OnnxTarget()

    def available(self, profile: Profile | None = None) -> Availability:
        """Return whether parity can be checked here; no server is needed to write a repository."""
        return self._onnx.available(profile)

    def fingerprint(self) -> str:
        """Return nothing: the repository does not depend on the installed runtime."""
        return ""

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
                fix="allow it for a test with --allow-synthetic",
            )
        model = request.directory / REPOSITORY / model_name(request)
        digest = digest_file(request.onnx_path)
        served = _claim(model, digest)
        served.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(served, request.onnx_path.read_bytes())
        tensors = _tensors(request.onnx_path)
        samples = _write_samples(model / WARMUP, request, tensors["input"])
        labels = _write_labels(model, request)
        facts = _provenance(request, digest)
        config = _config(model.name, int(served.parent.name), request.profile, tensors, labels, samples, facts)
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
        return self._onnx.load(configs[0].parent / served[1], threads=threads)


def model_name(request: BuildRequest) -> str:
    """Return the name in the server; exports of a run share a name only for other hardware."""
    return f"{request.info.region}-{request.info.owner}-{request.precision}"


def _claim(model: Path, digest: str) -> Path:
    """Return the directory of the file of this digest: its own version, never that of another content."""
    version = int(digest[:_VERSION_DIGITS], 16) or 1  # Triton's versions begin at 1
    while (path := model / str(version) / MODEL).exists() and digest_file(path) != digest:
        version += 1
    return path


def _tensors(path: Path) -> dict[str, tuple[str, str, list[int]]]:
    """Return name, type and dims without the batch of the graph's input and output; -1 is a free size."""
    import onnx

    types = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.FLOAT16: "TYPE_FP16"}
    graph = onnx.load(path, load_external_data=False).graph
    found = {}
    for kind, value in (("input", graph.input[0]), ("output", graph.output[0])):
        tensor = value.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim[1:]]
        found[kind] = (str(value.name), types[tensor.elem_type], dims)
    return found


def _write_samples(folder: Path, request: BuildRequest, tensor: tuple[str, str, list[int]]) -> list[str]:
    """Write a few images as raw little-endian numbers, as Triton reads them; return their names."""
    dtype = np.dtype("<f2" if tensor[1] == "TYPE_FP16" else "<f4")
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


def _config(
    name: str,
    version: int,
    profile: Profile,
    tensors: Mapping[str, tuple[str, str, list[int]]],
    labels: str | None,
    samples: Sequence[str],
    facts: Mapping[str, str],
) -> str:
    batch = profile.batch
    preferred = f" preferred_batch_size: [ {batch.opt} ]" if batch.opt > 1 else ""
    label_file = f" label_filename: {quoted(labels)}" if labels else ""
    kind = "KIND_GPU" if profile.device.kind == "gpu" else "KIND_CPU"
    lines = [
        "# Not for diagnosis. Written by lorkit; the parameters below say what this network is.",
        f"name: {quoted(name)}",
        'platform: "onnxruntime_onnx"',
        'backend: "onnxruntime"',
        f"default_model_filename: {quoted(MODEL)}",
        f"max_batch_size: {batch.max}",
        # named, not "latest": versions are digests and have no order
        f"version_policy {{ specific {{ versions: [ {version} ] }} }}",
        f"input [ {{ {_tensor(tensors['input'])} }} ]",
        f"output [ {{ {_tensor(tensors['output'])}{label_file} }} ]",
        f"instance_group [ {{ count: 1 kind: {kind} }} ]",
        f"dynamic_batching {{{preferred} }}",
        *_warmups(sorted({batch.min, batch.opt, batch.max}), tensors["input"], samples),
        *(
            f"parameters {{ key: {quoted(key)} value {{ string_value: {quoted(text)} }} }}"
            for key, text in sorted(facts.items())
        ),
    ]
    return "\n".join(lines) + "\n"


def _warmups(batches: Iterable[int], tensor: tuple[str, str, list[int]], samples: Sequence[str]) -> list[str]:
    """Return one warm-up request per batch size; Triton repeats the sample to fill the batch."""
    name, kind, dims = tensor
    lines = []
    for index, batch in enumerate(batches):
        data = f"input_data_file: {quoted(samples[index % len(samples)])}" if samples else "zero_data: true"
        value = f"data_type: {kind} dims: [ {', '.join(map(str, dims))} ] {data}"
        inputs = f"inputs {{ key: {quoted(name)} value {{ {value} }} }}"
        lines.append(f'model_warmup [ {{ name: "batch-{batch}" batch_size: {batch} {inputs} }} ]')
    return lines


def _tensor(tensor: tuple[str, str, list[int]]) -> str:
    name, kind, dims = tensor
    return f"name: {quoted(name)} data_type: {kind} dims: [ {', '.join(map(str, dims))} ]"


def quoted(text: str) -> str:
    """Return a string literal of protobuf's text format."""
    parts = (
        f"\\{mark}" if mark in '"\\' else f"\\{ord(mark):03o}" if ord(mark) < 32 or ord(mark) == 127 else mark
        for mark in text
    )
    return f'"{"".join(parts)}"'


TARGET = TritonTarget()
