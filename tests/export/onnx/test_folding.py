"""Batch norms folded into convolutions: the program still computes what the network does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lorkit.export.onnx.folding import fold_batch_norms

SIDES = {1: (9,), 2: (9, 8), 3: (5, 6, 4)}
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def trained(network: nn.Module) -> nn.Module:
    """Give norms statistics and weights as training does, and return the network for inference."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, tuple(NORMS.values())) and module.track_running_stats:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    module.weight.normal_()
                    module.bias.normal_()
    return network.double().eval()


def fold(network: nn.Module, dims: int = 2) -> tuple[int, Tensor, Tensor]:
    """Return how many norms were folded, and what the program and the network compute."""
    image = torch.rand(2, 2, *SIDES[dims], dtype=torch.float64)
    program = torch.export.export(network, (image,), strict=False)
    with torch.no_grad():
        folded = fold_batch_norms(program)
        return folded, program.module()(image), network(image)


def norms_left(network: nn.Module, dims: int = 2) -> int:
    program = torch.export.export(network, (torch.rand(2, 2, *SIDES[dims], dtype=torch.float64),), strict=False)
    with torch.no_grad():
        fold_batch_norms(program)
    return len(program.graph.find_nodes(op="call_function", target=torch.ops.aten.batch_norm.default))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_folded_program_computes_the_same(dims: int, affine: bool, bias: bool) -> None:
    layers = [CONVOLUTIONS[dims](2, 4, 3, stride=2, groups=2, bias=bias), NORMS[dims](4, affine=affine), nn.ReLU()]
    network = trained(nn.Sequential(*layers))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded, found, wanted = fold(network, dims)
    assert folded == int(affine or bias)  # else there is no bias to write to
    assert norms_left(network, dims) == 1 - folded
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Branched(nn.Module):
    """Norms that no fold may remove: of maps used elsewhere too, of a shared convolution, shared, and the output."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.convolution, self.norm = kind, nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.other = nn.BatchNorm2d(2)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.convolution(image)
        if self.kind == "maps":
            return (self.norm(maps) + maps).relu()
        if self.kind == "kernel":
            return (self.norm(maps) + self.other(self.convolution(image.relu()))).relu()
        if self.kind == "norm":
            return (self.norm(maps) + self.norm(image)).relu()
        return self.norm(maps)


@pytest.mark.parametrize("kind", ["maps", "kernel", "norm", "output"])
def test_norms_that_cannot_be_folded_remain(kind: str) -> None:
    folded, found, wanted = fold(trained(Branched(kind)))
    assert folded == 0
    assert torch.equal(found, wanted)


def test_norms_of_training_and_of_linear_layers_remain() -> None:
    network = trained(nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.ReLU()))
    assert norms_left(network) == 1
    flat = nn.Sequential(nn.Conv2d(2, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert norms_left(trained(nn.Sequential(flat, nn.ReLU()))) == 1
