"""A MONAI bundle: TorchScript, metadata that MONAI's verifiers accept, and a configuration that runs it."""

from __future__ import annotations

import importlib.metadata
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lorkit.decompose.artifacts import digest_bytes, digest_file, digest_json, write_bytes, write_json, write_text
from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.export import ExportedNetwork
from lorkit.decompose.documents.heads import IMAGE
from lorkit.decompose.errors import ArtifactError, UsageError, first_line, plural
from lorkit.export.targets.base import Availability, BuildRequest, Example, SingleEngine, Target
from lorkit.export.targets.inference_limits import within_limits
from lorkit.export.targets.monai.bundle_config import MODEL_PATH, inference_config
from lorkit.export.targets.quiet import quiet

if TYPE_CHECKING:
    from lorkit.profiles import Profile

BUNDLE, METADATA, INFERENCE = "bundle", "configs/metadata.json", "configs/inference.json"
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_TRACED_BATCH = 2
# MONAI evaluates texts that begin with these, or contain a relative reference, in metadata too
_CODE = re.compile(r"[$@%]|.*[@%](#|::)", re.S)
_FACTS = ("region", "owner", "task", "classes", "outputs", "recipe", "synthetic")
_LICENSE = """\
No licence has been chosen for these weights.

They were trained from a foundation model and on images whose own terms hold. Whoever passes them on has to state a
licence that those terms allow, here and in configs/metadata.json.
"""


