"""Open the network of a prediction: an export with its runtime, or an extracted expert with torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts import MANIFEST, read_manifest, verify_chain
from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.formats.registry import open_image
from lorkit.decompose.data.formats.stored import StoredImage, network_values
from lorkit.decompose.data.preprocessing import region_check
from lorkit.decompose.data.preprocessing.recipe import apply_recipe
from lorkit.decompose.documents.expert import ExpertInfo
from lorkit.decompose.documents.export import ExportInfo
from lorkit.decompose.documents.heads import IMAGE, LOGITS, REGION_PROBABILITIES, Mixture, first_input
from lorkit.decompose.documents.mixture import MixtureInfo
from lorkit.decompose.documents.network import StoredNetwork
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.runs import ExportSelection, Run, experts_of, exports_of, open_run
from lorkit.decompose.tasks import get_task
from lorkit.export.prediction.volumes import VolumeCase, VolumeRunner, network_spacing
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import Exported, read_exported
from lorkit.export.runtime.preference import export_preference

if TYPE_CHECKING:
    from lorkit.decompose.runs.expert import LoadedExpert
    from lorkit.decompose.runs.mixture import LoadedMixture


ROUTER = "router"
"""Name of the network that finds the region of an image, beside those of the regions."""
Infer = Callable[[Mapping[str, Any]], Mapping[str, Float32Array]]
"""Inputs by name to outputs by name."""


@dataclass(frozen=True)
class LoadedNetwork(StoredNetwork):
    """A network that can be run, with the description of its artifact; `infer` gives all its outputs by name."""

    path: Path
    run: Callable[[Float32Array], Float32Array]
    infer: Infer
    info: ExpertInfo | ExportInfo | MixtureInfo
    digest: str
    volumes: VolumeRunner | None = None
    """Where the recipe has windows."""

    @property
    def router(self) -> Mixture | None:
        """The heads of a network that is not told the region; None for a network of one region."""
        mixture = self.info.mixture if isinstance(self.info, ExportInfo | MixtureInfo) else None
        return mixture if mixture is not None and mixture.form == "router" else None

    @property
    def multilabel(self) -> bool:
        """Whether it answers several labels of an image."""
        return self.router is None and not (self.dense or get_task(self.region.task).exclusive)

    @property
    def dense(self) -> bool:
        """Whether it returns masks, for images of some region."""
        return any(get_task(one.task).dense for one in self.region.each)


def open_network(
    path: Path | str | None, run: Path | str | None, selection: ExportSelection, threads: int | None
) -> LoadedNetwork:
    """Open an export or expert directory; without a path, a region of a run: its export, else its expert.

    Without `path`, `run` is an id or path, the newest by default, and `selection` its region and exports.

    Raises:
        UsageError: There is none of that kind, or several regions to choose from.
        ArtifactError: It is damaged.
    """
    if path is not None:
        kind = read_manifest(Path(path), verify=False).kind
        if kind == "export":
            return _open_export(Path(path), threads)
        if kind == "expert":
            return _open_expert(Path(path), threads)
        if kind == "mixture":
            return _open_mixture(Path(path), threads)
        if kind != "run":
            raise UsageError(f"{path} is of kind '{kind}'", required="an export, an expert or a run", fix="name one")
        run = path
    opened, region = open_run(run), selection.region
    if region is None and (opened.experts_dir / ROUTER / MANIFEST).is_file():
        region = ROUTER
    if region is None and len(opened.regions) == 1:
        region = opened.regions.names[0]
    if region is None or region == "all" or "," in region:
        known = ", ".join(opened.regions.names)
        raise UsageError(f"region {region or '(none)'}", required=f"one of {known}", fix="name one with --region")
    return _open_region(opened, replace(selection, region=region), threads)


def _open_region(run: Run, selection: ExportSelection, threads: int | None) -> LoadedNetwork:
    region = str(selection.region)
    found = [read_exported(entry.path) for entry in exports_of(run, selection, owners=("expert",))]
    # exports without a parity check are used only if named
    found = [one for one in found if one.proven or not selection.any_build]
    if found:
        best = max(found, key=lambda one: export_preference(one, run))
        verify_chain(best.path)  # refuses an export whose expert was replaced
        return _open_export(best.path, threads)
    if not selection.any_build:
        raise UsageError(
            f"no such export of region '{region}' in {run.path}",
            required="an export",
            fix=f"run `decompose export --region {region}` with the same --target, --profile and --precision",
        )
    if region != ROUTER:
        return _open_expert(experts_of(run, region)[region], threads)
    if not (run.experts_dir / ROUTER / MANIFEST).is_file():
        raise UsageError(
            f"no router in {run.path}", required="one that was extracted", fix="run `decompose extract --router` first"
        )
    return _open_mixture(run.experts_dir / ROUTER, threads)


def _open_export(path: Path, threads: int | None) -> LoadedNetwork:
    engine = load_engine(path, threads=threads)
    return _with_run(engine.exported, engine.run, engine.infer)


def _with_run(
    found: Exported | LoadedExpert | LoadedMixture, run: Callable[[Float32Array], Float32Array], infer: Infer
) -> LoadedNetwork:
    digest, volumes = found.manifest.digest, None
    if found.recipe.window is not None and found.region.task is not None and get_task(found.region.task).dense:
        volumes = VolumeRunner(found.recipe, get_task(found.region.task).exclusive)
    return LoadedNetwork(found.path, run, infer, found.info, digest, volumes, region=found.region, recipe=found.recipe)


def _open_expert(path: Path, threads: int | None) -> LoadedNetwork:
    import torch

    from lorkit.decompose.runs.expert import load_expert

    expert = load_expert(path)

    def run(batch: Float32Array) -> Float32Array:
        with torch.inference_mode():
            logits: Float32Array = expert.network(torch.from_numpy(batch)).numpy()
        return logits

    def infer(inputs: Mapping[str, Any]) -> Mapping[str, Float32Array]:
        return {LOGITS: run(inputs[first_input(expert.recipe)])}

    if threads is not None:
        torch.set_num_threads(threads)
    return _with_run(expert, run, infer)


def _open_mixture(path: Path, threads: int | None) -> LoadedNetwork:
    import torch

    from lorkit.decompose.runs.mixture import load_mixture

    found = load_mixture(path)
    if found.info.mixture.form != ROUTER:
        raise UsageError(
            f"{path} takes the region of each image as an input",
            required="a router, or the network of one region",
            fix="name the expert of a region",
        )

    def infer(inputs: Mapping[str, Any]) -> Mapping[str, Float32Array]:
        with torch.inference_mode():
            tensors = found.network(torch.from_numpy(inputs[IMAGE]))
        return {name: one.numpy() for name, one in zip(found.network.output_names, tensors, strict=True)}

    def run(batch: Float32Array) -> Float32Array:
        return infer({IMAGE: batch})[REGION_PROBABILITIES]

    if threads is not None:
        torch.set_num_threads(threads)
    return _with_run(found, run, infer)


class RegionCheckResult(NamedTuple):
    """Result of the region check of an image; all None if the network has no check."""

    out_of_region: bool | None = None
    distance: float | None = None
    limit: float | None = None


class PreparedImage(NamedTuple):
    """An image file as the input `values` (C, *spatial) of a network, with the spatial size of the image as read.

    `voxel_ml` is the volume of a voxel, None where it is not stated; `warnings` what the reader warns of; `stored` the
    file's own values where they were kept; `case` the plan of a volume that is taken window by window, whose `values`
    are the whole volume.
    """

    path: Path
    values: Float32Array
    size: tuple[int, ...]
    check: RegionCheckResult
    voxel_ml: float | None
    warnings: tuple[str, ...]
    stored: StoredImage | None = None
    case: VolumeCase | None = None


def prepare_image(
    network: LoadedNetwork, path: Path, *, keep: bool = False, check_region: bool = True
) -> PreparedImage:
    """Read and prepare an image file, and check whether it looks like the region of the network.

    Args:
        network: The network.
        path: The file, or the folder of a series.
        keep: Keep the file's own values beside those that the network takes.
        check_region: Whether to check the region; `checked` does it for many images at once.

    Raises:
        DataError: It cannot be read or prepared; the message names the file.
    """
    try:
        case = None if network.volumes is None else network.volumes.begin(network.run, path)
        begin = time.perf_counter()
        stored = open_image(path)
        image = network_values(stored, network.recipe.intensity, str(path), network.recipe.dims)
        seconds = time.perf_counter() - begin
        if network.volumes is not None:
            spacing = network_spacing(stored)
            size = stored.values.dtype.itemsize
            case = case or network.volumes.plan(network.run, image.shape, spacing, size, size)
            case.stages.seconds["read"] = seconds
    except DataError as error:
        raise _named(error, path) from None
    kept, given = stored if keep else None, (stored.voxel_ml, stored.warnings, network_spacing(stored))
    del stored  # a scaled volume has 8 bytes per voxel
    prepared = prepare_values(
        network, image, path, voxel_ml=given[0], warnings=given[1], spacing_mm=given[2], case=case
    )
    prepared = checked(network, [prepared])[0] if check_region else prepared
    return prepared._replace(stored=kept)


def prepare_values(
    network: LoadedNetwork,
    image: NDArray[Any],
    path: Path,
    *,
    voxel_ml: float | None = None,
    warnings: tuple[str, ...] = (),
    spacing_mm: tuple[float, ...] | None = None,
    case: VolumeCase | None = None,
    known: Float32Array | None = None,
) -> PreparedImage:
    """Prepare the values of one image; `checked` says whether it looks like the region of the network.

    Args:
        network: The network.
        image: (H, W), (H, W, 3) or (D, H, W), as `apply_recipe` takes it.
        path: Its file, or a name for it.
        voxel_ml: Volume of a voxel in millilitres, if it is known.
        warnings: What the reader warns of.
        spacing_mm: Distance of neighbours along the axes of a volume, if it is known.
        case: The plan of a volume that is taken window by window; made here where it is missing.
        known: The prepared values, where a network with the same preprocessing has them already.

    Raises:
        DataError: It cannot be prepared; the message has its name.
    """
    try:
        if network.volumes is not None and case is None:
            case = network.volumes.plan(network.run, image.shape, spacing_mm, image.itemsize, image.itemsize)
        with case.stages.stage("resample") if case is not None else nullcontext():
            values = apply_recipe(network.recipe, image, spacing_mm) if known is None else known
    except DataError as error:
        raise _named(error, path) from None
    size = image.shape[: values.ndim - 1]
    return PreparedImage(path, values, size, RegionCheckResult(), voxel_ml, warnings, case=case)


def checked(network: LoadedNetwork, images: Sequence[PreparedImage]) -> list[PreparedImage]:
    """Check whether prepared images look like the region of the network, where it has such a check."""
    if isinstance(network.info, MixtureInfo) or network.info.in_region is None:
        return list(images)
    views = np.stack([one.values if one.case is None else region_check.overview(one.values) for one in images])
    found = region_check.check_all(network.info.in_region, views)
    return [
        image._replace(check=RegionCheckResult(out_of_region=not inside, distance=distance, limit=limit))
        for image, (distance, limit, inside) in zip(images, found, strict=True)
    ]


def _named(error: DataError, path: Path) -> DataError:
    if str(path) in str(error):
        return error
    return DataError(f"{path}: {error.given}", required=error.required, fix=error.fix)
