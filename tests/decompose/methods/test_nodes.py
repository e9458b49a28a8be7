"""Every method on the nodes of a graph: RAGFormer teaches, and RAGFormer or a small perceptron learns."""

from __future__ import annotations

import pytest
import torch

from lorkit.decompose.config import Config, ImageConfig, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods import METHODS, get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.methods.graphs.base import FittedBaseline
from lorkit.decompose.methods.reprogramming.base import ReprogrammingModule
from lorkit.decompose.models.backbones.graphs.variants import ragformer_name
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.tasks.losses import total
from lorkit.decompose.training.gradient_check import check_gradient_paths

SIZE = (3, 2, 4)
NODES = ImageConfig.of_nodes((4, *SIZE))
RAGFORMER = ragformer_name(width=8, feedforward=8, heads=2, label_dropout=0.5)
FOUNDATION_IS_ADAPTED = ("finetune", "linear-probe", "lora")
NETWORKS = [name for name, method in METHODS.items() if not (isinstance(method, FittedBaseline) or method.of_maps)]


def built(method: str, student: str) -> tuple[Config, torch.nn.Module, Foundation, Batch]:
    alone = getattr(get_method(method), "separate", False)
    regions = RegionSet([Region(name=name, classes=("x", "y")) for name in ("a" if alone else "ab")])
    data = ", ".join(f"{name}: {{data: x}}" for name in regions.names)
    names = (f"regions={{{data}}}", f"student.backbone={student}", f"foundation.backbone={RAGFORMER}")
    config = default_config(overrides=names, method=method).model_copy(update={"image": NODES})
    torch.manual_seed(0)
    model = shared_network(config, RAGFORMER, regions).eval().requires_grad_(False)
    heads = dict.fromkeys(regions.names, "own")
    foundation = Foundation(model=model, backbone=RAGFORMER, regions=regions, heads=heads, image={}, source={})
    module = get_method(method).build(config, regions, foundation)
    region = torch.arange(8) % len(regions)
    batch = Batch(image=torch.rand(8, 4, *SIZE), label=torch.arange(8) // 2 % 2, region=region, sample=torch.arange(8))
    return config, module, foundation, batch


@pytest.mark.parametrize(
    ("method", "student"),
    [
        *((method, RAGFORMER) for method in NETWORKS),
        *((method, "node_mlp") for method in NETWORKS if method not in FOUNDATION_IS_ADAPTED),
    ],
)
def test_a_step_of_every_method_reaches_every_weight(method: str, student: str) -> None:
    _, module, foundation, batch = built(method, student)
    with torch.no_grad():
        answers = module.query_teacher(foundation.model, batch) if get_method(method).uses_teacher else None
    with module.live.scope(batch.region):
        loss = total(module(batch, answers))
        loss.backward()
    assert loss.isfinite()
    assert not [name for name, value in module.named_parameters() if value.requires_grad and value.grad is None]


@pytest.mark.parametrize("method", ["rd", "drd"])
@pytest.mark.parametrize("student", ["node_mlp", RAGFORMER])
def test_reprogrammed_nodes_teach_what_they_should(method: str, student: str) -> None:
    config, module, foundation, _ = built(method, student)
    assert isinstance(module, ReprogrammingModule)
    found = check_gradient_paths(config, module, foundation)
    assert all(stage.reprogrammed_shape == stage.student_shape for stage in found.stages)
