"""Open the network of a prediction: an export with its runtime, or an extracted expert with torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorkit.decompose.artifacts import MANIFEST, read_manifest, verify_chain
from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.artifacts.manifest import replaced
from lorkit.decompose.artifacts.places import HOMES
from lorkit.decompose.documents.heads import IMAGE, LOGITS, REGION_PROBABILITIES, Mixture, first_input
from lorkit.decompose.documents.network import StoredNetwork
from lorkit.decompose.errors import UsageError
from lorkit.decompose.runs.selection import ExportSelection, require_region
from lorkit.decompose.tasks import get_task
from lorkit.export.runtime.engine import engine_of
from lorkit.export.runtime.exported import Exported, read_exported
from lorkit.export.runtime.outputs import require_finite
from lorkit.export.runtime.preference import export_preference

if TYPE_CHECKING:
    from lorkit.decompose.documents.expert import ExpertInfo
    from lorkit.decompose.documents.export import ExportInfo
    from lorkit.decompose.documents.mixture import MixtureInfo
    from lorkit.decompose.runs import Run
    from lorkit.decompose.runs.expert import LoadedExpert
    from lorkit.decompose.runs.mixture import LoadedMixture
    from lorkit.export.prediction.volumes import VolumeRunner


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
        mixture = None if self.info.kind == "expert" else self.info.mixture
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
            return _open_export(read_exported(Path(path), selection), threads)
        if kind == "expert":
            return _open_expert(require_region(Path(path), selection.region), threads)
        if kind == "mixture":
            return _open_mixture(require_region(Path(path), selection.region), threads)
        if kind not in HOMES:
            raise UsageError(f"{path} is of kind '{kind}'", required="an export, an expert or a run", fix="name one")
        run = path
    from lorkit.decompose.runs import open_run

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
    from lorkit.decompose.runs import experts_of, exports_of

    region = str(selection.region)
    found = [read_exported(entry.path) for entry in exports_of(run, selection, owners=("expert",))]
    # exports without a parity check are used only if named
    found = [one for one in found if one.proven or not selection.any_build]
    if found:
        best = max(found, key=lambda one: export_preference(one, run))
        # refuses an export whose expert was replaced
        if verify_chain(best.path)[0].digest != best.manifest.digest:
            raise replaced(best.manifest)
        return _open_export(best, threads)
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


def _open_export(exported: Exported, threads: int | None) -> LoadedNetwork:
    engine = engine_of(exported, threads=threads)
    return _with_run(engine.exported, engine.run, engine.infer)


def _with_run(
    found: Exported | LoadedExpert | LoadedMixture, run: Callable[[Float32Array], Float32Array], infer: Infer
) -> LoadedNetwork:
    digest, volumes = found.manifest.digest, None
    if found.recipe.window is not None and found.region.task is not None and get_task(found.region.task).dense:
        from lorkit.export.prediction.volumes import VolumeRunner  # pictures do without

        volumes = VolumeRunner(found.recipe, get_task(found.region.task).exclusive)
    return LoadedNetwork(found.path, run, infer, found.info, digest, volumes, region=found.region, recipe=found.recipe)


def _open_expert(path: Path, threads: int | None) -> LoadedNetwork:
    import torch

    from lorkit.decompose.runs.expert import load_expert

    expert = load_expert(path)

    def run(batch: Float32Array) -> Float32Array:
        with torch.inference_mode():
            logits: Float32Array = expert.network(torch.from_numpy(batch)).numpy()
        require_finite({LOGITS: logits}, path)
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
        outputs = {name: one.numpy() for name, one in zip(found.network.output_names, tensors, strict=True)}
        require_finite(outputs, path)
        return outputs

    def run(batch: Float32Array) -> Float32Array:
        return infer({IMAGE: batch})[REGION_PROBABILITIES]

    if threads is not None:
        torch.set_num_threads(threads)
    return _with_run(found, run, infer)
