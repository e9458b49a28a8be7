"""Small real exports and a small real run, written by hand: the measuring rooms need no training to be tested."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import onnx
import pytest
import small_runs
import torch
import yaml
from known_graphs import translate_once
from known_networks import identity
from mixtures import RegionIdNetwork, RouterNetwork, mixture_of
from onnx import TensorProto, helper, numpy_helper
from onnxscript import ir
from small_unets import TINY_UNET
from tiny_backbones import Tiny
from torch import nn

from lorkit import profiles
from lorkit.decompose.artifacts import digest_json, read_manifest, save_tensors, write_json, write_manifest, write_text
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.config import load_config, to_yaml
from lorkit.decompose.documents.export import ExportedNetwork
from lorkit.decompose.documents.heads import HeadPolicy, MixtureForm
from lorkit.decompose.extraction import expert_builder, mixture_builder
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.metrics import scores
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.backbones.unets import UNETS
from lorkit.decompose.models.deployable import Deployable
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs import OUTSIDE, Run, export_directory, open_run
from lorkit.decompose.runs import expert as expert_artifact
from lorkit.decompose.runs.expert import plain_network
from lorkit.decompose.runs.recipes import recipe_of_region
from lorkit.export.benchmarking import benchmark, end_to_end, footprint, interleaving
from lorkit.export.benchmarking.benchmark import bench
from lorkit.export.building.exporter import Exporter
from lorkit.export.building.exporting import export
from lorkit.export.building.job import ExportJob
from lorkit.export.building.sources import ExportableNetwork
from lorkit.export.onnx import conversion
from lorkit.export.onnx.conversion import to_onnx
from lorkit.export.reporting import measurements
from lorkit.export.runtime.exported import Exported, read_exported
from lorkit.export.runtime.reference_images import seeded_inputs
from lorkit.export.targets import MODEL, get_target
from lorkit.export.targets.base import BuildRequest

SIZE = 16
CLASSES = ("dark", "bright")
RECIPE = {
    "version": 1,
    "steps": [
        {"op": "intensity", "rule": "dtype"},
        {"op": "resize", "size": [SIZE, SIZE], "filter": "bilinear"},
        {"op": "channels", "count": 1},
        {"op": "normalise", "mean": [0.5], "std": [0.25]},
    ],
}

PARITY = {
    "max_abs": 1e-7, "tolerance": 1e-4, "of_margin": 1e-7, "label_flips": 0, "flip_rate": 0.0, "flip_limit": 1.0,
    "dice": None, "n": 3, "batches": [1, 3], "inputs": "phantom", "status": "passed",
}  # fmt: skip


def write_onnx(path: Path, *, work: int = 1, width: int = 8, threshold: float = 0.5) -> None:
    """Write a network that calls an image bright when its mean exceeds `threshold`, after `work` idle convolutions."""
    generator = np.random.default_rng(0)
    nodes, weights = [], []

    def weight(name: str, value: np.ndarray[Any, Any]) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    first = generator.normal(size=(width, 1, 3, 3)).astype(np.float32)
    nodes.append(helper.make_node("Conv", ["image", weight("w", first)], ["x0"], pads=[1, 1, 1, 1]))
    for index in range(work):
        kernel = (generator.normal(size=(width, width, 3, 3)) / (3 * width)).astype(np.float32)
        names = [f"x{index}", weight(f"w{index}", kernel)]
        nodes.append(helper.make_node("Conv", names, [f"y{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"y{index}"], [f"x{index + 1}"]))
    axes = weight("axes", np.array([1, 2, 3], dtype=np.int64))
    nodes.append(helper.make_node("ReduceMean", [f"x{work}", axes], ["idle"], keepdims=0))
    nodes.append(helper.make_node("ReduceMean", ["image", axes], ["mean"], keepdims=0))
    zero = weight("zero", np.array(0, dtype=np.float32))
    nodes.append(helper.make_node("Mul", ["idle", zero], ["nothing"]))
    nodes.append(helper.make_node("Add", ["mean", "nothing"], ["level"]))
    last = weight("last", np.array([1], dtype=np.int64))
    nodes.append(helper.make_node("Unsqueeze", ["level", last], ["column"]))
    slope = weight("slope", np.array([[-20.0, 20.0]], dtype=np.float32))
    bias = weight("bias", np.array([20.0 * threshold, -20.0 * threshold], dtype=np.float32))
    nodes.append(helper.make_node("Gemm", ["column", slope, bias], ["logits"]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIZE, SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "test", [image], [logits], initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def write_export(
    directory: Path,
    *,
    owner: str,
    region: str,
    parent: Path | None = None,
    precision: str = "fp32",
    parity: Mapping[str, Any] = PARITY,
    **network: Any,
) -> Path:
    """Write a complete export directory."""
    directory.mkdir(parents=True)
    write_onnx(directory / "model.onnx", **network)
    info = {
        "schema_version": 1,
        "kind": "export",
        "owner": owner,
        "region": region,
        "task": "classification",
        "target": "onnx",
        "profile": "cpu-generic",
        "precision": precision,
        "opset": 20,
        "nodes": 10,
        "classes": list(CLASSES),
        "image": {"size": [SIZE, SIZE], "channels": 1},
        "recipe": RECIPE,
        "size_bytes": (directory / "model.onnx").stat().st_size,
        "macs": 1000 * (1 + network.get("work", 1)),
        "parameters": 100 * (1 + network.get("work", 1)),
        "parity": parity,
        "synthetic": True,
        "provider": "CPUExecutionProvider",
    }
    write_json(directory / "export.json", info)
    names = ("owner", "region", "target", "profile", "precision")
    of = None if parent is None else read_manifest(parent)
    write_manifest(directory, "export", synthetic=True, parent=of, extra={name: info[name] for name in names})
    return directory


def write_data(path: Path, *, cases: int, seed: int) -> Path:
    """Write images whose mean decides their class, 200 of 255 against 60, a quarter of them close to the border."""
    generator = np.random.default_rng(seed)
    labels = np.arange(cases) % 2
    level = np.where(labels == 1, 200, 60) + np.where(generator.random(cases) < 0.25, np.where(labels == 1, -60, 60), 0)
    images = np.clip(level[:, None, None] + generator.normal(0, 12, (cases, SIZE, SIZE)), 0, 255).astype(np.uint8)
    split = np.array(["train", "val", "test", "test"])[(np.arange(cases) // 2) % 4]
    groups = np.array([f"patient{index}" for index in range(cases)])
    np.savez(path, images=images, labels=labels, groups=groups, split=split, label_names=np.array(CLASSES))
    return path


def write_run(path: Path, *, regions: tuple[str, ...] = ("chest",), cases: int = 800) -> Run:
    """Write a run without weights: configuration, regions, locked splits."""
    from lorkit.decompose.data import read_regions, split_regions

    path.mkdir(parents=True)
    settings = {
        "name": "by-hand",
        "image": {"size": SIZE, "channels": 1},
        "regions": {
            name: {"data": str(write_data(path.parent / f"{name}.npz", cases=cases, seed=index))}
            for index, name in enumerate(regions)
        },
    }
    source = path.parent / "decompose.yaml"
    source.write_text(yaml.safe_dump(settings), encoding="utf-8")
    config = load_config(source)
    write_text(path / "config.yaml", to_yaml(config))
    named = RegionSet(Region(name=name, classes=CLASSES, synthetic=True) for name in regions)
    write_json(path / "regions.json", {"schema_version": 1, "kind": "regions", "regions": named.to_json()})
    samples = read_regions(config)
    splits, key = split_regions(samples, config.split, seed=0), DirectoryKey(path.parent, create=True)
    write_json(path / "splits.json", splits.to_json(samples, key))
    write_text(path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in training_log(regions)))
    write_manifest(path, "run", synthetic=True, outside=OUTSIDE)
    return open_run(path)


def training_log(regions: tuple[str, ...], epochs: int = 12) -> list[dict[str, Any]]:
    """Rows as training writes them: losses that fall, accuracies that rise."""
    rows = []
    for epoch in range(epochs):
        fade = float(np.exp(-epoch / 4))
        terms = {"ce": 0.9, "feature_kd": 0.5, "logit_kd": 1.4}
        loss = {term: {name: top * fade + 0.1 * at for at, name in enumerate(regions)} for term, top in terms.items()}
        scores = {name: 0.95 - 0.45 * fade - 0.04 * at for at, name in enumerate(regions)}
        val = {"balanced_accuracy": scores, "mean": sum(scores.values()) / len(scores)}
        rows.append({"phase": "lorkd", "epoch": epoch, "loss": loss, "val": val, "lr": 0.05 * fade, "seconds": 3.0})
    return rows


def write_evaluations(run: Run, *, classes: tuple[str, ...] = CLASSES, cases: int = 400) -> None:
    """Write what `evaluate` stores, for the three models, from drawn logits."""
    run.measurements_dir.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    for model, skill in {"foundation": 3.2, "student": 2.0, "experts": 3.0}.items():
        regions = {}
        for name in run.regions.names:
            labels = generator.integers(0, len(classes), cases)
            logits = generator.normal(0, 1.2, (cases, len(classes))) + skill * np.eye(len(classes))[labels]
            found = scores(labels, logits, np.arange(cases), classes=classes, replicates=100)
            source = "own" if model == "foundation" else "live"
            about = {"task": "classification", "classes": list(classes), "source": source, "synthetic": True}
            regions[name] = {**found, **about}
        document = {
            "schema_version": 1,
            "kind": "evaluate",
            "warnings": [],
            "created": "2026-01-01T00:00:00+00:00",
            "machine": fingerprint(),
            "run": run.id,
            "run_digest": run.manifest.digest,
            "model": model,
            "split": "test",
            "data": None,
            "synthetic": True,
            "regions": regions,
            "means": {},
            "mean_ci": {},
        }
        sealed = document | {"seal": digest_json(json.loads(json.dumps(document)))}
        write_json(run.measurements_dir / f"evaluate-{model}-test.json", sealed)


NETWORKS: dict[str, dict[str, Any]] = {
    "foundation": {"work": 12, "width": 16},
    "student": {"work": 4, "width": 8},
    "expert": {"work": 4, "width": 8},
}


def fill_run(run: Run) -> Run:
    """Add exports of every owner and region."""
    for region in run.regions.names:
        for owner, network in NETWORKS.items():
            directory = export_directory(run, owner, region, "onnx", "cpu-generic", "fp32")
            write_export(directory, owner=owner, region=region, parent=run.path, **network)
    return run


@pytest.fixture(scope="session", autouse=True)
def memory_measured_here() -> Iterator[None]:
    """Let bench measure an export's memory in this process: the child that it starts costs seconds, and has tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            benchmark,
            "footprints",
            lambda paths, **setting: [footprint.measure(path, **setting) for path in paths],
        )
        yield


