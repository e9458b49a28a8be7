from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from torch.nn.functional import cross_entropy

from lorkit.decompose.artifacts.arrays import IGNORED
from lorkit.decompose.config import default_config
from lorkit.decompose.data import PreparedRegion, prepare, read_regions, split_regions
from lorkit.decompose.data.fractions import take_fraction
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.events import ignore
from lorkit.decompose.methods import probes
from lorkit.decompose.methods.probes import fit_probe
from lorkit.decompose.models.foundation.model import load_foundation
from lorkit.decompose.regions import Region
from lorkit.decompose.runs import Run
from lorkit.decompose.training.foundation.pretraining import with_probes_of
from lorkit.decompose.training.training_data import TrainingData


def blobs(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % 3
    centre = torch.tensor([[4.0, 0.0, 0.0, 100.0], [0.0, 4.0, 0.0, 100.0], [0.0, 0.0, 4.0, 100.0]])
    return centre[label] + torch.randn(count, 4, generator=generator), label


def test_a_probe_separates_what_can_be_separated_on_raw_features() -> None:
    feature, label = blobs(300, 1)
    layer = fit_probe(blobs(120, 0), blobs(60, 2), 3)
    assert (layer(feature).argmax(1) == label).float().mean() > 0.95
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_rare_classes_count_as_much_as_common_ones() -> None:
    feature, label = blobs(300, 0)
    rare = torch.cat([torch.nonzero(label != 2)[:, 0], torch.nonzero(label == 2)[:5, 0]])
    layer = fit_probe((feature[rare] / 3, label[rare]), blobs(60, 2), 3)
    test, wanted = blobs(300, 3)
    recall = (layer(test / 3).argmax(1) == 2)[wanted == 2].float().mean()
    assert recall > 0.7


def test_the_strength_of_the_ridge_is_the_best_on_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few training samples of many noisy features: the weakest ridge is perfect on them and poor on others."""

    def noisy(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        label = torch.arange(count) % 2
        feature = torch.randn(count, 40, generator=generator)
        feature[:, 0] += 1.5 * label
        return feature, label

    train, val = noisy(30, 0), noisy(400, 1)
    single = {}
    for strength in probes.STRENGTHS:
        with monkeypatch.context() as patch:
            patch.setattr(probes, "STRENGTHS", (strength,))
            single[strength] = fit_probe(train, val, 2)
    right = {
        key: [float((layer(x).argmax(1) == y).float().mean()) for x, y in (train, val)] for key, layer in single.items()
    }
    best = max(right, key=lambda key: right[key][1])
    assert right[probes.STRENGTHS[0]][0] == 1.0
    assert best == probes.STRENGTHS[-1]
    assert torch.equal(fit_probe(train, val, 2).weight, single[best].weight)
    # of equally good ones the weakest
    assert torch.equal(fit_probe(train, train, 2).weight, single[probes.STRENGTHS[0]].weight)


def test_the_ridge_of_several_labels_is_the_best_by_macro_auroc_on_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    def noisy(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        label = (torch.rand(count, 2, generator=generator) < 0.5).long()
        feature = torch.randn(count, 40, generator=generator)
        feature[:, :2] += 1.5 * label
        return feature, label

    train, val = noisy(40, 0), noisy(400, 1)
    single, areas = {}, {}
    for strength in probes.STRENGTHS:
        with monkeypatch.context() as patch:
            patch.setattr(probes, "STRENGTHS", (strength,))
            single[strength] = fit_probe(train, val, 2)
        logits = single[strength](val[0])
        positive, negative = ([logits[val[1][:, label] == value, label] for label in (0, 1)] for value in (1, 0))
        areas[strength] = np.mean(
            [float((p[:, None] > n).float().mean()) for p, n in zip(positive, negative, strict=True)]
        )
    best = max(areas, key=lambda key: areas[key])
    assert best != probes.STRENGTHS[0]
    assert torch.equal(fit_probe(train, val, 2).weight, single[best].weight)
    unknown = val[0], torch.full_like(val[1], -1)
    assert torch.equal(fit_probe(train, unknown, 2).weight, single[probes.STRENGTHS[0]].weight)


def test_a_probe_is_fitted_on_the_training_part_and_tuned_on_the_validation_part(
    make_prepared: Callable[[int], PreparedRegion], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Flattening(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.backbone = torch.nn.Identity()

        def features(self, image: torch.Tensor, region: str) -> torch.Tensor:
            assert not self.training
            return image.flatten(1)

    given: list[tuple[torch.Tensor, torch.Tensor]] = []
    monkeypatch.setattr(probes, "fit_probe", lambda train, val, classes: given.extend([train, val]) or classes)
    parts = make_prepared(6), make_prepared(10)
    assert probes.probe_for(Flattening(), parts[0].region, *parts) == 2  # type: ignore[arg-type, comparison-overlap]
    for (feature, label), part in zip(given, parts, strict=True):
        assert torch.equal(feature, torch.from_numpy(part.stored).flatten(1))
        assert label.tolist() == part.labels.tolist()


@pytest.mark.parametrize("strength", probes.STRENGTHS)
def test_a_probe_is_the_optimum_of_balanced_logistic_regression(
    monkeypatch: pytest.MonkeyPatch, strength: float
) -> None:
    """Minimised in float64 by another optimiser: mean of class-balanced entropies, and a ridge per class."""
    feature, label = blobs(90, 0)
    kept = torch.cat([torch.nonzero(label != 2)[:, 0], torch.nonzero(label == 2)[:10, 0]])
    x, y = feature[kept].double().numpy() * [1, 2, 0.5, 1], label[kept].numpy()
    z = (x - x.mean(0)) / x.std(0, ddof=1)
    weight = (len(y) / (3 * np.bincount(y)))[y]

    def objective(theta: np.ndarray) -> float:
        kernel, bias = theta[:12].reshape(3, 4), theta[12:]
        entropy = -log_softmax(z @ kernel.T + bias, axis=1)[np.arange(len(y)), y]
        return float((weight * entropy).sum() / weight.sum() + strength / (2 * 3) * np.square(kernel).sum())

    best = minimize(objective, np.zeros(15), method="BFGS", options={"gtol": 1e-6}).x
    wanted = z @ best[:12].reshape(3, 4).T + best[12:]
    monkeypatch.setattr(probes, "STRENGTHS", (strength,))
    given = torch.from_numpy(x).float(), label[kept]
    found = fit_probe(given, given, 3)(given[0]).double().numpy()
    np.testing.assert_allclose(softmax(found, axis=1), softmax(wanted, axis=1), atol=2e-3)


def test_the_pixels_of_a_probe_are_drawn_evenly_over_what_an_image_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are the place of each pixel, so that the label of each drawn pixel can be looked up."""
    masks = np.zeros((3, 16, 16), np.uint8)
    masks[0, :4], masks[0, 8:] = 1, IGNORED
    masks[1] = 2
    masks[2, 0, 0] = 1
    config = default_config(overrides=["regions={a: {data: x}}", "image={size: 16, channels: 1}"])
    places = np.arange(3 * 256, dtype=np.float32).reshape(3, 1, 16, 16)
    numbers = tuple("012")
    part = PreparedRegion(
        region=Region(name="a", task="segmentation", classes=("u", "v")), masks=masks, stored=places,
        recipe=build_recipe(config.image, config.regions["a"]), labels=np.zeros(3, np.int64),
        groups=numbers, ids=numbers, digests=numbers,
    )  # fmt: skip

    class Places(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def features(self, image: torch.Tensor, region: str) -> torch.Tensor:
            return torch.cat([image, -image], dim=1)

    monkeypatch.setattr(probes, "PIXELS", 3 * 40)
    feature, label = probes.features_of(Places(), part, "a")  # type: ignore[arg-type]
    drawn = feature[:, 0].long().numpy()
    assert torch.equal(feature[:, 1], -feature[:, 0])
    np.testing.assert_array_equal(masks.reshape(-1)[drawn], label.numpy())
    assert len(set(drawn.tolist())) == len(drawn), "no pixel twice"
    shown = Counter(zip((drawn // 256).tolist(), label.tolist(), strict=True))
    assert shown == {(0, 0): 20, (0, 1): 20, (1, 2): 40, (2, 0): 20, (2, 1): 1}
    again = probes.features_of(Places(), part, "a")[0]  # type: ignore[arg-type]
    assert torch.equal(feature, again)


def test_a_constant_feature_does_no_harm() -> None:
    feature, label = blobs(90, 0)
    feature[:, 3] = 5.0
    layer = fit_probe((feature, label), (feature, label), 3)
    assert torch.isfinite(layer.weight).all()
    assert cross_entropy(layer(feature), label) < 0.5


def test_a_fraction_has_a_probe_of_its_own_and_the_foundation_keeps_its_heads(small_run: Run) -> None:
    config = small_run.config
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=config.seed)
    train, val = (
        {
            name: prepare(one, build_recipe(config.image, config.regions[name]), indices=splits.parts(name)[part])
            for name, one in samples.items()
        }
        for part in ("train", "val")
    )
    foundation = load_foundation(small_run.foundation_dir)
    material = TrainingData(regions=foundation.regions, train=train, val=val)
    few = {name: take_fraction(one, 0.2, seed=0) for name, one in train.items()}
    whole = with_probes_of(foundation, material, ignore)
    part = with_probes_of(whole, replace(material, train=few), ignore)
    assert part.heads == whole.heads == {"chest": "own", "knee": "probe"}
    assert torch.equal(part.model.heads["chest"].weight, foundation.model.heads["chest"].weight)
    assert not torch.allclose(part.model.heads["knee"].weight, whole.model.heads["knee"].weight)
    again = with_probes_of(part, material, ignore)
    torch.testing.assert_close(again.model.heads["knee"].weight, whole.model.heads["knee"].weight)


def test_a_probe_of_several_labels_learns_each_from_its_known_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(400, 3, generator=generator)
    label = torch.stack([feature[:, 0] > 0, feature[:, 1] > 1], 1).long()
    seen = label.clone()
    seen[:200, 0], seen[200:, 1] = -1, -1
    layer = fit_probe((feature, seen), (feature, label), 2)
    assert ((layer(feature) > 0) == label.bool()).float().mean(0).min() > 0.95
