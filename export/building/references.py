"""What an export is compared with: the network that it was made from on real inputs, else its own samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts import MANIFEST, digest_file
from lorkit.decompose.documents.export import ExportedNetwork
from lorkit.decompose.documents.verify import Bisection
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.runs.locked_data import prepare_file
from lorkit.export.building.samples import read_samples
from lorkit.export.runtime.batch_size import HELD_BYTES, fitting
from lorkit.export.runtime.exported import Exported
from lorkit.export.runtime.parity import infer_all
from lorkit.export.runtime.reference_images import ReferenceImages

if TYPE_CHECKING:
    from lorkit.export.building.run_data import ReferenceImageCache
    from lorkit.export.building.sources import ExportableNetwork, OpenedRun
    from lorkit.export.targets.base import Inputs, Outputs

_COUNT = 48


@dataclass(frozen=True)
class Reference:
    """Reference of an export: inputs, the expected outputs, and the sources of both.

    `infer` is the network that it was made from; None if that is missing.
    """

    images: ReferenceImages
    outputs: Outputs
    against: str
    notes: tuple[str, ...] = ()
    infer: Callable[[Inputs], Outputs] | None = None


class References:
    """References of exports, with the models and images that several exports of one run share."""

    def __init__(self, data: Path | str | None) -> None:
        self.data = data
        self._opened: dict[Path, OpenedRun] = {}
        self._images: ReferenceImageCache | None = None

    def reference(self, exported: Exported) -> Reference:
        """Return the reference of an export: its source if available, else its own samples."""
        parent, source = exported.manifest.parent, _source_of(exported)
        if parent is None or source is None:
            return self._apart(exported)
        if digest_file(source / MANIFEST) != parent["sha256"]:
            raise ArtifactError(
                f"{source} is not the {parent['kind']} that {exported.path} was made from",
                required=f"a manifest with digest {parent['sha256'][:12]}",
                fix="export it again",
            )
        return self._computed(exported, source)

    def bisection(self, exported: Exported) -> Bisection:
        """Return the first wrong layer; the source network is needed.

        Raises:
            UsageError: The source is missing, or the target is not built from ONNX.
        """
        from lorkit.export.building.bisection import bisect_export
        from lorkit.export.building.sources import origin_of

        place = _source_of(exported)
        if place is None:
            raise UsageError(
                f"--bisect for {exported.path}, whose source network is missing",
                required="the network that it was exported from, layer by layer",
                fix="bisect it in its run",
            )
        inputs = self.reference(exported).images.given(exported.info.inputs)
        return bisect_export(exported, origin_of(exported, place, self._opened), inputs)

    def _apart(self, exported: Exported) -> Reference:
        if self.data is None:
            return _stored(exported)
        raise UsageError(
            f"{exported.path} is not stored with the network it was made from",
            required="that network, to run other data",
            fix="leave --data out to use its own samples",
        )

    def _computed(self, exported: Exported, parent: Path) -> Reference:
        """Run the source with torch, which is imported here because samples do not need it."""
        from lorkit.export.building.run_data import OpenedSplits, ReferenceImageCache
        from lorkit.export.building.sources import origin_of

        source = origin_of(exported, parent, self._opened)
        _check_description(exported, source)
        notes: tuple[str, ...] = ()
        if self.data is None:
            self._images = self._images or ReferenceImageCache(OpenedSplits(), part="test", count=_COUNT)
            images = self._images.of(source)
            notes = tuple(self._images.notes) if images.kind == "seeded" else ()
        elif source.mixture is not None:
            raise UsageError(
                f"--data for {exported.path}, a network of several regions",
                required="images of each region, which are those of its run",
                fix="leave --data out",
            )
        else:
            whole = prepare_file(self.data, source.region, source.recipe).images
            count = fitting(source.region, source.shape, most=len(whole), total=HELD_BYTES)
            if count < len(whole):
                notes = (f"{self.data}: the first {count} of {len(whole)} {source.region.words.cases} were compared",)
            images = ReferenceImages(images=whole[:count], kind="real")
        infer = partial(reference_outputs, source, exported.info)
        return Reference(images, infer(images.given(exported.info.inputs)), "source", notes, infer)


def reference_outputs(source: ExportableNetwork, network: ExportedNetwork, inputs: Inputs, batch: int = 8) -> Outputs:
    """Return the source network's outputs (N, ...) by name, by torch on the CPU in fp32."""
    import torch

    module = source.network  # loaded here, since parameters created in inference mode cannot be traced

    def infer(part: Inputs) -> Outputs:
        with torch.inference_mode():
            # copies: prepared images are read-only
            found = module(*(torch.tensor(values) for values in part.values()))
        tensors = [found] if isinstance(found, torch.Tensor) else found
        return {name: one.numpy() for name, one in zip(network.output_names, tensors, strict=True)}

    return infer_all(infer, inputs, fitting(source.region, source.shape, most=batch))


def _check_description(exported: Exported, source: ExportableNetwork) -> None:
    """Raise ArtifactError if `export.json` describes another network than its source is."""
    from lorkit.export.building.packaging import network_info

    info = exported.info
    # thresholds of networks that are no experts are not stored with them
    wanted = network_info(source, info.decision if source.info is None else source.info.decision)
    for name in ExportedNetwork.model_fields:
        if getattr(info, name) != getattr(wanted, name):
            raise ArtifactError(
                f"{exported.path}: {name} in export.json is not that of the {info.owner} in {source.parent.path}",
                required="the description of the network that was exported",
                fix="export it again with --force",
            )


def _source_of(exported: Exported) -> Path | None:
    """Return the directory that an export was made from; None if it is not here."""
    parent = exported.manifest.parent
    place = None if parent is None else exported.path / parent["path"]
    return place if place is not None and (place / MANIFEST).is_file() else None


def _stored(exported: Exported) -> Reference:
    samples = read_samples(exported)
    note = f"{exported.path}: its source network is missing, so it is compared with its own samples"
    return Reference(samples, samples.outputs, "samples", (note,))
