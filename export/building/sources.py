"""Networks to export: the experts of a run, those for several regions, its foundation and student, or one copied.

They are known by their documents. Their weights are read when they are asked for, which needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts import MANIFEST, Manifest, read_manifest
from lorkit.decompose.artifacts.manifest import replaced
from lorkit.decompose.artifacts.places import HOMES, NETWORK
from lorkit.decompose.documents.base import Owner
from lorkit.decompose.documents.expert import ExpertInfo
from lorkit.decompose.documents.heads import MIXTURES, Mixture
from lorkit.decompose.documents.network import StoredNetwork
from lorkit.decompose.errors import UsageError
from lorkit.decompose.runs import OWNERS, Run, experts_of, open_run
from lorkit.decompose.runs.extracted import is_mixture, read_expert, read_mixture
from lorkit.decompose.runs.lineage import run_of_expert
from lorkit.decompose.runs.listing import GIVEN_SOURCE
from lorkit.decompose.runs.selection import require_region
from lorkit.decompose.runs.store import missing_baseline
from lorkit.export.runtime.exported import Exported

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

    from lorkit.decompose.runs.expert import LoadedExpert
    from lorkit.decompose.runs.mixture import LoadedMixture
    from lorkit.decompose.runs.networks import RunNetworks

WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class ExportableNetwork(StoredNetwork):
    """One network to export.

    Attributes:
        owner: expert, foundation or student.
        parent: Checked manifest of the artifact that it comes from.
        home: Directory of its exports.
        run: Its run; None for an expert that was copied out of one.
        info: `expert.json` of an expert.
        graph: Its graph in the form of this project's files, of a network that is no module of torch.
        mixture: The heads of a network for several regions.
        stated_cost: Parameters and MACs as its artifact states them; None: they are counted.
    """

    owner: Owner
    parent: Manifest
    home: Path
    run: Run | None
    load: Callable[[], nn.Module] = field(repr=False)
    info: ExpertInfo | None = field(default=None, repr=False)
    graph: Callable[[], ir.Model] | None = field(default=None, repr=False)
    mixture: Mixture | None = field(default=None, repr=False)
    stated_cost: tuple[int, int | None] | None = None

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on drawn images only."""
        # that of an expert's manifest is held against `expert.json` when it is read
        return self.region.synthetic or (self.parent.synthetic if self.run is None else self.run.synthetic)

    @property
    def weights_digest(self) -> str:
        """Digest of its weights."""
        files = self.parent.files
        return files.get(WEIGHTS, files.get(GIVEN_SOURCE, self.parent.digest))

    @property
    def run_digest(self) -> str | None:
        """Digest of the manifest of its run, also of a run that is not here."""
        if self.run is not None:
            return self.run.manifest.digest
        return None if self.parent.parent is None else self.parent.parent["sha256"]

    @cached_property
    def network(self) -> nn.Module:
        """The network, on the CPU, in eval mode."""
        return self.load()

    def cost(self) -> tuple[int, int | None]:
        """Return parameters, and MACs of one image."""
        if self.stated_cost is not None:
            return self.stated_cost
        from lorkit.decompose.models.cost import count_macs, count_parameters

        return count_parameters(self.network), count_macs(self.network, self.shape)