TIMING = (
    (interleaving, "WARM_SECONDS", 0.0), (interleaving, "_STABLE", 0.0), (end_to_end, "_MOST", 5),
    (measurements, "_SAMPLES", 8),
)  # fmt: skip
USUAL = [(module, name, getattr(module, name)) for module, name, _ in TIMING]


@pytest.fixture(scope="session", autouse=True)
def soon_warm() -> Iterator[None]:
    """Warm engines in ten runs, time an image from file to prediction five times, and an export of a report eight.

    Tests ask which numbers are measured and what is made of them; their networks are warm after the first run.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in TIMING:
            patch.setattr(module, name, value)
        yield


@pytest.fixture
def timed_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm and time as outside of tests."""
    for module, name, value in USUAL:
        monkeypatch.setattr(module, name, value)


_TRACE = conversion.Tracer.graph


def _once_each(trace: Callable[..., ir.Model]) -> Callable[..., ir.Model]:
    """Let `Tracer.graph` trace each network once: tests export the networks of the same few runs again and again."""
    known: dict[Any, bytes] = {}

    def graph(tracer: conversion.Tracer, network: nn.Module, **shape: Any) -> ir.Model:
        found = identity(network)
        key = found and (found, *((name, str(value)) for name, value in sorted(shape.items())))
        if key is None or key not in known:
            traced = trace(tracer, network, **shape)
            if key is not None:
                known[key] = ir.to_proto(traced).SerializeToString()
            return traced
        return ir.from_proto(onnx.load_model_from_string(known[key]))

    return graph


