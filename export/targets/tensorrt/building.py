"""Common parts of building engines with TensorRT and TensorRT-RTX: one ONNX file, one network, one plan.

Both are written for the common API of TensorRT 10.12, 11 and TensorRT-RTX 1.x. Networks are strongly typed: the
precision is that of the ONNX file, which is checked in the parsed network, because a parser may drop it silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lorkit.decompose.artifacts import digest_file, digest_json, read_json
from lorkit.decompose.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from lorkit.export.targets.base import BuildRequest
    from lorkit.profiles import Profile

ENGINE, KEY = "model.engine", "engine.json"
# precision of the file, and the dtype required in the parsed network
REQUIRED_TYPES = {"fp16": "HALF", "bf16": "BF16", "int8": "INT8"}
_FLAGS = {"version_compatible": "VERSION_COMPATIBLE", "refit": "REFIT", "strip": "STRIP_PLAN"}
_MIB = 2**20


class BuilderRefusal(UsageError):
    """A builder that returned no engine; the reason is only in its log."""


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """An engine to build: plain data, so that another process can build it.

    Attributes:
        onnx: The file, whose precision is that of the engine.
        precision: The stated precision.
        shapes: (N, C, *spatial) of images at the smallest, tuned and largest batch; other inputs have the same N.
        settings: `EngineSettings` of the profile, as plain data.
        capability: Compute capability to build for, as "8.9"; None for the GPU at hand.
    """

    onnx: str
    precision: str
    shapes: Sequence[Sequence[int]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    capability: str | None = None


def engine_spec(request: BuildRequest, capability: str | None = None) -> EngineSpec:
    """Return the specification of a request's engine."""
    return EngineSpec(
        onnx=str(request.onnx_path),
        precision=request.precision,
        shapes=batch_shapes(request.profile, request.shape),
        settings=request.profile.engine.model_dump(mode="json"),
        capability=capability,
    )


def batch_shapes(profile: Profile, shape: Sequence[int]) -> list[list[int]]:
    """Return (N, C, *spatial) at the smallest, tuned and largest batch of a profile."""
    return [[count, *shape] for count in (profile.batch_sizes.min, profile.batch_sizes.opt, profile.batch_sizes.max)]


def build_plan(tensorrt: ModuleType, spec: EngineSpec, timing: bytes | None = None) -> tuple[bytes, bytes | None]:
    """Build an engine with one builder, network and parser, since a second of any may crash when it is freed.

    Args:
        tensorrt: `tensorrt` or `tensorrt_rtx`.
        spec: The engine.
        timing: Timings of kernels from earlier builds; b"" to begin empty, None if the runtime has none.

    Returns:
        The engine, and the timings to store if `timing` was given.

    Raises:
        UsageError: The parser refuses, or the network lacks the precision of its file.
        BuilderRefusal: The builder refuses.
    """
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(_strongly_typed(tensorrt))
    parser = tensorrt.OnnxParser(network, logger)  # kept alive: it owns the weights of the network
    _parse(parser, Path(spec.onnx), library(tensorrt))
    check_precision(tensorrt, network, spec.precision)
    config = builder.create_builder_config()
    configure(tensorrt, config, spec)
    if timing is not None:
        _start_timing(config, timing)
    ranges = builder.create_optimization_profile()
    for entry in (network.get_input(index) for index in range(network.num_inputs)):
        ranges.set_shape(entry.name, *((shape[0], *entry.shape[1:]) for shape in spec.shapes))
    config.add_optimization_profile(ranges)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        asked = ", ".join(flags(spec.settings))
        raise BuilderRefusal(
            f"{library(tensorrt)} {tensorrt.__version__} built no engine of {Path(spec.onnx).name}",
            required=f"a network that it supports{f', with {asked}' if asked else ''}",
            fix="reset the engine settings of the profile" if asked else "change the backbone, or use --target onnx",
        )
    cache = None if timing is None else config.get_timing_cache()
    return bytes(plan), None if timing is None else b"" if cache is None else bytes(cache.serialize())


