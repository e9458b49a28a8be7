"""ONNX graphs of several regions against their networks, by sample and at any batch size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from routed_models import make_routed
from settled_models import images, predictor_of, settled
from small_runs import tiny_vit
from torch import nn

from lorkit.decompose.methods import TrainingModule
from lorkit.decompose.models.backbones.registry import BACKBONES, Known
from lorkit.decompose.models.deployed_mixtures import region_id_network, router_network
from lorkit.export.onnx.conversion import to_onnx

BATCHES = (1, 3, 8, 17)
pytestmark = pytest.mark.usefixtures("operators_known_once")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transformer of two blocks: its graph has all operators, and tracing costs by block."""
    monkeypatch.setitem(BACKBONES, "short_vit", Known(lambda channels, size: tiny_vit(channels, size, depth=2)))


def check(network: nn.Module, path: Path, side: int) -> None:
    to_onnx(network, path, channels=1, size=(side, side), metadata={})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert {node.shape[0] for node in session.get_inputs()} == {"batch"}
    for count in BATCHES:
        image = images(count, side).float()
        inputs = (image, torch.arange(count) % 2)[: len(network.input_names)]
        with torch.no_grad():
            expected = network(*inputs)
        found = session.run(
            list(network.output_names),
            {name: value.numpy() for name, value in zip(network.input_names, inputs, strict=True)},
        )
        for one, other in zip(found, expected, strict=True):
            assert one.shape == tuple(other.shape)
            scale = max(1.0, float(other.abs().max()))
            np.testing.assert_allclose(one, other.numpy(), atol=1e-4 * scale)


@pytest.mark.parametrize(
    ("method", "backbone", "settings"),
    [
        ("lorkd", "tiny", ("lorkd.layout=reshape",)),
        ("lorkd", "tiny_depthwise", ("lorkd.depthwise=true",)),
        ("mola-grad", "tiny_resnet", ("mola.rank=2",)),
        ("mola-grad", "short_vit", ("mola.rank=2",)),
    ],
)
def test_a_region_id_graph_runs_at_any_batch_size(
    tiny_module: Callable[..., TrainingModule], tmp_path: Path, method: str, backbone: str, settings: tuple[str, ...]
) -> None:
    model = settled(tiny_module(method, *settings, backbone=backbone).live).float()
    network = region_id_network(model, (1, 16, 16))
    check(network, tmp_path / "a.onnx", 16)


@pytest.mark.parametrize(
    ("backbone", "settings"),
    [
        ("tiny_resnet", ("mola.gates=stage", "mola.adapters=3")),
        ("tiny_resnet", ("mola.router=downscaled", "mola.top_k=1", "mola.layout=reshape")),
        ("short_vit", ("mola.router=features",)),
    ],
)
def test_a_router_graph_runs_at_any_batch_size(
    tiny: None, tmp_path: Path, backbone: str, settings: tuple[str, ...]
) -> None:
    _, module = make_routed(*settings, backbone=backbone)
    model = module.live.float().eval()
    network = router_network(model, predictor_of(model).float(), "routed")
    check(network, tmp_path / "a.onnx", 32)
