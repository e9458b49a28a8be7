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


def inference_config(recipe: Recipe, *, dense: bool, exclusive: bool = True) -> Entry:
    """Return a configuration that runs the model on a folder of images.

    Classifiers write `predictions.csv`, one row of probabilities per image; segmentation a mask on each image's grid.
    Probabilities are a softmax, or of labels that are not `exclusive` a sigmoid of each.
    """
    volumes, taken = recipe.dims == 3, {"_target_": "monai.handlers.from_engine"}
    table = {
        "_target_": "ClassificationSaver",
        "output_dir": "@output_dir",
        "batch_transform": {**taken, "keys": "image_meta_dict"},
        "output_transform": {**taken, "keys": "pred"},
    }
    return {
        "bundle_root": ".",
        "device": "cpu",
        "dataset_dir": "./input",
        "output_dir": "./output",
        "pattern": "*.nii.gz" if volumes else "*.png",
        "files": {"_target_": "glob.glob", "pathname": EXPRESSIONS["pattern"]},
        "sorted_files": EXPRESSIONS["files"],
        "network_def": {"_target_": "torch.jit.load", "f": EXPRESSIONS["model"], "map_location": "@device"},
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(recipe, dense=dense)},
        "dataset": {"_target_": "Dataset", "data": EXPRESSIONS["data"], "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": _postprocessing(dense=dense, volumes=volumes, exclusive=exclusive),
        },
        "handlers": [] if dense else [table],
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
    size, keys = list(recipe.size), ["image", "grid"] if dense else "image"
    # with metadata: transforms are recorded and inverted for the mask
    copied = [{"_target_": "CopyItemsd", "keys": "image", "names": "grid"}] if dense else []
    if recipe.dims == 3:
        steps = [_step("LoadImaged", reader="NibabelReader"), _step("EnsureChannelFirstd", channel_dim="no_channel")]
        steps += [*copied, _step("Orientationd", keys if dense else ["image"], axcodes="RAS")]
        steps += [_step("Resized", "grid", spatial_size=size)] if dense else []
        plane = math.prod(size[1:])
        steps += [
            _intensity(recipe.intensity),
            _smooth(size[1:]),
            _each("image", "torch.reshape", shape=[1, 1, -1, plane]),
        ]
        steps += [_smooth([size[0], plane]), _each("image", "torch.reshape", shape=[1, *size])]
        steps += [_step("RepeatChanneld", repeats=recipe.channels)] if recipe.channels > 1 else []
    else:
        # (C, W, H), as MONAI reads it; gray as Pillow's `F`, which does not round to 8 bits
        gray = recipe.channels == 1
        converter = _function("PIL.Image.Image.convert", mode="F" if gray else "RGB")
        steps = [_step("LoadImaged", reader="PILReader", converter=converter)]
        steps += [_step("EnsureChannelFirstd", channel_dim="no_channel" if gray else -1), *copied]
        steps += [_step("Resized", "grid", spatial_size=size[::-1])] if dense else []
        # as Pillow does, with antialiasing, unlike MONAI's Resized
        steps += [_intensity(recipe.intensity), _transposed("image"), _each("image", "torch.unsqueeze", dim=0)]
        steps += [_smooth(size), _each("image", "torch.squeeze", dim=0)]
    # the table reads each image's name from its metadata
    return steps if dense else [*steps, _step("FromMetaTensord")]


def _intensity(step: Intensity) -> Entry:
    scaled: dict[str, Any] = {"b_min": 0.0, "b_max": 1.0, "clip": True}
    if step.rule == "percentile":
        lower, upper = step.bounds
        return _step("ScaleIntensityRangePercentilesd", **scaled, lower=lower, upper=upper)
    low, high = step.bounds if step.rule == "window" else (0.0, 255.0)
    return _step("ScaleIntensityRanged", **scaled, a_min=low, a_max=high)


def _postprocessing(*, dense: bool, volumes: bool, exclusive: bool) -> list[Entry]:
    """Turn logits into probabilities; resize those of masks to the image's grid, then decide."""
    softmax = _step("Activationsd", "pred", **{"softmax" if exclusive else "sigmoid": True})
    if not dense:
        return [softmax]
    saved = {"output_ext": ".nii.gz" if volumes else ".png", "output_dtype": "uint8", "resample": False}
    return [
        softmax,
        *([] if volumes else [_transposed("pred")]),
        _step("Invertd", "pred", transform="@preprocessing", orig_keys="grid", nearest_interp=False, to_tensor=True),
        *_discrete(exclusive=exclusive),
        _step("SaveImaged", "pred", output_dir="@output_dir", output_postfix="mask", **saved, separate_folder=False),
    ]


def _discrete(*, exclusive: bool) -> list[Entry]:
    """Decide each pixel; structures that may overlap become one channel each, in the order of the outputs."""
    return [_step("AsDiscreted", "pred", **({"argmax": True} if exclusive else {"threshold": 0.5}))]


def _smooth(size: Sequence[int]) -> Entry:
    return _each("image", "torch.nn.functional.interpolate", size=list(size), mode="bilinear", antialias=True)


def _transposed(key: str) -> Entry:
    """Swap the sides of (C, W, H): MONAI reads and writes 2D images with x first."""
    return _each(key, "torch.transpose", dim0=1, dim1=2)


def _each(key: str, path: str, **options: Any) -> Entry:
    return _step("Lambdad", key, func=_function(path, **options))


def _function(path: str, **options: Any) -> Entry:
    """Return a function with options set, of which MONAI makes a partial."""
    return {"_target_": path, "_mode_": "callable", **options}


def _step(name: str, keys: str | list[str] = "image", **options: Any) -> Entry:
    return {"_target_": name, "keys": keys, **options}
