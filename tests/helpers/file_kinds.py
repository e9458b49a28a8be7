"""Every kind of file that a user gives to lorkit: how an intact one is written, and what reads it.

Used by tests and by `benchmarks/torture.py`, with the changes of `mutations`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import onnx
import scipy.io
import scipy.sparse
import torch
from dicom_files import write_dicom
from dicom_volumes import write_series
from onnx import TensorProto, helper
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless
from safetensors.torch import save_file
from small_graphs import write_graph, write_payments
from streams import node_input

from lorkit.decompose.config import GraphSource, ImageConfig, RegionConfig, load_config
from lorkit.decompose.data import read_region
from lorkit.decompose.data.formats.grids import read_grid
from lorkit.decompose.data.formats.registry import open_image
from lorkit.decompose.data.formats.stored import network_values
from lorkit.decompose.data.graphs.reading import read_graph
from lorkit.decompose.data.preprocessing.recipe import intensity_step
from lorkit.decompose.data.readers.discovery import discover
from lorkit.decompose.errors import LorkitError
from lorkit.decompose.models.foundation.user_weights import load_user_weights
from lorkit.export.onnx.teacher import OnnxTeacher
from lorkit.export.serving.counters import Layout
from lorkit.export.serving.sqlite import SqliteStore

_RNG = np.random.default_rng(7)
_AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])


@dataclass(frozen=True)
class FileKind:
    """One kind of file.

    Attributes:
        name: Short name.
        file: The file that is changed, below a folder; others beside it stay intact.
        write: Writes it and what belongs to it into an empty folder.
        read: Reads it as the commands do.
        text: Whether it is text.
    """

    name: str
    file: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    text: bool = False


def _images(path: Path) -> None:
    """Read an image as every rule of intensity takes it."""
    rules = ({"window": (0.0, 100.0)}, {"intensity": "percentile"}, {})
    image = open_image(path)
    for rule in rules:
        network_values(image, intensity_step(RegionConfig.model_validate({"data": "x", **rule})), str(path))


def _volume(path: Path) -> None:
    _images(path)
    read_grid(path)


def _region(**settings: Any) -> Callable[[Path], object]:
    """Return a reader of all samples of a region, found as `init` finds them and read as training reads them."""
    dims = settings.pop("dims", 2)

    def read(path: Path) -> None:
        with contextlib.suppress(LorkitError):  # `read_region` says it again; any other error is one
            discover(path)
        config = RegionConfig.model_validate({"data": str(path), **settings})
        samples = read_region("one", config, base=path.parent, dims=dims)
        for index in range(len(samples)):
            samples.images[index]

    return read


def _graph(**settings: Any) -> Callable[[Path], object]:
    source = GraphSource.model_validate(settings)

    def read(path: Path) -> None:
        with contextlib.suppress(LorkitError):
            discover(path)
        read_graph([path], source)

    return read


def _pixels(dtype: str = "uint8", *shape: int) -> Any:
    return _RNG.integers(0, 200, shape or (12, 10)).astype(dtype)


def _save_picture(name: str, mode: str | None = None, **options: Any) -> Callable[[Path], object]:
    shape = (12, 10, 3) if mode == "RGB" else (12, 10)
    return lambda folder: Image.fromarray(_pixels("uint16" if mode == "16" else "uint8", *shape)).save(
        folder / name, **options
    )


def _write_npz(folder: Path, **more: Any) -> None:
    np.savez(folder / "data.npz", images=_pixels("uint8", 6, 9, 8), labels=np.arange(6) % 2, ids=np.arange(6), **more)


def _write_masks(folder: Path) -> None:
    np.savez_compressed(folder / "data.npz", images=_pixels("uint8", 6, 9, 8), masks=_pixels("uint8", 6, 9, 8) % 3)


def _write_medmnist(folder: Path) -> None:
    parts = {f"{part}_{what}": _pixels("uint8", 4, 8, 8) if what == "images" else np.arange(4)[:, None] % 2
             for part in ("train", "val", "test") for what in ("images", "labels")}  # fmt: skip
    np.savez(folder / "data.npz", **parts)


def _write_manifest(folder: Path) -> None:
    rows = ["path,label,group,age"]
    for index in range(6):
        Image.fromarray(_pixels()).save(folder / f"{index}.png")
        rows.append(f"{index}.png,{index % 2},p{index},{40 + index}")
    (folder / "table.csv").write_text("\n".join(rows), encoding="utf-8")


def _write_pairs(folder: Path) -> None:
    rows = ["image,mask,group"]
    for index in range(2):
        nib.save(nib.Nifti1Image(_pixels("int16", 8, 7, 6), _AFFINE), folder / f"i{index}.nii")
        nib.save(nib.Nifti1Image(_pixels("uint8", 8, 7, 6) % 3, _AFFINE), folder / f"m{index}.nii")
        rows.append(f"i{index}.nii,m{index}.nii,p{index}")
    (folder / "table.csv").write_text("\n".join(rows), encoding="utf-8")


def _write_decathlon(folder: Path) -> None:
    for name, values in (("imagesTr", _pixels("int16", 8, 7, 6)), ("labelsTr", _pixels("uint8", 8, 7, 6) % 3)):
        (folder / "brain" / name).mkdir(parents=True)
        for case in ("a", "b"):
            nib.save(nib.Nifti1Image(values, _AFFINE), folder / "brain" / name / f"{case}.nii.gz")
    labels = {"0": "background", "1": "left", "2": "right"}
    (folder / "brain" / "dataset.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")


def _write_mat(folder: Path, *, compressed: bool = True) -> None:
    dense = (_RNG.random((20, 20)) < 0.2).astype(float)
    scipy.io.savemat(
        folder / "graph.mat",
        {"features": scipy.sparse.csc_matrix(_RNG.random((20, 3))), "label": np.arange(20)[None] % 2,
         "net_upu": scipy.sparse.csc_matrix(dense), "homo": scipy.sparse.csc_matrix(dense)},
        do_compression=compressed,
    )  # fmt: skip


def _write_parquet(folder: Path) -> None:
    import polars

    polars.read_csv(write_payments(folder / "table.csv", rows=40)).write_parquet(folder / "table.parquet")


def _write_config(folder: Path) -> None:
    text = """name: one