@pytest.fixture(scope="session", autouse=True)
def architectures_translated_once() -> Iterator[None]:
    """Translate each architecture once for all tests, and trace each network once."""
    with pytest.MonkeyPatch.context() as patch:
        translate_once(patch)
        patch.setattr(conversion.Tracer, "graph", _once_each(_TRACE))
        yield


@pytest.fixture
def traced_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace every network, also one that was traced before."""
    monkeypatch.setattr(conversion.Tracer, "graph", _TRACE)


@pytest.fixture(scope="session", autouse=True)
def experts_without_program() -> Iterator[None]:
    """Extract experts without `model.pt2`, whose tracing takes seconds; patch it back where it is read."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (expert_builder, mixture_builder):
            patch.setattr(module, "write_program", lambda *_, **__: None)
        yield


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with exports; never write into it, ask for `a_run` instead."""
    return fill_run(write_run(tmp_path_factory.mktemp("once") / "runs" / "by-hand", regions=("chest", "knee"))).path


@pytest.fixture
def a_run(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of the run, in `runs/` of the current directory."""
    shutil.copytree(finished_run, tmp_path / "runs" / "by-hand")
    assert DirectoryKey(tmp_path / "runs", create=True).name  # written, as a command that a test starts needs it
    monkeypatch.chdir(tmp_path)
    return open_run(Path("runs/by-hand"))


