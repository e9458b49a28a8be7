"""`build.sh`: the command that builds an engine with TensorRT's own `trtexec`, for a machine that has the GPU."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorkit.decompose.artifacts import write_text
from lorkit.export.targets.base import MODEL
from lorkit.export.targets.tensorrt.building import ENGINE

if TYPE_CHECKING:
    from lorkit.profiles import Profile

SCRIPT = "build.sh"
_HEAD = """\
#!/usr/bin/env bash
# Build {engine} from {model} with trtexec of TensorRT {versions}, on {hardware}.
# An engine of trtexec has no measured parity, and lorkit does not load it. For one that is checked against its network,
# copy the {parent} to that machine instead, and run there:
#   pip install 'lorkit[tensorrt]'
#   {command}
set -euo pipefail
cd "$(dirname "$0")"
if ! command -v trtexec >/dev/null; then
  echo "trtexec is not in PATH; required: TensorRT {versions}; install it, or add its bin directory to PATH" >&2
  exit 5
fi
"""
_FLAGS = {"version_compatible": "--versionCompatible", "refit": "--refit", "strip": "--stripWeights"}


def write_build_script(directory: Path, profile: Profile, command: str, *, parent: str, versions: str) -> Path:
    """Write `build.sh` beside `model.onnx`.

    Args:
        directory: The export.
        profile: The hardware: its batch range and engine settings.
        command: The command of lorkit for that machine.
        parent: What that command needs there, such as "run 'phantom-lorkd'".
        versions: The versions of TensorRT that lorkit supports.
    """
    capability = profile.device.compute_capability
    hardware = f"the hardware of profile {profile.name}" + (f" (compute capability {capability})" if capability else "")
    head = _HEAD.format(
        engine=ENGINE, model=MODEL, versions=versions, hardware=hardware, parent=parent, command=command
    )
    path = directory / SCRIPT
    write_text(path, head + " \\\n  ".join(map(shlex.quote, trtexec_arguments(directory / MODEL, profile))) + "\n")
    path.chmod(0o755)
    return path


def trtexec_arguments(onnx_path: Path, profile: Profile) -> list[str]:
    """Return the arguments of trtexec that build what the target `trt` would build: same types, shapes and settings."""
    sizes = (profile.batch_sizes.min, profile.batch_sizes.opt, profile.batch_sizes.max)
    inputs = _inputs(onnx_path)
    ranges = zip(("min", "opt", "max"), sizes, strict=True)
    return [
        "trtexec",
        f"--onnx={MODEL}",
        f"--saveEngine={ENGINE}",
        "--stronglyTyped",
        *(f"--{name}Shapes={_shapes(inputs, size)}" for name, size in ranges),
        *_settings(profile.engine.model_dump(mode="json")),
        "--skipInference",
    ]


def _settings(settings: Mapping[str, Any]) -> list[str]:
    """Return the flags of engine settings; without weights an engine takes those of the same ONNX file only."""
    found = [flag for name, flag in _FLAGS.items() if settings.get(name)]
    if not settings.get("tf32"):
        found.append("--noTF32")
    if settings.get("hardware_compatible"):
        found.append("--hardwareCompatibilityLevel=ampere+")
    if workspace := settings.get("workspace_mib"):
        found.append(f"--memPoolSize=workspace:{workspace}")  # trtexec counts MiB too
    return found


def _inputs(onnx_path: Path) -> dict[str, list[int]]:
    """Return the shape of each input without its batch, which is free."""
    import onnx  # prediction imports the targets, and needs no onnx

    graph = onnx.load(onnx_path, load_external_data=False).graph
    return {one.name: [side.dim_value for side in one.type.tensor_type.shape.dim[1:]] for one in graph.input}


def _shapes(inputs: Mapping[str, Sequence[int]], batch: int) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, (batch, *sides)))}" for name, sides in inputs.items())
