"""The self-test of `doctor`: build, extract, export and run two tiny experts on phantom images, and compare."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorkit.decompose.documents.hardware import SelfTestResult


def self_test() -> SelfTestResult:
    """Add random experts to an untrained network, and run one of them through all steps.

    Returns:
        Whether it passed, its seconds, and by step the largest difference of a logit with its tolerance.
    """
    import numpy as np
    import torch

    from lorkit.decompose.data.phantoms.reader import draw
    from lorkit.decompose.documents.hardware import SelfTestResult
    from lorkit.export.onnx.conversion import to_onnx
    from lorkit.export.runtime.parity import tolerance_of
    from lorkit.export.targets import MODEL, get_target

    started = time.perf_counter()
    patients = np.arange(8)
    image = draw("chest", patients, np.zeros_like(patients))[:, None].astype(np.float32) / np.float32(255)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = _model(torch.from_numpy(image))
        live = model(torch.from_numpy(image), "chest").logits["chest"].numpy()
        network = model.deployable("chest")
        plain = network(torch.from_numpy(image)).numpy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        to_onnx(network, path, channels=1, size=image.shape[2:], metadata={"region": "chest"})
        with get_target("onnx").load(path.parent) as engine:
            served = engine.run(image)
    allowed = tolerance_of("fp32", live)
    steps = {"extract": float(np.abs(plain - live).max()), "export": float(np.abs(served - plain).max())}
    return SelfTestResult(
        passed=all(value <= allowed for value in steps.values()),  # false for NaN
        differences=dict(steps),
        tolerance=allowed,
        seconds=round(time.perf_counter() - started, 1),
    )


def _model(image: Any) -> Any:
    import torch

    from lorkit.decompose.config import ExpertConfig
    from lorkit.decompose.experts import add_experts_, factor_parameters
    from lorkit.decompose.models.backbones.registry import build_backbone
    from lorkit.decompose.models.regional import RegionalModel
    from lorkit.decompose.regions import Region, RegionSet

    regions = RegionSet(Region(name=name, classes=("clear", "lesion"), synthetic=True) for name in ("chest", "brain"))
    backbone = build_backbone("resnet18", channels=1, image_size=(64, 64))
    routing = add_experts_(backbone, regions.names, ExpertConfig(rank=2))
    model = RegionalModel(backbone, regions, mean=(0.5,), std=(0.25,), routing=routing)
    for factor in factor_parameters(model):
        # experts start at zero: only random ones can show a wrong merge
        factor.copy_(torch.randn_like(factor) * 0.05)
    for _ in range(5):
        model.train()(image, "chest")  # batch-norm statistics, without which the logits are nearly zero
    return model.eval()
