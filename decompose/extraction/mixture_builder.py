"""Build a network of several regions of a run: check that it equals the live model, measure and write it.

Shapes: N images, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from lorkit.decompose.artifacts import save_tensors, write_manifest, write_text
from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.evaluate import RegionPrediction
from lorkit.decompose.documents.expert import Equality
from lorkit.decompose.documents.heads import REGION_ID, ROUTER, Head, Mixture, head_output
from lorkit.decompose.documents.mixture import MixtureInfo
from lorkit.decompose.documents.network import Decision, ImageShape, Normalisation
from lorkit.decompose.documents.scores import TaskScores
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.inference import predict_logits
from lorkit.decompose.evaluation.region_calibration import fit_region_predictor
from lorkit.decompose.evaluation.routed_evaluation import live_router
from lorkit.decompose.evaluation.scoring import score_inputs, task_scores
from lorkit.decompose.evaluation.unknown_regions import (
    region_prediction,
    router_of_network,
    score_unknown,
    shared_recipe,
)
from lorkit.decompose.extraction.equality import check_equality, check_mixed_batch, check_outputs
from lorkit.decompose.extraction.expert_source import source_of
from lorkit.decompose.extraction.mixture_card import mixture_card
from lorkit.decompose.extraction.torch_program import write_program
from lorkit.decompose.models.cost import count_macs, count_parameters
from lorkit.decompose.models.deployed_mixtures import region_id_network, require_picked, require_router, router_network
from lorkit.decompose.models.foundation.model import load_strict
from lorkit.decompose.models.mixtures.networks import OneHead, RegionIdNetwork, RouterNetwork
from lorkit.decompose.models.region_predictor import ABSTAIN_BELOW
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.expert import CARD, PROGRAM, WEIGHTS
from lorkit.decompose.runs.listing import EXPERT_INFO
from lorkit.decompose.runs.live_model import deployed_backbone
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.runs.mixture import MixtureNetwork, fresh_mixture, layers_of
from lorkit.decompose.runs.networks import RunNetworks
from lorkit.decompose.tasks import get_task


class MixtureBuilder:
    """Builds the networks of several regions of one run; model and data are read once.

    Args:
        run: The run.

    Raises:
        ArtifactError: The run is damaged.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.networks, self.data = run, RunNetworks(run), RunSplits(run)

    def check(self, form: str) -> None:
        """Raise UsageError for graphs, a method without such a network, or regions that are prepared differently."""
        if self.data.recipe(self.run.regions.names[0]).nodes is not None:
            raise UsageError(
                f"{form} of the graphs of {self.run.path}",
                required="regions of images",
                fix="extract single regions with --region",
            )
        if shared_recipe(self.data).window is not None:
            raise UsageError(
                f"{form} of {self.run.path}, whose networks take windows of volumes",
                required="regions whose networks take whole images",
                fix="extract single regions with --region",
            )
        if form == ROUTER:
            require_router(self.networks.live)
        else:
            require_picked(self.networks.live)

    def build(self, form: str, directory: Path, inputs: str) -> None:
        """Write one network into a staging directory; `inputs` is the digest of all that determines it.

        Raises:
            UsageError: See `check`.
            DataError: The run's data is missing: equality is checked on images of the validation split.
            ParityError: The network differs from the live model.
        """
        self.check(form)
        shape, live = shared_recipe(self.data).shape, self.networks.live
        network = self._router() if form == ROUTER else self._by_id(shape)
        found = {name: predict_logits(OneHead(network, at), one) for at, (name, one) in enumerate(self.val.items())}
        measured = {name: self._measure(name, logits) for name, logits in found.items()}
        equality = {
            name: check_equality(live, network, one, found[name], measured[name][0]) for name, one in self.val.items()
        }
        info = self._describe(network, equality, measured)
        load_strict(fresh_mixture(info), network.state_dict(), Path(WEIGHTS))  # refuses what cannot be read back
        save_tensors(directory / WEIGHTS, network.state_dict(), {"format": "pt", "backbone": info.backbone})
        write_program(network, directory / PROGRAM, shape=shape)
        info.write(directory / EXPERT_INFO)
        write_text(directory / CARD, mixture_card(info))
        extra = {"region": form, "regions": list(self.run.regions.names)}
        write_manifest(
            directory, "mixture", synthetic=info.synthetic, parent=self.run.manifest, inputs=inputs, extra=extra
        )

    @cached_property
    def val(self) -> dict[str, PreparedRegion]:
        """The validation part of each region."""
        return {name: self.data.part(name, "val") for name in self.run.regions.names}

    def _by_id(self, shape: tuple[int, ...]) -> RegionIdNetwork:
        live = require_picked(self.networks.live)
        network = region_id_network(live, shape)
        check_mixed_batch(live, network, self.val)
        return network

    def _router(self) -> RouterNetwork:
        live, policy = require_router(self.networks.live), self.run.config.mola.heads
        train = {name: self.data.part(name, "train") for name in self.run.regions.names}
        predictor = fit_region_predictor(live, train, self.val)
        network = router_network(live, predictor, policy)
        check_outputs(live_router(live, predictor, policy), network, self.val)
        return network

    def _describe(
        self,
        network: MixtureNetwork,
        equality: Mapping[str, Equality],
        measured: Mapping[str, tuple[Decision | None, TaskScores]],
    ) -> MixtureInfo:
        config, recipe = self.run.config, next(iter(self.val.values())).recipe
        router = isinstance(network, RouterNetwork)
        mixture = Mixture(
            form=ROUTER if router else REGION_ID,
            heads=[self._head(name, decision) for name, (decision, _) in measured.items()],
            policy=config.mola.heads if router else "routed",
            abstain_below=ABSTAIN_BELOW if router else None,
        )
        return MixtureInfo(
            mixture=mixture,
            backbone=deployed_backbone(config),
            image=ImageShape(size=list(recipe.size), channels=recipe.channels),
            recipe=recipe,
            gray=all(one.stored.shape[1] == 1 for one in self.val.values()),
            normalise=Normalisation(mean=network.normalise.mean.tolist(), std=network.normalise.std.tolist()),
            gated_layers=layers_of(network),
            parameters=count_parameters(network),
            macs=count_macs(network, recipe.shape),
            cases_by_region={name: self.data.counts(name) for name in self.run.regions.names},
            synthetic=self.run.synthetic,
            made_from=source_of(self.run, self.run.regions.names),
            equality_by_region=dict(equality),
            validation_by_region={name: scores for name, (_, scores) in measured.items()},
            prediction=self._prediction(network, mixture) if isinstance(network, RouterNetwork) else None,
        )

    def _measure(self, name: str, logits: Float32Array) -> tuple[Decision | None, TaskScores]:
        """Return the thresholds of a head and its scores, both on validation."""
        val = self.val[name]
        inputs = score_inputs(val, slice(None), logits)
        policy = self.run.config.regions[name].threshold
        decision = get_task(val.region.task).decide(val.region, val.targets, inputs, policy)
        return decision, task_scores(val, inputs, decision)

    def _head(self, name: str, decision: Decision | None) -> Head:
        region = self.run.regions.get(name)
        head = Head(**Head.describing(region), synthetic=region.synthetic, output=head_output(name))
        return head if decision is None else head.with_changes(decision=decision)

    def _prediction(self, network: RouterNetwork, mixture: Mixture) -> RegionPrediction:
        router = router_of_network(network, mixture, next(iter(self.val.values())).recipe)
        return region_prediction(router, self.val, score_unknown(router, self.val))