class OpenedRun:
    """A run whose networks are read when they are asked for, each once."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def networks(self) -> RunNetworks:
        """Its networks."""
        from lorkit.decompose.runs.networks import RunNetworks

        return RunNetworks(self.run)


def networks_of_run(
    run: Run, region: str | None = None, owners: Sequence[str] = OWNERS, out: Path | None = None
) -> list[ExportableNetwork]:
    """Return the networks of a run's extracted experts by region: the named owners of each.

    Runs whose method needs no foundation model have none to export.

    Raises:
        UsageError: An unknown owner or region, or no extracted expert.
    """
    strange = [owner for owner in owners if owner not in OWNERS]
    if strange:
        raise UsageError(f"unknown owner '{strange[0]}'", required=f"one of {', '.join(OWNERS)}", fix="name one")
    opened, root = OpenedRun(run), out or run.exports_dir
    if run.given is not None:
        return [given_network(run, home=root / name) for name in run.regions.select(region).names]
    extracted = experts_of(run, region)
    # a network for several regions is compared with the foundation of each of them
    several = any(name in MIXTURES for name in extracted)
    alone = [name for name in run.regions.names if name in extracted]
    compared = {"student": alone, "foundation": list(run.regions.names) if several else alone}
    sources: list[ExportableNetwork] = []
    for owner in (owner for owner in OWNERS if owner in owners):
        if owner == "expert":
            sources += [exportable_expert(path, home=root / name, run=run) for name, path in extracted.items()]
        elif owner == "student" or _exportable(run):
            sources += [_exportable_model(opened, owner, name, root / owner / name) for name in compared[owner]]
    return sources


def _exportable(run: Run) -> bool:
    return (run.foundation_dir / MANIFEST).is_file() and missing_baseline(run) is None


def exportable_expert(path: Path, *, home: Path | None = None, run: Run | None = None) -> ExportableNetwork:
    """Return an extracted expert or a network for several regions for export, also a copied one."""
    home = home or path / "exports"
    if is_mixture(path):
        mixture = read_mixture(path)
        return ExportableNetwork(
            owner="expert",
            region=mixture.region,
            parent=mixture.manifest,
            recipe=mixture.recipe,
            home=home,
            run=run,
            load=lambda: _load_mixture(mixture.manifest),
            mixture=mixture.info.mixture,
            stated_cost=(mixture.info.parameters, mixture.info.macs),
        )
    expert = read_expert(path)
    return ExportableNetwork(
        owner="expert",
        region=expert.region,
        parent=expert.manifest,
        recipe=expert.recipe,
        home=home,
        run=run,
        load=lambda: _load_expert(expert.manifest),
        info=expert.info,
        stated_cost=(expert.info.parameters, expert.info.macs),
    )


def _load_expert(known: Manifest) -> nn.Module:
    from lorkit.decompose.runs.expert import load_expert

    return _unchanged(load_expert(known.path), known)


def _load_mixture(known: Manifest) -> nn.Module:
    from lorkit.decompose.runs.mixture import load_mixture

    return _unchanged(load_mixture(known.path), known)


def _unchanged(loaded: LoadedExpert | LoadedMixture, known: Manifest) -> nn.Module:
    """Return a network, unless another process replaced it since its description was read."""
    if loaded.manifest.digest != known.digest:
        raise replaced(known)
    return loaded.network


def given_network(run: Run, *, home: Path | None = None) -> ExportableNetwork:
    """Return a network that lorkit did not train for export; it is compared with itself as it was given."""
    from lorkit.decompose.runs.recipes import recipe_of_region
    from lorkit.export.onnx.given.form import GivenForm
    from lorkit.export.onnx.given.network import GivenNetwork, cost_of
    from lorkit.export.onnx.given.reading import read_given

    assert run.given is not None
    (region,) = run.regions
    recipe = recipe_of_region(run, region.name)
    network = GivenNetwork(read_given(run.path / GIVEN_SOURCE), GivenForm.of(run.given, region, recipe))
    graph = network.canonical()
    return ExportableNetwork(
        owner="expert",
        region=region,
        parent=run.manifest,
        recipe=recipe,
        home=home or run.exports_dir / region.name,
        run=run,
        load=lambda: network,
        graph=lambda: graph,
        stated_cost=cost_of(graph),
    )


def networks_at(path: Path, region: str | None, owners: Sequence[str], out: Path | None) -> list[ExportableNetwork]:
    """Return the networks of a path: a run (or its id), or an expert; raise UsageError for anything else."""
    if not (path / MANIFEST).is_file():
        return networks_of_run(open_run(path), region, owners, out)
    kind = read_manifest(path, verify=False).kind
    if kind in HOMES:
        return networks_of_run(open_run(path), region, owners, out)
    if kind not in ("expert", "mixture"):
        raise UsageError(f"{path} is of kind '{kind}'", required="a run or an expert", fix="name one of them")
    run = run_of_expert(require_region(path, region))
    name = path.resolve().name
    home = out / name if out else run.exports_dir / name if run else None
    return [exportable_expert(path, home=home, run=run)]


def origin_of(exported: Exported, parent: Path, opened: dict[Path, OpenedRun]) -> ExportableNetwork:
    """Return the source network of an export, from the directory `parent` in its manifest.

    `opened` caches the models of runs, since reading them is slow.

    Raises:
        ArtifactError: That directory no longer contains it.
    """
    if read_manifest(parent, verify=False).kind == NETWORK:
        return given_network(open_run(parent))
    if exported.owner == "expert":
        return exportable_expert(parent, run=run_of_expert(parent))
    path = (parent.parent if exported.owner == "foundation" else parent).resolve()
    if path not in opened:
        opened[path] = OpenedRun(open_run(path))
    return _exportable_model(opened[path], exported.owner, exported.region.name, exported.path.parent)


def _exportable_model(opened: OpenedRun, owner: Owner, name: str, home: Path) -> ExportableNetwork:
    from lorkit.decompose.runs.recipes import foundation_recipe, recipe_of_region  # with all of the configuration

    run, foundation = opened.run, owner == "foundation"
    return ExportableNetwork(
        owner=owner,
        region=run.regions.get(name),
        parent=read_manifest(run.foundation_dir, kind="foundation") if foundation else run.manifest,
        recipe=foundation_recipe(run, name) if foundation else recipe_of_region(run, name),
        home=home,
        run=run,
        load=lambda: opened.networks.foundation(name) if foundation else opened.networks.student(name),
    )
