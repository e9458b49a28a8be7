from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.errors import ParityError
from lorkit.export.onnx.conversion import Tracer, to_onnx

METADATA = {"region": "chest", "classes": json.dumps(["no", "yes"])}


class Small(nn.Module):
    def __init__(self, seed: int = 0, classes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.register_buffer("mean", torch.full((1, 1, 1, 1), 0.5))
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean = torch.randn(4)
        self.norm.running_var = torch.rand(4) + 0.5
        self.fc = nn.Linear(4, classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(torch.relu(self.norm(self.conv(image - self.mean))).mean((2, 3)))


class Frozen(Small):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.reshape(2, 1, 12, 10))


def write(network: nn.Module, path: Path, **options: object) -> dict[str, object]:
    return to_onnx(network, path, channels=1, size=(12, 10), metadata=METADATA, **options)  # type: ignore[arg-type]


def run(path: Path, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": image})[0]


def test_it_runs_at_any_batch_size_and_equals_torch(tmp_path: Path) -> None:
    network = Small().eval()
    info = write(network, tmp_path / "a.onnx")
    assert info.opset == 20
    assert info.size_bytes == (tmp_path / "a.onnx").stat().st_size
    assert info.dtype_census["float32"].elements > 0
    for batch in (1, 3, 8):
        image = np.random.default_rng(batch).random((batch, 1, 12, 10), dtype=np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(run(tmp_path / "a.onnx", image), expected, atol=1e-6)


def test_the_names_and_the_meaning_stand_in_the_file(tmp_path: Path) -> None:
    write(Small(), tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert {prop.key: prop.value for prop in model.metadata_props}["lorkit.region"] == "chest"


def test_the_file_names_no_path_and_no_class_of_the_machine(tmp_path: Path) -> None:
    write(Small(), tmp_path / "a.onnx")
    content = (tmp_path / "a.onnx").read_bytes()
    for trace in (b"/", b"site-packages", b".py", b"stack_trace", b"Small"):
        assert trace not in content.replace(METADATA["classes"].encode(), b"")


def test_equal_networks_give_equal_bytes_and_share_one_translation(tmp_path: Path) -> None:
    tracer = Tracer()
    write(Small(0), tmp_path / "a.onnx")
    write(Small(1), tmp_path / "other.onnx", tracer=tracer)
    write(Small(0), tmp_path / "b.onnx", tracer=tracer)
    assert tracer.translations == 1
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (tmp_path / "a.onnx").read_bytes() != (tmp_path / "other.onnx").read_bytes()
    write(Small(0, classes=3), tmp_path / "c.onnx", tracer=tracer)
    assert tracer.translations == 2


def test_a_changed_constant_is_another_architecture(tmp_path: Path) -> None:
    class Scaled(Small):
        factor = 1.0

        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image) * self.factor

    tracer, network = Tracer(), Scaled().eval()
    write(network, tmp_path / "a.onnx", tracer=tracer)
    network.factor = 3.0
    write(network, tmp_path / "b.onnx", tracer=tracer)
    image = np.ones((2, 1, 12, 10), dtype=np.float32)
    np.testing.assert_allclose(run(tmp_path / "b.onnx", image), 3 * run(tmp_path / "a.onnx", image), rtol=1e-5)


def test_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="batch"):
        write(Frozen(), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
