"""Linear probes: the frozen foundation, with one linear head per region fitted directly on its features."""

from __future__ import annotations

from collections.abc import Mapping

from lorkit.decompose.config import Config
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.baselines.finetune import FineTuned
from lorkit.decompose.methods.probes import probe_for
from lorkit.decompose.models.regional import RegionalModel


class LinearProbe(FineTuned):
    """`linear-probe`: logistic regression on the frozen foundation's features, its ridge chosen on validation."""

    name = "linear-probe"
    separate = False  # all heads share one backbone

    def adapt(self, live: RegionalModel, config: Config) -> TrainingModule:
        """Return a module with only the heads trainable."""
        live.backbone.requires_grad_(False)
        return super().adapt(live, config)

    def fit(self, live: RegionalModel, train: Mapping[str, PreparedRegion], val: Mapping[str, PreparedRegion]) -> None:
        """Fit the head of each region on the features of its training part."""
        for region in live.regions:
            name = region.name
            head = probe_for(live, region, train[name], val[name])
            live.heads[name] = head.to(next(live.parameters()).device)

    def notices(self, config: Config) -> list[str]:
        """Return which settings have no effect."""
        names = ("layer_decay", "freeze_epochs", "patience", "logit_adjustment", "label_smoothing")
        stated = [f"train.{name} {getattr(config.train, name)}" for name in names if getattr(config.train, name)]
        text = "linear-probe fits its heads on frozen features: train.epochs, train.lr and augmentation do not apply"
        return [", nor ".join((text, ", ".join(stated)))] if stated else [text]


METHOD = LinearProbe()
