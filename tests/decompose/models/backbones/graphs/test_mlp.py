from __future__ import annotations

import torch

from lorkit.decompose.models.backbones.graphs.mlp import node_mlp, node_mlp_own, stages


def test_it_is_two_rectified_layers_of_all_values() -> None:
    torch.manual_seed(0)
    model = node_mlp(4, (3, 2, 5)).double()
    x = torch.randn(6, 4, 3, 2, 5, dtype=torch.float64)
    (first, _), (second, _) = model.layers
    assert (first.in_features, first.out_features, second.out_features, model.feature_dim) == (120, 64, 32, 32)
    hidden = (x.reshape(6, -1) @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(model(x), (hidden @ second.weight.T + second.bias).clamp(min=0))


def test_stages_are_its_hidden_layers() -> None:
    x = torch.randn(3, 4, 1, 2, 5)
    for hidden in ((7,), (7, 6), (9, 8, 7, 6), (9, 8, 7, 6, 5)):
        model = node_mlp(4, (1, 2, 5), hidden=hidden)
        found = stages(model).run_stages(x)
        assert torch.equal(found.features, model(x))
        assert found.grids[-1].shape == (3, hidden[-1], 1, 1, 1)
    assert [grid.shape[1] for grid in stages(node_mlp(4, (1, 2, 5))).run_stages(x).grids] == [64, 64, 32, 32]


def test_own_features_alone_decide_where_no_neighbour_is_seen() -> None:
    torch.manual_seed(0)
    model, x = node_mlp_own(4, (3, 2, 5)), torch.randn(6, 4, 3, 2, 5)
    assert model.layers[0][0].in_features == 4
    other = torch.randn(6, 4, 3, 2, 5)
    other[:, 2, 0, 0, :4] = x[:, 2, 0, 0, :4]
    assert torch.equal(model(x), model(other))
    other[:, 2, 0, 0, 3] += 1
    assert not torch.equal(model(x), model(other))
    assert torch.equal(stages(model).run_stages(x).features, model(x))
