"""The network of a run that is measured: experts, student or foundation, and the experts' router."""

from __future__ import annotations

from torch import nn

from lorkit.decompose.artifacts.manifest import Manifest, check_unchanged
from lorkit.decompose.data.samples.class_names import is_sided
from lorkit.decompose.documents.heads import ROUTER
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.evaluation.thresholds import decide
from lorkit.decompose.evaluation.unknown_regions import RunRouter, router_of_live_model, router_of_network
from lorkit.decompose.events import Listener, Working
from lorkit.decompose.models.foundation.teacher import Teacher
from lorkit.decompose.models.routed import RoutedModel
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.expert import LoadedExpert, load_expert
from lorkit.decompose.runs.extracted import is_expert, is_mixture
from lorkit.decompose.runs.lineage import check_parent
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.runs.mixture import load_mixture
from lorkit.decompose.runs.networks import RunNetworks
from lorkit.decompose.runs.recipes import foundation_recipe, recipe_of_region
from lorkit.decompose.tasks import get_task


class RunModel:
    """One model of a run: its network, the preprocessing and the thresholds of each region."""

    def __init__(self, run: Run, model: str, teacher: Teacher | None, splits: RunSplits) -> None:
        self.run, self.model, self.networks, self.splits = run, model, RunNetworks(run, teacher), splits
        self.notes: list[str] = []
        self._extracted: dict[str, LoadedExpert] = {}

    @property
    def opened(self) -> list[Manifest]:
        """The manifests of what was read so far, the run first."""
        return [self.run.manifest, *(expert.manifest for expert in self._extracted.values())]

    def recipe(self, region: str) -> Recipe:
        """Return the preprocessing of the network's images."""
        if self.model != "foundation" or self.run.given is not None:
            return recipe_of_region(self.run, region)
        self.networks.require_foundation(region)
        return foundation_recipe(self.run, region)

    def sided(self, region: str) -> bool:
        """Return whether left and right differ in a region, so that its images are not mirrored."""
        config = self.run.config
        return is_sided(self.run.regions.get(region), config.regions[region].augment, config.train.augment)

    def network(self, region: str) -> tuple[nn.Module, str]:
        """Return the network of a region and its source."""
        if self.run.given is not None:
            return self._given(self.run.given.source), "given"
        if self.model == "foundation":
            return self.networks.foundation(region), str(self.networks.foundation_model.heads[region])
        if self.model == "student":
            return self.networks.student(region), "live"
        directory = self.run.experts_dir / region
        if not is_expert(directory):
            return self.networks.expert(region), "live"
        expert = self._extracted[region] = load_expert(directory)
        check_parent(expert, self.run)
        return expert.network, "extracted"

    def _given(self, source: str) -> nn.Module:
        if self.model != "experts" or self.run.network is None:
            raise UsageError(
                f"model {self.model} of {self.run.place}",
                required=f"the network itself, {source}, which lorkit did not train",
                fix="leave --model out",
            )
        network: nn.Module = self.run.network
        return network

    def router(self, on_event: Listener) -> RunRouter | None:
        """Return the network that answers without knowing the region; None for other models and methods."""
        live = self.networks.live if self.model == "experts" and self.run.given is None else None
        if not isinstance(live, RoutedModel):
            return None
        directory = self.run.experts_dir / ROUTER
        if is_mixture(directory):
            extracted = load_mixture(directory)
            check_parent(extracted, self.run)
            return router_of_network(extracted.network, extracted.info.mixture, extracted.recipe)
        on_event(Working("the region predictor", 0, 1))
        try:
            return router_of_live_model(self.run, live, self.splits)
        except UsageError as error:
            self.notes.append(f"no result without a known region: {error.given}")
            return None

    def decision(self, region: str, network: nn.Module) -> Decision | None:
        """Return the thresholds of a region's network: those of the expert, else chosen on validation."""
        if not get_task(self.run.regions.get(region).task).decides:
            return None
        if region in self._extracted:
            return self._extracted[region].info.decision
        try:
            val = self.splits.part(region, "val", recipe=self.recipe(region))
        except DataError as error:
            self.notes.append(f"region '{region}' has no thresholds: its validation part is missing ({error.given})")
            return None
        return decide(network, val, self.run.config.regions[region].threshold)


def check_sources(known: RunModel | None, expert: LoadedExpert | None) -> None:
    """Raise BusyError if what is measured was replaced since it was opened, ArtifactError if a file was changed."""
    for manifest in [*(known.opened if known else ()), *([expert.manifest] if expert else ())]:
        check_unchanged(manifest)
