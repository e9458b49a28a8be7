"""GAGA: the transformer of RAGFormer alone, without mixing across relations and without propagated features.

After Wang et al., "Label information enhanced fraud detection against low homophily in graphs", WWW 2023. Its sizes and
its input are those of the RAGFormer in `student.backbone`, so that both differ in nothing else.
"""

from __future__ import annotations

from lorkit.decompose.config import Config
from lorkit.decompose.methods.graphs.base import NodeStudent
from lorkit.decompose.models.backbones.graphs.variants import changed_ragformer


class Gaga(NodeStudent):
    """`gaga`: cross-entropy of every graph on RAGFormer's transformer."""

    name = "gaga"

    def deployed_backbone(self, config: Config) -> str:
        """Return the configured RAGFormer without mixing, topology and fusion."""
        return changed_ragformer(config.student.backbone, mixing=False, topology=False, fusion=False)


METHOD = Gaga()
