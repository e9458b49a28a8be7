"""A layer of RAGFormer against torch's layer with the same weights."""

from __future__ import annotations

import torch
from torch import nn

from lorkit.decompose.models.backbones.graphs.encoder import EncoderLayer

SIZES = {"relations": 3, "width": 8, "feedforward": 12, "heads": 2}


def layers(
    *, mixing: bool = False, own: bool = False, dropout: float = 0.0
) -> tuple[EncoderLayer, nn.TransformerEncoderLayer]:
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(8, 2, 12, dropout=dropout, batch_first=True, dtype=torch.float64)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = EncoderLayer(**SIZES, dropout=dropout, mixing=mixing, own=own).double()
    weights, biases = (value.chunk(3) for value in (theirs.self_attn.in_proj_weight, theirs.self_attn.in_proj_bias))
    parts = (ours.attention.query, ours.attention.key, ours.attention.value)
    with torch.no_grad():
        for part, weight, bias in zip(parts, weights, biases, strict=True):
            part.weight.copy_(weight)
            part.bias.copy_(bias)
    pairs = [
        (ours.attention.out, theirs.self_attn.out_proj),
        (ours.enter, theirs.linear1),
        (ours.leave, theirs.linear2),
        (ours.norm1, theirs.norm1),
        (ours.norm2, theirs.norm2),
    ]
    for mine, other in pairs:
        mine.load_state_dict(other.state_dict())
    return ours, theirs


def test_without_a_mix_it_is_torchs_layer() -> None:
    ours, theirs = layers()
    x = torch.randn(2, 3, 4, 8, dtype=torch.float64, requires_grad=True)
    y, wanted = ours(x).flatten(1, 2), theirs(x.flatten(1, 2))
    torch.testing.assert_close(y, wanted)
    direction = torch.randn_like(y)
    found = torch.autograd.grad((y * direction).sum(), [x, ours.attention.value.weight, ours.enter.weight])
    attention = theirs.self_attn.in_proj_weight
    rest = torch.autograd.grad((wanted * direction).sum(), [x, attention, theirs.linear1.weight])
    for mine, other in zip(found, (rest[0], rest[1][16:], rest[2]), strict=True):
        torch.testing.assert_close(mine, other)


def test_each_own_token_becomes_a_function_of_all_own_tokens() -> None:
    ours, theirs = layers(mixing=True)
    x = torch.randn(2, 3, 4, 8, dtype=torch.float64)
    y, found = theirs(x.flatten(1, 2)).view(2, 3, 4, 8), ours(x)
    assert ours.mix is not None
    together = torch.cat([y[:, r, 0] for r in range(3)], 1)
    for r in range(3):
        weight, bias = ours.mix.weight[8 * r : 8 * r + 8], ours.mix.bias[8 * r : 8 * r + 8]
        torch.testing.assert_close(found[:, r, 0], together @ weight.T + bias)
        torch.testing.assert_close(found[:, r, 1:], y[:, r, 1:])


def test_the_own_tokens_alone_are_those_of_all_tokens() -> None:
    for mixing in (False, True):
        every, only = layers(mixing=mixing)[0], layers(mixing=mixing, own=True)[0]
        only.load_state_dict(every.state_dict())
        x = torch.randn(2, 3, 4, 8, dtype=torch.float64)
        torch.testing.assert_close(only(x), every(x)[:, :, :1])


def test_dropout_is_that_of_torchs_layer() -> None:
    """The mean over many draws is the same: attention weights and hidden layer are dropped too."""
    ours, theirs = layers(dropout=0.4)
    x = torch.randn(1, 3, 4, 8, dtype=torch.float64).expand(4000, -1, -1, -1)
    y, wanted = ours(x).flatten(1, 2), theirs(x.flatten(1, 2))
    torch.testing.assert_close(y.mean(0), wanted.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(y.std(0), wanted.std(0), atol=0.1, rtol=0)
    assert torch.equal(ours.eval()(x[:1]), ours(x[:1]))
    for module in ours.train().modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert not torch.equal(ours(x[:1]), ours(x[:1])), "attention weights are dropped too"
