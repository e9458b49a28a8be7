"""`inference.json` of a MONAI bundle: the recipe of an expert as MONAI transforms.

MONAI executes configurations: `$` begins Python, `_target_` names a callable. So both are written only here, as
constants, and no user-chosen name is part of the document.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lorkit.decompose.documents.recipe import Intensity, Recipe

MODEL_PATH = "models/model.ts"
Entry = dict[str, Any]
"""A part of MONAI's format: a callable, and its arguments."""
# all Python expressions, required by `python -m monai.bundle run`
EXPRESSIONS = {
    "model": f"$@bundle_root + '/{MODEL_PATH}'",
    "files": "$sorted(@files)",
    "data": "$[{'image': path} for path in @sorted_files]",
    "pattern": "$@dataset_dir + '/' + @pattern",
    "run": "$@evaluator.run()",
}
_SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}


def inference_config(recipe: Recipe, *, dense: bool) -> Entry:
    """Return a configuration that runs the model on a folder of images.

    Classifiers write `predictions.csv`, one row of probabilities per image; segmentation a mask on each image's grid.
    """
    volumes = recipe.dims == 3
    return {
        "bundle_root": ".",
        "device": "cpu",
        "dataset_dir": "./input",
        "output_dir": "./output",
        "pattern": "*.nii.gz" if volumes else "*.png",
        "files": {"_target_": "glob.glob", "pathname": EXPRESSIONS["pattern"]},
        "sorted_files": EXPRESSIONS["files"],
        "network_def": {"_target_": "torch.jit.load", "f": EXPRESSIONS["model"], "map_location": "@device"},
        "preprocessing": _compose(_preprocessing(recipe, dense=dense)),
        "dataset": {"_target_": "Dataset", "data": EXPRESSIONS["data"], "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": _compose(_masks(volumes=volumes) if dense else [_SOFTMAX]),
        "handlers": [] if dense else [_table()],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network_def",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": [EXPRESSIONS["run"]],
    }


def _preprocessing(recipe: Recipe, *, dense: bool) -> list[Entry]:
    """Return the recipe's steps except the last, which is inside the model."""
    size, channels = list(recipe.size), recipe.channels
    steps = _volume() if len(size) == 3 else _picture(channels)
    if dense:
        # with metadata: transforms are recorded and inverted for the mask
        steps += [{"_target_": "CopyItemsd", "keys": "image", "names": "grid"}]
    keys = ["image", "grid"] if dense else ["image"]
    if len(size) == 3:
        steps += [{"_target_": "Orientationd", "keys": keys, "axcodes": "RAS"}]
    if dense:
        steps += [{"_target_": "Resized", "keys": "grid", "spatial_size": size if len(size) == 3 else size[::-1]}]
    steps += [_intensity(recipe.intensity)]
    steps += _resized_volume(size) if len(size) == 3 else [_transposed("image"), *_resized_picture(size)]
    if len(size) == 3 and channels > 1:
        steps += [{"_target_": "RepeatChanneld", "keys": "image", "repeats": channels}]
    # the table reads each image's name from its metadata
    return steps if dense else [*steps, {"_target_": "FromMetaTensord", "keys": "image"}]


def _picture(channels: int) -> list[Entry]:
    """Read a 2D image as MONAI does, (C, W, H); gray as Pillow's `F`, which does not round to 8 bits."""
    converter = _function("PIL.Image.Image.convert", mode="F" if channels == 1 else "RGB")
    first = {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": "no_channel" if channels == 1 else -1}
    return [{"_target_": "LoadImaged", "keys": "image", "reader": "PILReader", "converter": converter}, first]


def _volume() -> list[Entry]:
    return [
        {"_target_": "LoadImaged", "keys": "image", "reader": "NibabelReader"},
        {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": "no_channel"},
    ]


def _intensity(step: Intensity) -> Entry:
    scaled = {"keys": "image", "b_min": 0.0, "b_max": 1.0, "clip": True}
    if step.rule == "percentile":
        bounds = dict(zip(("lower", "upper"), step.bounds, strict=True))
        return {"_target_": "ScaleIntensityRangePercentilesd", **scaled, **bounds}
    low, high = step.bounds if step.rule == "window" else (0.0, 255.0)
    return {"_target_": "ScaleIntensityRanged", **scaled, "a_min": low, "a_max": high}


def _resized_picture(size: Sequence[int]) -> list[Entry]:
    """Resize (C, H, W) as Pillow does, with antialiasing, unlike MONAI's Resized."""
    return [_each("image", "torch.unsqueeze", dim=0), _smooth("image", size), _each("image", "torch.squeeze", dim=0)]


def _resized_volume(size: Sequence[int]) -> list[Entry]:
    plane = math.prod(size[1:])
    return [
        _smooth("image", size[1:]),
        _each("image", "torch.reshape", shape=[1, 1, -1, plane]),
        _smooth("image", [size[0], plane]),
        _each("image", "torch.reshape", shape=[1, *size]),
    ]


def _masks(*, volumes: bool) -> list[Entry]:
    """Resize the probabilities of each channel to the image's grid, then decide."""
    back = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "grid"}
    saved = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "mask"}
    return [
        _SOFTMAX,
        *([] if volumes else [_transposed("pred")]),
        {**back, "nearest_interp": False, "to_tensor": True},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {
            **saved,
            "output_ext": ".nii.gz" if volumes else ".png",
            "output_dtype": "uint8",
            "resample": False,
            "separate_folder": False,
        },
    ]


def _table() -> Entry:
    return {
        "_target_": "ClassificationSaver",
        "output_dir": "@output_dir",
        "batch_transform": {"_target_": "monai.handlers.from_engine", "keys": "image_meta_dict"},
        "output_transform": {"_target_": "monai.handlers.from_engine", "keys": "pred"},
    }


def _smooth(key: str, size: Sequence[int]) -> Entry:
    return _each(key, "torch.nn.functional.interpolate", size=list(size), mode="bilinear", antialias=True)


def _transposed(key: str) -> Entry:
    """Swap the sides of (C, W, H): MONAI reads and writes 2D images with x first."""
    return _each(key, "torch.transpose", dim0=1, dim1=2)


def _each(key: str, path: str, **options: Any) -> Entry:
    return {"_target_": "Lambdad", "keys": key, "func": _function(path, **options)}


def _function(path: str, **options: Any) -> Entry:
    """Return a function with options set, of which MONAI makes a partial."""
    return {"_target_": path, "_mode_": "callable", **options}


def _compose(steps: list[Entry]) -> Entry:
    return {"_target_": "Compose", "transforms": steps}
