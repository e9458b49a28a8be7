from dataclasses import replace

import torch
from torch.nn.functional import cross_entropy

from lorkit.decompose.data import prepare, read_regions, split_regions
from lorkit.decompose.data.fractions import take_fraction
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.events import ignore
from lorkit.decompose.methods.probes import fit_probe
from lorkit.decompose.models.foundation.model import load_foundation
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