@pytest.fixture(scope="session")
def measured_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with evaluations and a short bench; never write into it, ask for `measured` instead."""
    path = tmp_path_factory.mktemp("measured") / "by-hand"
    shutil.copytree(finished_run, path)
    write_evaluations(open_run(path))
    bench(run=path, samples=4, max_seconds=0.5)
    return path


@pytest.fixture
def measured(measured_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of the measured run, in `runs/` of the current directory."""
    shutil.copytree(measured_run, tmp_path / "runs" / "by-hand")
    monkeypatch.chdir(tmp_path)
    return open_run(Path("runs/by-hand"))


@pytest.fixture
def make_export(tmp_path: Path) -> Callable[..., Path]:
    """Write a lone export below the test's own directory."""

    def make(name: str, **options: Any) -> Path:
        return write_export(tmp_path / name, **{"owner": "expert", "region": "chest", **options})

    return make


@pytest.fixture
def workshop(workshop_once: Any) -> Any:
    """The writers of this module, for tests that need another network."""
    return workshop_once


@pytest.fixture(scope="session")
def workshop_once() -> Any:
    """The same, for fixtures that live as long as the session."""
    return SimpleNamespace(
        write_onnx=write_onnx,
        write_export=write_export,
        write_data=write_data,
        write_run=write_run,
        fill_run=fill_run,
        write_evaluations=write_evaluations,
    )


@pytest.fixture(scope="session")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run with weights and the extracted experts of its two regions; never write into it."""
    from lorkit.decompose.extraction.extraction import extract
    from lorkit.decompose.models.backbones.registry import BACKBONES, Known

    root = tmp_path_factory.mktemp("extracted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", Known(lambda channels, image_size: Tiny(channels)))
        tiny = {"foundation.backbone": "tiny", "student.backbone": "tiny"}
        run = small_runs.write_run(small_runs.small_config(root, name="small", **tiny), root / "runs" / "small")
        extract(run, region="all")
        yield run.path


@pytest.fixture(scope="session")
def exported(extracted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that run with every owner exported to ONNX for a generic CPU; never write into it."""
    from lorkit.export.building.exporting import export

    run = Path(
        shutil.copytree(extracted.parent.parent, tmp_path_factory.mktemp("exported") / "home") / "runs" / "small"
    )
    export(run, profile="cpu-generic")
    return run


