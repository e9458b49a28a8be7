"""The paper's router."""

from __future__ import annotations

import pytest

from lorkit.decompose.experts.gating_network import GatingNetwork
from lorkit.decompose.experts.routers import router_class
from lorkit.decompose.models.cost import count_macs, count_parameters


def test_the_image_router_is_the_papers_resnet_20() -> None:
    gating = GatingNetwork(router_class("image")((3, 224, 224)), 4)
    assert count_parameters(gating) == 269_332  # spec/mola.md, section 2
    assert count_macs(gating.router, (3, 224, 224)) == pytest.approx(1.99e9, rel=0.01)