def check_precision(tensorrt: ModuleType, network: Any, precision: str) -> None:
    """Check that a parsed network computes something in `precision`; constants do not count.

    Raises:
        UsageError: It does not: the engine would be slower than stated, or the file has another precision.
    """
    wanted = REQUIRED_TYPES.get(precision)
    if wanted is None:
        return
    found: set[str] = set()
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        if layer.type != tensorrt.LayerType.CONSTANT:
            found |= {layer.get_output(index).dtype.name for index in range(layer.num_outputs)}
    if wanted not in found:
        raise UsageError(
            f"no tensor of the parsed network is of type {wanted} (found: {', '.join(sorted(found)) or 'none'})",
            required=f"an ONNX file of precision {precision}",
            fix="export again with --force, or with --precision fp32",
        )


def configure(tensorrt: ModuleType, config: Any, spec: EngineSpec) -> None:
    """Apply settings and compute capability to a builder configuration."""
    for name in flags(spec.settings):
        config.set_flag(getattr(tensorrt.BuilderFlag, name))
    if not spec.settings.get("tf32"):
        config.clear_flag(tensorrt.BuilderFlag.TF32)  # on by default, and less accurate than fp32's tolerance
    if spec.settings.get("hardware_compatible"):
        config.hardware_compatibility_level = tensorrt.HardwareCompatibilityLevel.AMPERE_PLUS
    if workspace := spec.settings.get("workspace_mib"):
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, workspace * _MIB)
    if spec.capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(tensorrt.ComputeCapability, sm(spec.capability)), 0)


def flags(settings: Mapping[str, Any]) -> list[str]:
    """Return the builder flags of engine settings."""
    names = [flag for name, flag in _FLAGS.items() if settings.get(name)]
    if settings.get("strip") and not settings.get("refit"):
        names.append("REFIT_IDENTICAL")  # the same weights, so no slower refittable kernels
    return names


def library(tensorrt: ModuleType) -> str:
    """Return the name of a runtime module."""
    return "TensorRT-RTX" if tensorrt.__name__ == "tensorrt_rtx" else "TensorRT"


def sm(capability: str) -> str:
    """Return the name of a compute capability: SM89 of 8.9."""
    return f"SM{capability.replace('.', '')}"


def engine_key(onnx_path: Path, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identity of an engine, with a digest: its ONNX file and all else that it depends on."""
    whole = {"onnx": digest_file(onnx_path), **parts}
    return {**whole, "key": digest_json(whole)}


def differences(key: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return the differences between an engine's key and the expected one, with both values; empty without any."""
    changed = [name for name, value in expected.items() if key.get(name) != value]
    return ", ".join(f"{name} ({key.get(name)}, here {expected[name]})" for name in changed)


def read_key(directory: Path) -> dict[str, Any]:
    """Read an engine's key; raise ArtifactError if it is missing or damaged."""
    key = read_json(directory / KEY)
    shapes = key.get("batch_shapes")
    whole = {name: value for name, value in key.items() if name != "key"}
    if not isinstance(shapes, list) or len(shapes) != 3 or key.get("key") != digest_json(whole):
        raise ArtifactError(
            f"{directory / KEY} is not the key of an engine", required="an intact export", fix="export it with --force"
        )
    return key


def _strongly_typed(tensorrt: ModuleType) -> int:
    """Return the creation flag that TensorRT 10 requires; 11 has no other kind and may drop the name."""
    flag = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parse(parser: Any, onnx_path: Path, name: str) -> None:
    if not parser.parse_from_file(str(onnx_path)):
        reasons = [_reason(parser.get_error(index)) for index in range(parser.num_errors)]
        raise UsageError(
            f"{name}'s parser refuses {onnx_path.name}: {'; '.join(reasons) or 'no reason given'}",
            required="operators that it supports",
            fix="change the backbone, or use --target onnx",
        )


def _reason(error: Any) -> str:
    operator = str(error.node_operator()) if hasattr(error, "node_operator") else ""
    words = " ".join(str(error.desc()).split())[:300]  # the rest are locations in the parser's source
    return f"{operator}: {words}" if operator else words


def _start_timing(config: Any, data: bytes) -> None:
    """Give the builder earlier timings; those that it refuses are dropped, since they only save time."""
    for content in dict.fromkeys((data, b"")):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return
