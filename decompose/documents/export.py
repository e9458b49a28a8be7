"""`export.json`: an export and its parity."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from lorkit.decompose.documents.base import Digest, Document, Owner, Part, combine, narrow
from lorkit.decompose.documents.heads import LOGITS, Head, Mixture, first_input
from lorkit.decompose.documents.network import NetworkInfo, RegionInfo
from lorkit.decompose.documents.verify import ImageKind, ParityBlock
from lorkit.decompose.regions import Region


class WeightCount(Part):
    """Weights of one number format."""

    tensors: int
    elements: int


class Graph(Part):
    """Contents of an ONNX file."""

    opset: int | None = None
    nodes: int | None = None
    size_bytes: int
    """Size of the engine on disk."""
    dtype_census: dict[str, WeightCount] = {}


class CalibrationSet(Part):
    """Images for the calibration of int8."""

    part: str
    n: int
    inputs: ImageKind


class LayerError(Part):
    """Error of one layer at the lower precision."""

    layer: str
    layer_error: float


class Lowering(Part):
    """Conversion of a graph to a lower precision."""

    scheme: str | None = None
    calibration: CalibrationSet | None = None
    sensitive_layers: list[LayerError] = []
    """The most sensitive layers, the worst first."""
    kept_fp32: list[str] = []
    tried: bool = False


class KeptSamples(Part):
    """Contents of `samples.npz`."""

    inputs: ImageKind
    n: int


class ExportSource(Part):
    """The artifact that an export was made from."""

    kind: str
    manifest: Digest
    weights: Digest


class ExportedNetwork(NetworkInfo):
    """The exported network, and the meaning of its output channels."""

    owner: Owner
    outputs: list[str] = []
    mixture: Mixture | None = None
    """Its heads, if it has those of several regions; its outputs are then described there."""

    @property
    def heads(self) -> list[Head]:
        """Its heads: one, with the output `logits`, unless it has those of several regions."""
        if self.mixture is not None:
            return self.mixture.heads
        return [combine(Head, narrow(RegionInfo, self), output=LOGITS)]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its inputs."""
        return (first_input(self.recipe),) if self.mixture is None else self.mixture.inputs

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of its outputs."""
        return (LOGITS,) if self.mixture is None else self.mixture.output_names

    def as_region(self) -> Region:
        """Return its region; of several heads their regions as one."""
        return super().as_region() if self.mixture is None else self.mixture.as_region()


class ExportInfo(ExportedNetwork, Graph, Document):
    """The `export.json` of an export."""

    kind: Literal["export"] = "export"
    target: str
    runtime: str | None = None
    profile: str
    hardware: dict[str, JsonValue] | None = None
    """Hardware profile of the build."""
    precision: str
    provider: str | None = None
    engine_file: str | None = None
    """Null if the engine could not be built here."""
    graph_precision: str | None = None
    lowering: Lowering | None = None
    onnx_digest: Digest | None = None
    parity: ParityBlock
    kept_samples: KeptSamples | None = None
    made_from: ExportSource | None = None