@pytest.fixture
def cuda_events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """CUDA events that lie 1.5 ms apart; what is done with them, in order: the second of a pair is number 1."""
    log: list[tuple[str, Any]] = []
    made: list[Any] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing
            self.number = len(made) % 2
            made.append(self)

        def record(self, stream: Any) -> None:
            log.append(("record", stream))

        def synchronize(self) -> None:
            log.append(("synchronize", self.number))

        def elapsed_time(self, end: Any) -> float:
            assert (self.number, end.number, log[-1]) == (0, 1, ("synchronize", 1))
            return 1.5

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "current")
    return log


STRUCTURES = ("core", "rim")


@pytest.fixture(scope="session")
def write_expert(small_backbone: None) -> Callable[..., Path]:
    """Write an extracted expert around a small U-Net, or around a classifier, with weights that nobody trained."""

    def write(
        directory: Path,
        size: tuple[int, ...],
        *,
        task: str = "segmentation",
        seed: int = 0,
        spacing: float | None = None,
    ) -> Path:
        classes = {"segmentation": STRUCTURES, "multilabel": FINDINGS}.get(task, ("no", "yes"))
        region = Region(name="organ", task=task, classes=classes)
        backbone = "tiny_unet" if task == "segmentation" and len(size) == 3 else "small"
        torch.manual_seed(seed)
        network = plain_network(backbone, channels=1, size=size, region=region)
        filters, version = {2: ("bilinear", {"version": 1}), 3: ("trilinear", {"version": 2, "axes": "RAS"})}[len(size)]
        steps: list[dict[str, Any]] = [
            {"op": "intensity", "rule": "percentile", "low": 0.5, "high": 99.5},
            {"op": "resize", "size": list(size), "filter": filters},
            {"op": "channels", "count": 1},
            {"op": "normalise", "mean": [0.5], "std": [0.25]},
        ]
        if spacing is not None:
            version["version"] = 4
            resample = {"op": "resample", "spacing": [spacing] * 3, "filter": "trilinear", "antialias": True}
            window = {"op": "window", "size": list(size), "overlap": 0.25, "blend": "gaussian", "sigma": 0.125}
            steps[1:2] = [resample, window]
        directory.mkdir(parents=True)
        info = {
            "schema_version": 1, "kind": "expert", "region": "organ", "task": task, "classes": list(classes),
            "modality": None, "backbone": backbone, "image": {"size": list(size), "channels": 1},
            "recipe": {**version, "steps": steps}, "normalise": {"mean": [0.5], "std": [0.25]}, "in_region": None,
            "synthetic": False, "parameters": 1, "macs": 1, "network_output": {"name": "logits", "channels": 1},
            "gray": True, "recalibrated": False, "cases": {},
            "validation": {
                "n": 0, "groups": 0, "dice": None, "nsd": None, "hd95": None, "dice_network_grid": None, "ci": {},
                "per_structure": [],
            },
            "made_from": {
                "run": "r", "run_manifest": 64 * "0", "method": "stl", "foundation_backbone": "small", "lorkit": "0.1.0"
            },
            "equality": {
                "n": 1, "max_abs_difference": 0.0, "tolerance": 1.0, "label_flips": 0, "inputs": "real", "split": "val"
            },
        }  # fmt: skip
        save_tensors(directory / "model.safetensors", network.state_dict(), {"format": "pt"})
        write_json(directory / "expert.json", info)
        write_manifest(directory, "expert", synthetic=False, inputs="by hand", extra={"region": "organ", "task": task})
        return directory

    return write


class Small(nn.Module):
    """A backbone of one layer, of pictures and of volumes: tracing a real one costs seconds."""

    feature_dim, head_name = 4, "head"

    def __init__(self, dims: int, *, dense: bool) -> None:
        super().__init__()
        self.layer = (nn.Conv2d if dims == 2 else nn.Conv3d)(1, 4, 3, padding=1)
        self.head, self.image_shape = nn.Identity(), (1, *(8,) * dims)
        if dense:
            self.maps_dim = self.feature_dim

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.layer(image))
        return self.head(maps if hasattr(self, "maps_dim") else maps.flatten(2).mean(2))


