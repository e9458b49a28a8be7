"""Tokens of nodes: their order, and how labels are hidden."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.graphs.tokens import (
    LabelDropout,
    NodeShape,
    TokenEmbedding,
    group_tokens,
    node_shape,
    without_labels,
)


def test_a_shape_is_read_from_the_image() -> None:
    shape = node_shape(5, (4, 3, 9))
    assert shape == NodeShape(classes=3, relations=4, hops=2, values=9)
    assert shape.tokens == 9


@pytest.mark.parametrize(
    ("channels", "size"), [(4, (3, 1, 9)), (4, (3, 2, 1)), (3, (3, 2, 9)), (4, (0, 2, 9)), (4, (9, 9))]
)
def test_other_images_are_refused(channels: int, size: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=f"{channels} channels and size {'x'.join(map(str, size))}.*classes . 2.*hop"):
        node_shape(channels, size)


@pytest.mark.parametrize(("classes", "hops"), [(2, 1), (2, 2), (3, 2)])
def test_tokens_are_the_own_one_and_the_groups_of_each_hop(classes: int, hops: int) -> None:
    x = torch.randn(2, classes + 2, 3, hops + 1, 5)
    found = group_tokens(x)
    for relation in range(3):
        wanted = [x[:, classes, relation, 0]]
        wanted += [x[:, group, relation, hop] for hop in range(1, hops + 1) for group in range(classes + 1)]
        assert torch.equal(found[:, relation], torch.stack(wanted, 1))


@pytest.mark.parametrize(("classes", "relations", "hops"), [(2, 1, 1), (3, 2, 2)])
def test_an_embedding_adds_the_encodings_of_each_token(classes: int, relations: int, hops: int) -> None:
    torch.manual_seed(0)
    shape = NodeShape(classes, relations, hops, values=5)
    model = TokenEmbedding(shape, 8, dropout=0.0).double()
    x = torch.randn(2, relations, shape.tokens, 5, dtype=torch.float64)
    found = model(x)
    places = [(0, classes), *((hop, group) for hop in range(1, hops + 1) for group in range(classes + 1))]
    weight, bias = model.linear.weight, model.linear.bias
    for relation in range(relations):
        for token, (hop, group) in enumerate(places):
            wanted = (x[:, relation, token] @ weight.T + bias).clamp(min=0)
            wanted = wanted + model.hops[hop] + model.relations[relation, 0] + model.groups[group]
            torch.testing.assert_close(found[:, relation, token], wanted)


def image_of(groups: list[list[np.ndarray]], *, features: int) -> Tensor:
    """Return one image of one relation: by hop, the members of each group; the node itself has features of ones."""
    x = np.zeros((1, len(groups[0]) + 1, 1, len(groups) + 1, features + 1))
    x[0, len(groups[0]) - 1, 0, 0, :features] = 1
    x[0, -1] = 7
    for hop, found in enumerate(groups, start=1):
        for group, members in enumerate(found):
            if len(members):
                x[0, group, 0, hop] = [*members.mean(0), np.log1p(len(members))]
    return torch.from_numpy(x)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1, max_size=2), seed=st.integers(0, 99)
)
def test_hidden_labels_give_the_groups_of_nodes_without_labels(sizes: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [[rng.normal(size=(count, 4)) for count in found] for found in sizes]
    none = np.empty((0, 4))
    wanted = image_of([[none, none, np.concatenate(found)] for found in groups], features=4)
    torch.testing.assert_close(without_labels(image_of(groups, features=4)), wanted)


def test_without_sizes_labelled_groups_become_empty() -> None:
    x = image_of([[np.ones((2, 4)), np.ones((1, 4)), np.full((3, 4), 2.0)]], features=4)
    x[:, :-1, ..., -1] = 0
    found = without_labels(x)
    assert not found[:, :2].any()
    assert torch.equal(found[:, 2:], x[:, 2:])


def test_labels_are_hidden_of_some_nodes_in_training_only() -> None:
    torch.manual_seed(0)
    x = torch.rand(400, 4, 2, 2, 5) + 0.5
    drop = LabelDropout(0.25)
    found = drop(x)
    hidden = ~found[:, :2].flatten(1).any(1)
    assert 70 < int(hidden.sum()) < 130
    assert torch.equal(found[~hidden], x[~hidden])
    torch.testing.assert_close(found[hidden], without_labels(x)[hidden])
    assert not torch.equal(drop(x), found), "each batch hides others"
    assert drop.eval()(x) is x
    assert LabelDropout(0.0)(x) is x
