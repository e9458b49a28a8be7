"""RAGFormer: one network of all graphs with a head for each, trained on labels alone, without a foundation.

The network is `models.backbones.graphs.ragformer` unless `student.backbone` names another one. It can be the foundation
of further runs (`foundation.weights`), from which `rd` makes a small student and `lorkd` experts by region.
"""

from __future__ import annotations

from lorkit.decompose.methods.graphs.base import NodeStudent
from lorkit.decompose.models.backbones.graphs.ragformer import Sizes
from lorkit.decompose.models.backbones.graphs.variants import changed_ragformer

ABLATIONS: dict[str, Sizes] = {
    "ragformer-no-mixing": {"mixing": False},
    "ragformer-no-topology": {"topology": False},
    "ragformer-no-fusion": {"fusion": False},
    "ragformer-no-group-sizes": {"group_sizes": False},
    "ragformer-no-label-dropout": {"label_dropout": 0.0},
}
"""Names in a comparison of RAGFormers that lack one part."""


class RagformerMethod(NodeStudent):
    """`ragformer`: cross-entropy of every graph on one network."""

    name = "ragformer"


def ablation_settings(name: str, backbone: str) -> tuple[str, ...]:
    """Return the `a.b=c` settings of an ablation of the RAGFormer `backbone`, or of the default one."""
    return (f"student.backbone={changed_ragformer(backbone, **ABLATIONS[name])}",)


METHOD = RagformerMethod()
