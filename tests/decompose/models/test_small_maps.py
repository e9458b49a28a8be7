"""A network in the form for fast passes against the same network as it is."""

import torch
from torch import nn

from lorkit.decompose.models.backbones.registry import build_backbone
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
