from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from mixtures import CHEST, RegionIdNetwork, RouterNetwork
from torch import Tensor, nn

from lorkit.decompose.errors import ArtifactError, ParityError
from lorkit.decompose.regions import Region
from lorkit.export.onnx import conversion
from lorkit.export.onnx.conversion import Tracer, to_onnx
from lorkit.export.targets.onnx import TARGET

LUNGS = Region(name="lungs", task="segmentation", classes=("left", "right"))
METADATA = {"region": "chest", "classes": json.dumps(["no", "yes"])}
pytestmark = pytest.mark.usefixtures("traced_anew")


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


def write_mixture(network: nn.Module, path: Path, **options: object) -> None:
    to_onnx(network.eval(), path, channels=1, size=(12, 10), metadata={}, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("network", [RegionIdNetwork(), RouterNetwork(), RouterNetwork((CHEST, LUNGS))])
def test_several_inputs_and_outputs_have_their_names_and_a_free_batch(network: nn.Module, tmp_path: Path) -> None:
    write_mixture(network, tmp_path / "a.onnx")
    graph = onnx.load(tmp_path / "a.onnx").graph
    assert [value.name for value in graph.input] == list(network.input_names)
    assert [value.name for value in graph.output] == list(network.output_names)
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 2, 3, 8, 17):
        random = np.random.default_rng(batch)
        given = {"image": random.random((batch, 1, 12, 10), dtype=np.float32), "region": random.integers(2, size=batch)}
        given = {name: given[name] for name in network.input_names}
        with torch.no_grad():
            expected = network(*(torch.from_numpy(values) for values in given.values()))
        for found, wanted in zip(session.run(None, given), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_networks_that_differ_in_their_names_only_share_no_graph(tmp_path: Path) -> None:
    tracer = Tracer()
    write_mixture(RegionIdNetwork(), tmp_path / "a.onnx", tracer=tracer)
    write_mixture(RegionIdNetwork(seed=1), tmp_path / "b.onnx", tracer=tracer)
    assert tracer.translations == 1
    assert (tmp_path / "a.onnx").read_bytes() != (tmp_path / "b.onnx").read_bytes()
    renamed = RegionIdNetwork()
    renamed.output_names = ("logits_heart", "logits_brain")
    write_mixture(renamed, tmp_path / "c.onnx", tracer=tracer)
    assert tracer.translations == 2
    assert [value.name for value in onnx.load(tmp_path / "c.onnx").graph.output] == ["logits_heart", "logits_brain"]


class Batched(RegionIdNetwork):
    """One convolution per image by `torch.vmap`, which fixes the number of images when it is traced."""

    def forward(self, image: Tensor, region: Tensor) -> tuple[Tensor, ...]:
        kernels = self.body.shared.weight[None] * (1 + region[:, None, None, None, None])
        maps = torch.vmap(lambda one, kernel: nn.functional.conv2d(one[None], kernel)[0])(image, kernels)
        return tuple(head(maps.mean((2, 3), keepdim=True)).flatten(1) for head in self.body.heads)


class Counted(RouterNetwork):
    """The number of images as a constant of Python's."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        count = int(image.shape[0])
        return tuple(values.reshape(count, -1) for values in super().forward(image))


class Remembered(RouterNetwork):
    """The number of images in the trace in place of that of the batch: every shape of the graph is right."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        count = 2 if torch.compiler.is_exporting() else image.shape[0]
        return tuple(values / count for values in super().forward(image))


@pytest.mark.parametrize("network", [Batched, Counted, Remembered])
def test_a_batch_that_is_fixed_unseen_is_refused(network: type[nn.Module], tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="batch") as caught:
        write_mixture(network(), tmp_path / "a.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_frozen_graph_stays_refused(tmp_path: Path) -> None:
    """What was refused once is not taken for known the second time."""
    tracer = Tracer()
    for _ in range(2):
        with pytest.raises(ParityError, match="other values"):
            write_mixture(Remembered(), tmp_path / "a.onnx", tracer=tracer)


@pytest.mark.parametrize(
    ("stated", "says"), [(True, "fixes the batch of 'logits' at 2"), (False, "does not run with a batch of 1")]
)
def test_a_graph_with_a_fixed_batch_is_refused_whatever_traced_it(
    stated: bool, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an exporter does that reports success: the batch is a number, or has a name and a constant behind it."""
    translate = conversion._translate

    def frozen(program: torch.export.ExportedProgram, *names: tuple[str, ...]) -> object:
        model = translate(program, *names).clone()
        value = model.graph.outputs[-1]
        if stated:
            value.shape = ir.Shape([2, *value.shape[1:]])
            return model
        size = ir.Value(name="frozen_size", const_value=ir.tensor(np.array([2, 2], np.int64), name="frozen_size"))
        model.graph.initializers["frozen_size"] = size
        node = ir.node("Reshape", [value, size])
        model.graph.insert_after(value.producer(), node)
        node.outputs[0].name, value.name = value.name, "before"
        node.outputs[0].shape, node.outputs[0].dtype = value.shape, value.dtype
        model.graph.outputs[-1] = node.outputs[0]
        return model

    monkeypatch.setattr(conversion, "_translate", frozen)
    with pytest.raises(ParityError, match=says):
        write(Small(), tmp_path / "a.onnx")
    if stated:  # needs no run
        with pytest.raises(ParityError, match=says):
            write(Small(), tmp_path / "a.onnx", try_batches=False)
    else:  # the parity check of an export finds it, by its engine
        write(Small(), tmp_path / "model.onnx", try_batches=False)
        with pytest.raises(ArtifactError, match="refuses a batch"), TARGET.load(tmp_path) as engine:
            engine.infer({"image": np.zeros((1, 1, 12, 10), np.float32)})
