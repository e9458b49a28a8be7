"""ONNX Runtime adapters: one base graph, and for each region a file with its adapter, norms and head.

A session on the base serves all regions: `RunOptions.add_active_adapter` names the region of a run. A batch of several
regions is several runs. The weights that change are inputs of the graph, so ONNX Runtime cannot prepare them ahead.

Shapes: N images, K_t outputs of region t.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lorkit.decompose.artifacts import read_json, write_bytes, write_json
from lorkit.decompose.artifacts.drafts import native_path
from lorkit.decompose.documents.heads import IMAGE, LOGITS, REGION, REGION_ID, head_output
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.export.targets.base import (
    Availability,
    BuildRequest,
    Engine,
    Example,
    Inputs,
    NetworkForm,
    Outputs,
    Target,
    missing,
    shapes_of,
)
from lorkit.export.targets.inference_limits import run_within_limits
from lorkit.export.targets.onnx import PROVIDER, SETTINGS, runtime_errors, session_options
from lorkit.export.targets.onnx import TARGET as ONNX

if TYPE_CHECKING:
    import onnxruntime

    from lorkit.decompose.models.mixtures.adapters import AdapterNetwork
    from lorkit.profiles import Profile

BASE = "base.onnx"


def adapter_name(region: str) -> str:
    """Return the name of a region's adapter file."""
    return f"base.{region}.onnx_adapter"


def write_adapters(network: AdapterNetwork, shape: tuple[int, ...], directory: Path) -> Path:
    """Write the base of a network for images (C, *spatial), and the adapter of each region; return the base."""
    import onnxruntime

    from lorkit.export.targets.onnx_adapters.base_graph import base_graph

    write_bytes(directory / BASE, base_graph(network, shape).SerializeToString(deterministic=True))
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    for region, tensors in network.adapters.items():
        adapter = onnxruntime.AdapterFormat()
        adapter.set_adapter_version(1)
        adapter.set_model_version(1)
        adapter.set_parameters({name: value(np.ascontiguousarray(one.numpy())) for name, one in tensors.items()})
        adapter.export_adapter(str(directory / adapter_name(region)))
    write_json(directory / SETTINGS, {"outputs": {region: network.outputs_of(region) for region in network.adapters}})
    return directory / BASE


class AdaptersEngine(Engine):
    """A session on the base, with the adapters of all regions in memory.

    Args:
        session: On the base.
        adapters: By region, in the order of the region ids.
        sizes: By region the number of outputs, K_t.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        adapters: Mapping[str, onnxruntime.LoraAdapter],
        sizes: Mapping[str, int],
    ) -> None:
        import onnxruntime

        super().__init__(session, str(session.get_providers()[0]))
        self._adapters, self._sizes = dict(adapters), sizes  # they must live as long as their run options
        self._options: dict[str, onnxruntime.RunOptions] = {}
        for name, adapter in self._adapters.items():
            self._options[name] = onnxruntime.RunOptions()
            self._options[name].add_active_adapter(adapter)

    def infer(self, inputs: Inputs) -> Outputs:
        """Return the logits of every region, one run for each region of the batch; other rows are zero."""
        region_N, outputs = np.asarray(inputs[REGION]), Outputs()
        count, spatial = len(region_N), ()
        found: dict[str, tuple[Any, Any]] = {}
        for at, name in enumerate(self._options):
            row_N = region_N == at
            if row_N.any():
                found[name] = row_N, self._run(name, np.ascontiguousarray(inputs[IMAGE][row_N]))
                spatial = found[name][1].shape[2:]
        for name, size in self._sizes.items():
            whole = np.zeros((count, size, *spatial), np.float32)
            if name in found:
                row_N, logits = found[name]
                whole[row_N] = logits
            outputs[head_output(name)] = whole
        return outputs

    def _run(self, region: str, image: Any) -> Any:
        try:
            return run_within_limits(self._opened(), [LOGITS], {IMAGE: image}, self._options[region])[0]
        except runtime_errors() as error:
            raise ArtifactError(
                f"ONNX Runtime refuses a batch of {shapes_of({IMAGE: image})} ({str(error)[:160]})",
                required="images of the size of the export",
                fix="export it again with --force",
            ) from None


class OnnxAdaptersTarget(Target):
    """The `onnx-adapters` target."""

    name: ClassVar[str] = "onnx-adapters"
    runtime: ClassVar[str] = "onnxruntime"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "fp32"}
    forms: ClassVar[tuple[NetworkForm, ...]] = (REGION_ID,)
    example: ClassVar[Example] = Example("adapters_example.py", "onnxruntime", "adapters_example.py")

    def available(self, profile: Profile | None = None) -> Availability:
        """Return whether ONNX Runtime is installed."""
        del profile
        return ONNX.available()

    def require(self, profile: Profile) -> None:
        """Raise UsageError unless the hardware is a CPU."""
        if profile.device.kind != "cpu":
            raise UsageError(
                f"target onnx-adapters with profile {profile.name}",
                required="a CPU profile",
                fix="name one",
            )

    def build(self, request: BuildRequest) -> Path:
        """Write the base and one adapter per region.

        Raises:
            UsageError: The network is not one by region id, or has heads of masks and others.
        """
        from lorkit.decompose.models.mixtures.adapters import AdapterNetwork
        from lorkit.decompose.models.mixtures.networks import RegionIdNetwork

        if not isinstance(request.network, RegionIdNetwork):
            raise UsageError(
                f"target onnx-adapters for '{request.info.region}'",
                required=f"the network of all regions by region id, '{REGION_ID}'",
                fix=f"run `decompose extract --region-id`, then export --region {REGION_ID}",
            )
        return write_adapters(AdapterNetwork(request.network), request.shape, request.directory)

    def load(self, directory: Path, *, threads: int | None = None) -> AdaptersEngine:
        """Open a session on the base, and all adapters.

        Raises:
            MissingRuntimeError: ONNX Runtime is missing.
            ArtifactError: A file is missing, or ONNX Runtime cannot read it.
        """
        if not self.available().ok:
            raise missing(self)
        import onnxruntime

        sizes = read_json(directory / SETTINGS).get("outputs")
        if not isinstance(sizes, dict) or not sizes:
            raise ArtifactError(f"{directory / SETTINGS} names no regions", required="regions", fix="export it again")
        refused: tuple[type[Exception], ...] = (*runtime_errors(), RuntimeError)  # the last one of adapters
        try:
            session = onnxruntime.InferenceSession(
                native_path(directory / BASE), session_options(threads, PROVIDER), providers=[PROVIDER]
            )
            adapters = {}
            for region in sizes:
                adapters[region] = onnxruntime.LoraAdapter()
                adapters[region].Load(str(directory / adapter_name(region)))
        except refused as error:
            raise ArtifactError(
                f"ONNX Runtime cannot read the base or an adapter of {directory} ({str(error)[:160]})",
                required="an intact export",
                fix="export it again with --force",
            ) from None
        return AdaptersEngine(session, adapters, sizes)


TARGET = OnnxAdaptersTarget()