class MonaiTarget(Target):
    """The `monai` target."""

    name: ClassVar[str] = "monai"
    runtime: ClassVar[str] = "torch"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "fp32"}
    built_from: ClassVar[str] = "torch"
    packages: ClassVar[bool] = True
    example: ClassVar[Example] = Example("bundle_example.py", "torch", "bundle_example.py")

    def available(self, profile: Profile | None = None) -> Availability:
        """Return that it can be built and run here: lorkit itself needs torch and MONAI."""
        return Availability(True)

    def fingerprint(self) -> str:
        """Return a digest of the versions that write the model and are in its metadata."""
        return digest_json(_versions())

    def build(self, request: BuildRequest) -> Path:
        """Write the bundle; return its TorchScript.

        Raises:
            UsageError: A class has a name that MONAI would execute, the network takes windows of volumes, or it cannot
                be traced.
        """
        _check_names(request.info)
        _refuse_windows(request.info)
        root = request.directory / BUNDLE
        for folder in ("configs", "models", "docs"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        script = _script(request)
        write_bytes(root / MODEL_PATH, script)
        metadata = _metadata(request, digest_bytes(script))
        dense, exclusive = request.dense, request.info.cuts is None
        write_json(root / METADATA, metadata)
        write_json(root / INFERENCE, inference_config(request.info.recipe, dense=dense, exclusive=exclusive))
        write_text(root / "docs" / "README.md", _readme(metadata, dense=dense, volumes=len(request.shape) == 4))
        write_text(root / "LICENSE", _LICENSE)
        return root / MODEL_PATH

    def load(self, directory: Path, *, threads: int | None = None) -> BundleEngine:
        """Load the bundle's model on the CPU; raise ArtifactError if it is missing or unreadable."""
        import torch

        path = directory / BUNDLE / MODEL_PATH
        if not path.is_file():
            raise ArtifactError(f"{path} is missing", required="a complete export", fix="export it again with --force")
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            with quiet():
                module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise ArtifactError(
                f"torch cannot read {path} ({first_line(error)})",
                required="an intact TorchScript file",
                fix="export it again with --force",
            ) from None
        return BundleEngine(module, f"torch {torch.__version__} CPU")


class BundleEngine(SingleEngine):
    """The TorchScript of a bundle on the CPU."""

    def run(self, batch: Float32Array) -> Float32Array:
        """Return the logits (N, classes) or (N, outputs, *spatial) of a batch (N, C, *spatial)."""
        import torch

        try:
            with within_limits({IMAGE: batch}), torch.inference_mode():
                # a copy of the batch: prepared images are read-only
                logits: Float32Array = self._opened()(torch.tensor(batch)).numpy()
        except RuntimeError as error:
            raise ArtifactError(
                f"the model refuses a batch of shape {tuple(batch.shape)} ({str(error).splitlines()[-1][:160]})",
                required="a model with a free batch size",
                fix="export it again with --force",
            ) from None
        return logits


def _refuse_windows(info: ExportedNetwork) -> None:
    if info.recipe.window is not None:
        raise UsageError(
            f"target monai for region '{info.region}', whose network takes windows of resampled volumes",
            required="a network of whole images: MONAI's own resampling gives other voxels",
            fix="use --target onnx or openvino, or train without spacing",
        )


def _check_names(info: ExportedNetwork) -> None:
    for name in (*info.classes, *info.outputs):
        if _CODE.match(str(name)):
            raise UsageError(
                f"MONAI would run or resolve the class name '{name}'",
                required="class names that are plain text",
                fix="rename the class, or use --target onnx",
            )


def _script(request: BuildRequest) -> bytes:
    """Trace the network with a free batch size, without paths of this machine."""
    import torch

    example, stream = torch.zeros(_TRACED_BATCH, *request.shape), io.BytesIO()
    try:
        with quiet(), torch.no_grad():
            traced = torch.jit.trace(request.network, example, check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, stream)
    except RuntimeError as error:
        raise UsageError(
            f"torch cannot trace the network ({first_line(error)})",
            required="a network whose code does not depend on values",
            fix="change the backbone, or use --target onnx",
        ) from None
    return _without_sources(stream.getvalue())


def _without_sources(script: bytes) -> bytes:
    """Remove the debug records, which name source files of this machine."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(script)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                new.writestr(zipfile.ZipInfo(entry.filename), old.read(entry))
    return stream.getvalue()


def _versions() -> dict[str, str]:
    # without the local label of this machine, such as "+cpu"
    names = ("monai", "torch", "numpy", "nibabel")
    return {name: importlib.metadata.version(name).split("+")[0] for name in names}


def _metadata(request: BuildRequest, script_digest: str) -> dict[str, Any]:
    """Return `metadata.json`: MONAI's keys, and under `lorkit` those of lorkit's readers."""
    info, versions = request.info, _versions()
    what = f"{info.task} of the region {info.region}"
    drawn = " Trained on phantom images, not on patients." if info.synthetic else ""
    volumes = info.recipe.dims == 3
    outputs = ", ".join(str(name) for name in info.outputs)
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": "exported by lorkit"},
        "monai_version": versions["monai"],
        "pytorch_version": versions["torch"],
        "numpy_version": versions["numpy"],
        "required_packages_version": {"pytorch-ignite": "0.5.5"}
        | ({"nibabel": versions["nibabel"]} if volumes else {}),
        "supported_apps": {},
        "name": f"Expert for {info.region}" if info.owner == "expert" else f"{info.region}: {info.owner}",
        "task": f"Medical image {what}",
        "description": f"A network for the {what}.{drawn} Not for diagnosis.",
        "authors": "made with lorkit",
        "copyright": "see LICENSE",
        "data_source": "drawn phantoms" if info.synthetic else "not stated",
        "data_type": "nibabel" if volumes else "png",
        "image_classes": f"{plural(request.shape[0], 'channel')}, intensities in [0, 1]",
        "label_classes": f"outputs in this order: {outputs}",
        "pred_classes": f"{plural(len(info.outputs), 'channel')} of logits: {outputs}",
        "eval_metrics": {},
        "intended_use": "Research and evaluation. Not a medical device; not for diagnosis.",
        "references": [],
        "network_data_format": _data_format(request),
        "lorkit": {
            **{name: value for name, value in info.to_json().items() if name in _FACTS},
            "precision": request.precision,
            "onnx_sha256": digest_file(request.onnx_path),
            "model_sha256": script_digest,
        },
    }


def _data_format(request: BuildRequest) -> dict[str, Any]:
    channels, *size = request.shape
    outputs = [str(name) for name in request.info.outputs]
    dense = request.dense
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "n/a",
        "num_channels": channels,
        "spatial_shape": size,
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {str(index): "image" for index in range(channels)},
    }
    pred = {
        "type": "logits",
        "format": "segmentation" if dense else "classes",
        "num_channels": len(outputs),
        "spatial_shape": size if dense else [1, len(outputs)],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(index): name for index, name in enumerate(outputs)},
    }
    return {"inputs": {"image": image}, "outputs": {"pred": pred}}


def _readme(metadata: Mapping[str, Any], *, dense: bool, volumes: bool) -> str:
    from lorkit.export.rendering.templates import environment

    page = environment(Path(__file__).parent).get_template("README.md.jinja")
    return page.render(metadata=metadata, dense=dense, volumes=volumes)


TARGET = MonaiTarget()
