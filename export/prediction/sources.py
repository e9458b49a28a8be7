"""What a prediction says of the networks that made it."""

from __future__ import annotations

from collections.abc import Sequence

import lorkit
from lorkit.decompose.documents.predict import MaskValue, PredictingNetwork
from lorkit.export.prediction.network import LoadedNetwork
from lorkit.export.prediction.writers.base import MaskLabel, MaskSource


def about(network: LoadedNetwork) -> PredictingNetwork:
    """Return a network as documents name it."""
    info, place = network.info, {"path": str(network.path), "digest": network.digest}
    if info.kind == "export":
        return PredictingNetwork(**place, kind="export", owner=info.owner, target=info.target, precision=info.precision)
    return PredictingNetwork(**place, kind="expert", owner="expert", target=None, precision="fp32")


def source_of(networks: Sequence[LoadedNetwork]) -> MaskSource:
    """Return the networks of masks, as the files of masks name them."""
    named = [about(network) for network in networks]
    kinds = dict.fromkeys(" ".join(filter(None, (one.owner, one.target, one.precision))) for one in named)
    return MaskSource(
        region=",".join(network.region.name for network in networks),
        network=", ".join(kinds),
        digests={network.region.name: network.digest for network in networks},
        version=lorkit.__version__,
        synthetic=any(network.info.synthetic for network in networks),
    )


def mask_values(labels: Sequence[MaskLabel]) -> list[MaskValue]:
    """Return what the values of masks mean, for a document."""
    return [MaskValue(value=label.value, structure=label.name, region=label.region) for label in labels]
