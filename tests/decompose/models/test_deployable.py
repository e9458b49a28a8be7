from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from lorkit.decompose.models.backbones.registry import attach_head, build_backbone
from lorkit.decompose.models.deployable import Deployable


def deployable(name: str) -> Deployable:
    torch.manual_seed(0)
    backbone = build_backbone(name, channels=3, image_size=(32, 32))
    for part in ("stage2", "stage3", "stage4", "blocks"):  # two blocks each: a graph repeats them, and costs by block
        if hasattr(backbone, part):
            setattr(backbone, part, getattr(backbone, part)[:2])
    network = attach_head(backbone, nn.Linear(backbone.feature_dim, 3))
    return Deployable(network, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.1)).eval()


def test_normalisation_is_inside() -> None:
    model = Deployable(nn.Identity(), mean=(0.5, 0.25), std=(0.25, 0.5))
    image = torch.rand(2, 2, 3, 4)
    expected = torch.stack([(image[:, 0] - 0.5) / 0.25, (image[:, 1] - 0.25) / 0.5], dim=1)
    torch.testing.assert_close(model(image), expected)
    assert (model.mean, model.std) == ((0.5, 0.25), (0.25, 0.5))
    assert {"normalise.mean", "normalise.std"} <= model.state_dict().keys()


@pytest.mark.usefixtures("operators_known_once")
@pytest.mark.parametrize("name", ["shufflenet_v2_x1_0", "vit_tiny"])
def test_one_graph_serves_every_batch_size(name: str, tmp_path: object) -> None:
    model = deployable(name)
    shapes = {"image": {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(model, (torch.rand(2, 3, 32, 32),), dynamic_shapes=shapes)
    path = f"{tmp_path}/model.onnx"
    onnx = torch.onnx.export(program, dynamo=True, input_names=["image"], output_names=["logits"], verbose=False)
    assert onnx is not None
    onnx.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        image = torch.rand(batch, 3, 32, 32)
        with torch.no_grad():
            expected = model(image)
        torch.testing.assert_close(program.module()(image), expected)
        (logits,) = session.run(["logits"], {"image": image.numpy()})
        np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-5)