@pytest.fixture(scope="session")
def small_backbone() -> Iterator[None]:
    """The backbones `small` and `tiny_unet`, beside the registry's own."""

    def build(name: str, **options: Any) -> nn.Module:
        if name != "small":
            return build_backbone(name, **options)
        return Small(len(options["image_size"]), dense=options["dense"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expert_artifact, "build_backbone", build)
        patch.setitem(UNETS, "tiny_unet", TINY_UNET)
        yield


@pytest.fixture(scope="session")
def flat(small_backbone: None, write_expert: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter of pictures, exported into itself."""
    expert = write_expert(tmp_path_factory.mktemp("flat") / "expert", (32, 16))
    return export(expert, profile="cpu-generic").exports[0].path


@pytest.fixture(scope="session")
def deep(small_backbone: None, write_expert: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter of volumes, exported into itself."""
    expert = write_expert(tmp_path_factory.mktemp("deep") / "expert", (32, 16, 16))
    return export(expert, profile="cpu-generic").exports[0].path


@pytest.fixture(scope="session")
def windowed(small_backbone: None, write_expert: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter of volumes at 2 mm, window by window, exported into itself."""
    expert = write_expert(tmp_path_factory.mktemp("windowed") / "expert", (16, 16, 16), spacing=2.0)
    return export(expert, profile="cpu-generic").exports[0].path


@pytest.fixture
def write_volume() -> Callable[..., Path]:
    """Write a volume whose voxels are 1 x 2 x 3 mm towards right, anterior and superior, stored along `axes`."""

    def write(path: Path, shape: tuple[int, ...] = (9, 14, 11), *, axes: str = "RAS") -> Path:
        values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        image = nib.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0]))
        turn = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
        )
        nib.save(image.as_reoriented(turn) if len(shape) == 3 else image, path)
        return path

    return write


FINDINGS = ("healthy", "ill", "unclear")
_TRACED: dict[tuple[int, ...], bytes] = {}  # tracing costs seconds, and every test takes the same network


def network(channels: int = 1, classes: int = len(FINDINGS)) -> Deployable:
    """Two convolutions with batch norms whose statistics are not those of a new network, and a head."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes),
    )  # fmt: skip
    with torch.no_grad():
        body.train()(torch.randn(64, channels, 16, 16))
    return Deployable(body, mean=[0.5] * channels, std=[0.25] * channels).eval()


@pytest.fixture
def build_request() -> Callable[..., BuildRequest]:
    """Return a function that makes a build request of a directory, with its `model.onnx` unless one lies there."""

    def make(
        directory: Path,
        *,
        precision: str = "fp32",
        profile: str = "cpu-generic",
        shape: tuple[int, ...] = (1, 16, 16),
        **info: Any,
    ) -> BuildRequest:
        inside = network(shape[0])
        if not (directory / MODEL).exists():
            if shape not in _TRACED:
                to_onnx(inside, directory / MODEL, channels=shape[0], size=shape[1:], metadata={"region": "chest"})
                _TRACED[shape] = (directory / MODEL).read_bytes()
            (directory / MODEL).write_bytes(_TRACED[shape])
        facts = {"region": "chest", "owner": "expert", "task": "classification", "classes": list(FINDINGS)}
        facts |= {"outputs": list(FINDINGS), "recipe": RECIPE, "synthetic": False}
        return BuildRequest(
            directory=directory,
            network=inside,
            precision=precision,
            profile=profiles.load(profile),
            shape=shape,
            info=ExportedNetwork.model_validate(facts | info),
            images=seeded_inputs(shape, 4) if len(shape) > 1 else np.ones((4, *shape), np.float32),
        )

    return make


_MIXTURES = {"router": RouterNetwork, "region-id": RegionIdNetwork}


@pytest.fixture(scope="session")
def mixture_exports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Hashable], tuple[Path, bool]]:
    """Return a function of the place where the export of a network by hand is kept, and whether it lies there."""
    root, places = tmp_path_factory.mktemp("mixtures"), dict[Hashable, Path]()

    def place(key: Hashable) -> tuple[Path, bool]:
        found = places.setdefault(key, root / str(len(places)))
        return found, found.exists()

    return place


