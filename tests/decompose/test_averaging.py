"""The average against its recurrence."""

import torch
from torch import nn

from lorkit.decompose.training.loop.optimizer import average_of


def test_the_average_is_the_recurrence_and_whole_numbers_are_copied() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    network.register_buffer("index", torch.tensor([3, 99999]))
    average = average_of(network, 0.9)
    expected: dict[str, torch.Tensor] = {}
    for step in range(4):
        network(torch.randn(5, 3, dtype=torch.float64))  # moves running statistics and the counter
        with torch.no_grad():
            for value in network.parameters():
                value.add_(torch.randn_like(value))
        average.update_parameters(network)
        for name, value in network.state_dict().items():
            kept = step and value.is_floating_point()
            expected[name] = 0.9 * expected[name] + 0.1 * value if kept else value.clone()
    found = average.module.state_dict()
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=0, msg=name)
    assert int(found["1.num_batches_tracked"]) == 4
    assert not any(value.requires_grad for value in average.parameters())