image: {size: 32, channels: 1}
seed: 3
regions:
  chest: {data: "phantom:chest", threshold: null, nsd_tolerance_mm: 1.5, recall_at: [0.1, 5]}
  brain: {data: "phantom:brain", augment: {rotate: 3}, window: [0, 100]}
train: {epochs: 4, batch_size: 128, lr: 0.002, momentum: 0.9, warmup_epochs: 1, label_smoothing: 0.1}
lorkd: {rank: 8, alpha: 16, ranks: {chest: 4}}
rd: {hybrid: 1.0, hidden: 64}
cache: {enabled: false, budget: 100}
"""
    (folder / "decompose.yaml").write_text(text, encoding="utf-8")


def _backbone() -> torch.nn.Module:
    network = torch.nn.Sequential()
    network.add_module("conv", torch.nn.Conv2d(1, 2, 3))
    network.add_module("norm", torch.nn.BatchNorm2d(2))
    network.head_name = "fc"  # type: ignore[assignment]
    return network


def read_weights(path: Path) -> object:
    """Load a file of weights into a small network."""
    return load_user_weights(_backbone(), path)


def _read_onnx(path: Path) -> None:
    teacher = OnnxTeacher(path, ImageConfig(size=(8, 8), channels=1), ("stage",), None)
    teacher.features(torch.zeros(2, 1, 8, 8))


def write_onnx(path: Path, *, nodes: Any = None) -> Path:
    """Write a graph of one convolution, or of the given nodes from `x` to `stage`."""
    nodes = nodes or [helper.make_node("Conv", ["x", "w"], ["stage"]), helper.make_node("Relu", ["stage"], ["y"])]
    weight = helper.make_tensor("w", TensorProto.FLOAT, (2, 1, 3, 3), np.ones(18, dtype=np.float32))
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 1, 8, 8))
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [taken], [given], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def _layout() -> Layout:
    return Layout.of(node_input(), ("no", "yes"))


def _read_store(path: Path) -> None:
    for beside in path.parent.glob(f"{path.name}-*"):
        beside.unlink()
    store = SqliteStore(path, _layout(), wait_s=0.1)
    try:
        len(store), store.last_time()
        store.transact(lambda ledger: (ledger.counters([(0, "k")]), ledger.rows(["t1"])))
    finally:
        store.close()


def _write_store(folder: Path) -> None:
    SqliteStore(folder / "counters.db", _layout()).close()


KINDS: tuple[FileKind, ...] = (
    FileKind("png", "a.png", _save_picture("a.png"), _images),
    FileKind("png16", "a.png", _save_picture("a.png", "16"), _images),
    FileKind("jpeg", "a.jpg", _save_picture("a.jpg", "RGB"), _images),
    FileKind("bmp", "a.bmp", _save_picture("a.bmp", "RGB"), _images),
    FileKind("tiff", "a.tif", _save_picture("a.tif", "16"), _images),
    FileKind("tiff-lzw", "a.tif", _save_picture("a.tif", "RGB", compression="tiff_lzw"), _images),
    FileKind("nifti", "a.nii", lambda at: nib.save(nib.Nifti1Image(_pixels("int16", 8, 7, 6), _AFFINE), at / "a.nii"),
             _volume),
    FileKind("nifti2", "a.nii", lambda at: nib.save(nib.Nifti2Image(_pixels("int16", 8, 7, 6), _AFFINE), at / "a.nii"),
             _volume),
    FileKind("nifti-gz", "a.nii.gz",
             lambda at: nib.save(nib.Nifti1Image(_pixels("uint8", 8, 7, 6), _AFFINE), at / "a.nii.gz"), _volume),
    FileKind("dicom", "a.dcm", lambda at: write_dicom(at / "a.dcm", PatientID="P", RescaleSlope="2",
                                                      RescaleIntercept="-10", WindowCenter="100", WindowWidth="50"),
             _images),
    FileKind("dicom-deflated", "a.dcm", lambda at: _recode(write_dicom(at / "a.dcm"), DeflatedExplicitVRLittleEndian),
             _images),
    FileKind("dicom-rle", "a.dcm", lambda at: _recode(write_dicom(at / "a.dcm"), RLELossless), _images),
    FileKind("dicom-series", "s/002.dcm",
             lambda at: write_series(at / "s", _pixels("int16", 5, 4, 3), np.diag([1.0, 1, 2, 1])),
             lambda path: _volume(path.parent)),
    FileKind("npz", "data.npz", _write_npz, _region()),
    FileKind("npz-named", "data.npz", lambda at: _write_npz(at, label_names=np.array(["a", "b"]), split=np.array(
        ["train", "val", "test"] * 2)), _region()),
    FileKind("npz-masks", "data.npz", _write_masks, _region()),
    FileKind("medmnist", "data.npz", _write_medmnist, _region()),
    FileKind("manifest", "table.csv", _write_manifest, _region(), text=True),
    FileKind("pairs", "table.csv", _write_pairs, _region(dims=3), text=True),
    FileKind("decathlon", "brain/dataset.json", _write_decathlon, lambda path: _region(dims=3)(path.parent), text=True),
    FileKind("graph-npz", "graph.npz", lambda at: write_graph(at / "graph.npz", nodes=24), _graph()),
    FileKind("graph-mat", "graph.mat", _write_mat, _graph()),
    FileKind("graph-mat-plain", "graph.mat", lambda at: _write_mat(at, compressed=False), _graph()),
    FileKind("graph-csv", "table.csv", lambda at: write_payments(at / "table.csv", rows=40),
             _graph(relations=["user", "shop"], time="time"), text=True),
    FileKind("graph-parquet", "table.parquet", _write_parquet, _graph(relations=["user", "shop"], time="time")),
    FileKind("yaml", "decompose.yaml", _write_config, load_config, text=True),
    FileKind("torch", "w.pth", lambda at: torch.save(_backbone().state_dict(), at / "w.pth"), read_weights),
    FileKind("torch-old", "w.pth", lambda at: torch.save(_backbone().state_dict(), at / "w.pth",
                                                         _use_new_zipfile_serialization=False), read_weights),
    FileKind("safetensors", "w.safetensors", lambda at: save_file(_backbone().state_dict(), at / "w.safetensors"),
             read_weights),
    FileKind("onnx", "m.onnx", lambda at: write_onnx(at / "m.onnx"), _read_onnx),
    FileKind("store", "counters.db", _write_store, _read_store),
)  # fmt: skip
"""All kinds. A new reader gets a line here."""


def _recode(path: Path, syntax: str) -> Path:
    """Write a DICOM file again in another transfer syntax."""
    import pydicom

    dataset = pydicom.dcmread(path)
    if syntax == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pydicom")
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path