@pytest.fixture
def export_mixture(
    extracted: Path, mixture_exports: Callable[[Hashable], tuple[Path, bool]], tmp_path: Path
) -> Callable[..., Exported]:
    """Return a function that exports a network by hand as the router or the region-id network of a run.

    It has a parity of real images of all its regions, and the costs 100 parameters and 1000 MACs. The export of a
    network that a test before had exported in the same way is a copy, unless `anew`.
    """

    def make(
        form: MixtureForm,
        network: torch.nn.Module | None = None,
        *,
        run: Run | None = None,
        target: str = "onnx",
        precision: str = "fp32",
        policy: HeadPolicy = "routed",
        abstain_below: float | None = None,
        anew: bool = False,
    ) -> Exported:
        if run is None:
            path = tmp_path / "run"
            if not path.exists():
                shutil.copytree(extracted, path)
            run = open_run(path)
        mixture = mixture_of(form, run.regions, policy=policy, abstain_below=abstain_below)
        module = (network or _MIXTURES[form](run.regions)).eval()
        source = ExportableNetwork(
            owner="expert",
            region=mixture.as_region(),
            parent=run.manifest,
            recipe=recipe_of_region(run, "chest"),
            home=run.exports_dir / form,
            run=run,
            load=lambda: module,
            mixture=mixture,
            stated_cost=(100, 1000),
        )
        job = ExportJob(get_target(target), profiles.load("cpu-generic"), precision)
        known, path = identity(module), source.home / job.name
        kept, lies_there = mixture_exports((run.manifest.digest, form, policy, abstain_below, target, precision, known))
        if lies_there and known is not None and not anew:
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(kept, path)
        else:
            assert Exporter(force=True).export(source, job).path == path
            shutil.copytree(path, kept, dirs_exist_ok=True)
        return read_exported(path)

    return make


@pytest.fixture(scope="session")
def several_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[MixtureForm, Path]]:
    """A mola-router run with its router and one of LoRKD with its region-id network; never write into them."""
    from lorkit.decompose.extraction.extraction import extract

    runs: dict[MixtureForm, Path] = {}
    methods = {"router": {"method": "mola-router", "mola.gates": "stage", "mola.adapters": 3}, "region-id": {}}
    with pytest.MonkeyPatch.context() as patch:
        # not `tiny`, which is another network for the other session-scoped runs here
        small_runs.register_tiny(
            lambda known, name, one: patch.setitem(known, name, one) if name.startswith("tiny_resnet") else None
        )
        for form, settings in methods.items():
            root = tmp_path_factory.mktemp(form)
            names = {"student.backbone": "tiny_resnet", "foundation.backbone": "tiny_resnet_wide"}
            config = small_runs.small_config(root, name="small", **names, **settings)
            run = small_runs.write_run(config, root / "runs" / "small")
            extract(run, router=form == "router", region_id=form == "region-id")
            runs[form] = run.path  # type: ignore[index]
        yield runs


@pytest.fixture(scope="session")
def several_exports(
    several_runs: dict[MixtureForm, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[MixtureForm, Path]:
    """Copies of them with their networks and the foundation of every region in ONNX; never write into them."""
    made: dict[MixtureForm, Path] = {}
    for form, run in several_runs.items():
        made[form] = Path(shutil.copytree(run, tmp_path_factory.mktemp("several") / "runs" / form))
        export(made[form], profile="cpu-generic", owners=("expert", "foundation"))
    return made


@pytest.fixture
def several_exported(several_exports: dict[MixtureForm, Path], tmp_path: Path) -> Callable[[MixtureForm], Path]:
    """Return a function that copies one of those, with exports."""

    def copy(form: MixtureForm) -> Path:
        return Path(shutil.copytree(several_exports[form], tmp_path / "exported" / form))

    return copy


@pytest.fixture
def several_run(several_runs: dict[MixtureForm, Path], tmp_path: Path) -> Callable[[MixtureForm], Path]:
    """Return a function that copies one of them; the data stays where it was made."""

    def copy(form: MixtureForm) -> Path:
        return Path(shutil.copytree(several_runs[form], tmp_path / "runs" / form))

    return copy
