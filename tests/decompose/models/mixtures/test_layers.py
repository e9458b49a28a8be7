from __future__ import annotations

import pytest
import torch
from gated_checks import CONVS, SAMPLES, check, live_layer, live_outputs, spec
from torch import nn

from lorkit.decompose.documents.gated import GatedForm
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import ExpertConfig
from lorkit.decompose.models.mixtures.building import gated_backbone


@pytest.mark.parametrize("layout", ["conv", "reshape"])
@pytest.mark.parametrize("form", [None, "low-rank", "mixed", "full"])
@pytest.mark.parametrize("shape", [(6,), (7, 6), (2, 3, 6)])
def test_linear_layers_equal_the_live_layer(layout: str, form: GatedForm, shape: tuple[int, ...]) -> None:
    x = torch.randn(SAMPLES, *shape, dtype=torch.float64)
    check(nn.Linear(6, 4), x, ExpertConfig(rank=2, ranks={"a1": 3}, layout=layout), 3, form)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_weights_per_sample_equal_the_live_layer(dims: int, bias: bool) -> None:
    layer = CONVS[dims](6, 4, 1, bias=bias)
    x = torch.randn(SAMPLES, 6, *(3,) * dims, dtype=torch.float64)
    check(layer, x, ExpertConfig(rank=2), 3, "mixed")


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_layers_equal_the_live_layer(groups: int) -> None:
    layer = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups)
    x = torch.randn(SAMPLES, 4, 6, 6, dtype=torch.float64)
    assert check(layer, x, ExpertConfig(depthwise=True), 3) == "full"


def test_padding_of_reflected_pixels_is_kept() -> None:
    x = torch.randn(SAMPLES, 4, 6, 6, dtype=torch.float64)
    for layout in ("conv", "reshape"):
        layer = nn.Conv2d(4, 5, 3, padding=1, padding_mode="reflect")
        check(layer, x, ExpertConfig(rank=2, layout=layout), 3, "blocks" if layout == "reshape" else "low-rank")


def test_rows_may_be_several_windows_of_a_sample() -> None:
    ids = torch.tensor([2, 0, 1, 1, 0])
    for layer, shape in ((nn.Linear(6, 4), (7, 6)), (nn.Conv2d(6, 4, 1), (6, 2, 2))):
        network, routing = live_layer(layer, 3, ExpertConfig(rank=2))
        x = torch.randn(SAMPLES * 4, *shape, dtype=torch.float64)
        for form in ("low-rank", "mixed", "full"):
            gated, (held,) = gated_backbone(network, [spec(form, [2, 2, 2])], [routing])
            held.pick(ids)
            torch.testing.assert_close(gated(x), live_outputs(network, routing, x, ids), rtol=1e-10, atol=1e-10)


def test_gates_of_no_batch_are_refused() -> None:
    network, routing = live_layer(nn.Linear(6, 4), 2, ExpertConfig(rank=2))
    gated, _ = gated_backbone(network, [spec("low-rank", [2, 2])], [routing])
    with pytest.raises(UsageError, match="without gates"):
        gated(torch.randn(2, 6, dtype=torch.float64))
