"""The noise of a network with its summation in another order, and what a changed weight shows against it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from lorkit.decompose.errors import ParityError
from lorkit.export.runtime.comparison_rules import Rule
from lorkit.export.runtime.parity import infer_all, measure_outputs, require_parity, tolerance_of, worst_parity
from lorkit.export.runtime.rounding_noise import pair_noise, rounding_noise, rows_to_move
from lorkit.export.targets.base import Inputs, Outputs


def network(seed: int, *, scale: float = 1.0, dense: bool = False) -> torch.nn.Sequential:
    """Twelve convolutions with batch norms; `scale` multiplies the weights of the seventh."""
    torch.manual_seed(seed)
    layers: list[torch.nn.Module] = [torch.nn.Conv2d(1, 24, 3, padding=1)]
    for _ in range(11):
        layers += [torch.nn.BatchNorm2d(24, momentum=None), torch.nn.ReLU(), torch.nn.Conv2d(24, 24, 3, padding=1)]
    last = [torch.nn.ReLU(), torch.nn.Conv2d(24, 3, 1)]
    found = torch.nn.Sequential(*layers, *last, *([] if dense else [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]))
    with torch.no_grad():
        found.train()(torch.rand(16, 1, 16, 16))
        found[18].weight *= scale
    return found.eval()


def runner(module: torch.nn.Module) -> Callable[[Inputs], Outputs]:
    def infer(given: Inputs) -> Outputs:
        with torch.no_grad():
            return {"logits": module(torch.tensor(given["image"])).numpy()}

    return infer


def permuted(module: torch.nn.Sequential, seed: int) -> torch.nn.Sequential:
    """Return the same function with the hidden channels of each layer in another order, so that sums are too."""
    generator = np.random.default_rng(seed)
    order = torch.arange(1)
    with torch.no_grad():
        for layer in module:
            if isinstance(layer, torch.nn.Conv2d):
                last = layer.out_channels == 3
                other = torch.arange(3) if last else torch.from_numpy(generator.permutation(layer.out_channels))
                layer.weight.copy_(layer.weight[other][:, order].clone())
                layer.bias.copy_(layer.bias[other].clone())
                order = other
            elif isinstance(layer, torch.nn.BatchNorm2d):
                for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    values.copy_(values[order].clone())
    return module


def compared(seed: int, scale: float, count: int, *, known: bool = True, dense: bool = False) -> object:
    inputs = {"image": np.random.default_rng(seed).random((count, 1, 16, 16), dtype=np.float32)}
    source = runner(network(seed, dense=dense))
    engine = runner(permuted(network(seed, scale=scale, dense=dense), seed))
    reference = infer_all(source, inputs, 8)
    noise = pair_noise(engine, source if known else None, inputs, reference, batch=8)
    rules = {"logits": Rule()}
    options = {"precision": "fp32", "kind": "real", "batches": (1, 3, 8)}
    return worst_parity(measure_outputs(engine, inputs, reference, rules, noise=noise, **options))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("count", "known", "dense"), [(1, True, False), (24, True, False), (8, False, False), (2, True, True)]
)
def test_another_order_of_sums_passes_with_room_and_a_scaled_layer_fails(
    seed: int, count: int, known: bool, dense: bool
) -> None:
    honest = compared(seed, 1.0, count, known=known, dense=dense)
    assert 0 < honest.error < 0.4 * honest.tolerance
    changed = compared(seed, 1.0001, count, known=known, dense=dense)
    assert changed.error > 4 * changed.tolerance
    with pytest.raises(ParityError, match="differs from its source"):
        require_parity(changed, "it")


def test_the_noise_is_that_of_rounding() -> None:
    """Of float64 with an output in fp32 only the last place is left; of fp32 its error against float64, and more."""
    module = network(0)
    exact = network(0).double()
    images = np.random.default_rng(1).random((32, 1, 16, 16), dtype=np.float32)
    noise = rounding_noise(runner(module), {"image": images}, 32, 8)["logits"]
    with torch.no_grad():
        wanted = exact(torch.tensor(images).double()).numpy()
    error = np.abs(runner(module)({"image": images})["logits"] - wanted).max()
    assert 0.5 * error < noise < 20 * error


def test_zeros_and_whole_numbers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Inputs] = []

    def infer(given: Inputs) -> Outputs:
        seen.append({name: values.copy() for name, values in given.items()})
        return {"logits": np.zeros((len(given["image"]), 2), np.float32)}

    inputs = {"image": np.array([[0.0, 0.5], [0.25, 1.0]], np.float32), "region": np.array([1, 0])}
    assert rounding_noise(infer, inputs, 3, 8) == {"logits": 0.0}
    plain, moved = seen
    assert np.array_equal(plain["image"], inputs["image"][[0, 1, 0]])
    assert np.array_equal(moved["region"], [1, 0, 1])
    assert moved["image"][0, 0] == 0
    one = np.abs(moved["image"].view(np.int32) - plain["image"].view(np.int32))
    assert set(one[plain["image"] != 0].tolist()) == {1}


def test_small_outputs_need_more_images() -> None:
    shapes = {(5, 2): 32, (5, 16): 4, (5, 3, 64, 64): 2, (5, 1): 32}
    for shape, count in shapes.items():
        assert rows_to_move({"logits": np.zeros(shape, np.float32)}) == count
    assert rows_to_move({"mask": np.zeros((1, 9, 9, 9)), "region": np.zeros((1, 4))}) == 16


def test_the_noise_only_lowers_the_limit_of_fp32() -> None:
    reference = np.array([[3.0, -4.0]], np.float32)
    assert tolerance_of("fp32", reference) == pytest.approx(2e-4)
    assert tolerance_of("fp32", reference, 1e-6) == pytest.approx(3e-6 + 32 * 2**-24 * 4)
    assert tolerance_of("fp32", reference, 1.0) == tolerance_of("fp32", reference, np.inf) == pytest.approx(2e-4)
    assert tolerance_of("fp32", np.zeros((1, 2), np.float32), 0.0) > 0
    for precision in ("fp16", "bf16", "int8"):
        assert tolerance_of(precision, reference, 1e-9) == tolerance_of(precision, reference)
