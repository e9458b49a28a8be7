"""A network in the form for fast passes against the same network as it is."""

import pytest
import torch
from torch import nn

from lorkit.decompose.config import ImageConfig
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.teacher import TeacherBackbone, TeacherFeatures
from lorkit.decompose.models.small_maps import ready_for_batches, with_products


def test_gradients_of_a_residual_network_are_the_same() -> None:
    torch.manual_seed(0)
    network = build_backbone("resnet18", channels=1, image_size=(32, 32)).double()
    x = torch.rand(48, 1, 32, 32, dtype=torch.float64)
    expected = network(x)
    right = torch.autograd.grad(expected.square().sum(), list(network.parameters()))
    with with_products(network):
        found = network(x)
        ours = torch.autograd.grad(found.square().sum(), list(network.parameters()))
    torch.testing.assert_close(found, expected)
    for one, other in zip(ours, right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()))
    assert not any("forward" in vars(module) for module in network.modules())


def test_a_network_is_ready_for_batches_only_inside() -> None:
    network = build_backbone("resnet18", channels=1, image_size=(32, 32)).eval()
    weight = network.get_submodule("layer1.0.conv1").weight
    assert isinstance(weight, nn.Parameter)
    address, strides, x = weight.data_ptr(), weight.stride(), torch.rand(48, 1, 32, 32)
    with torch.inference_mode():
        expected = network(x)
        with ready_for_batches(network):
            assert weight.stride() != strides
            assert "forward" in vars(network.get_submodule("layer4.1.conv2"))
            torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)
    assert (weight.data_ptr(), weight.stride()) == (address, strides)
    assert not any("forward" in vars(module) for module in network.modules())
    assert torch.equal(network(x), expected)


def test_networks_without_images_stay_as_they_are() -> None:
    for network, shape in ((nn.Linear(2, 2), (3, 2)), (nn.Conv3d(1, 1, 3, padding=1), (1, 1, 1, 1, 1))):
        x = torch.rand(shape)
        with ready_for_batches(network):
            assert not any("forward" in vars(module) for module in network.modules())
            assert torch.equal(network(x), network(x))


class TwoPlaces(nn.Module):
    """A layer in two places, whose output is taken apart with `view`."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Conv2d(3, 3, 3, padding=1)
        self.first, self.second = nn.Sequential(layer, nn.Tanh()), nn.Sequential(layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)).view(-1, 3)


@pytest.mark.parametrize("shape", [(48, 3, 2, 2), (48, 3, 1, 1), (0, 3, 1, 1), (3, 1, 1), (3, 2, 2)])
def test_a_layer_in_two_places_any_number_of_images_and_penalties_of_gradients(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = TwoPlaces().double()
    x = torch.rand(shape, dtype=torch.float64, requires_grad=True)

    def penalised() -> tuple[torch.Tensor, ...]:
        y = network(x)
        (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return y, *torch.autograd.grad(slope.square().sum(), list(network.parameters()), materialize_grads=True)

    expected = penalised()
    with with_products(network):
        found = penalised()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert not any("forward" in vars(module) for module in network.modules())


class Viewing(nn.Module):
    """A user's own foundation that is not indifferent to the layout of its maps."""

    image, digest = ImageConfig(size=(8, 8), channels=3), "0"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 3, padding=1)

    def features(self, image: torch.Tensor) -> TeacherFeatures:
        return TeacherFeatures((), self.layer(image).view(len(image), 5, -1).mean(2))


def test_a_users_own_foundation_stays_as_it_is() -> None:
    network = TeacherBackbone(Viewing())
    x = torch.rand(2, 3, 8, 8)
    expected = network(x)
    with ready_for_batches(network):
        assert torch.equal(network(x), expected)
