"""Run one image or volume through an exported network. Needs onnxruntime, numpy and Pillow, for volumes nibabel.

Not for diagnosis. Usage: python example.py IMAGE.png|VOLUME.nii.gz [MASK.png|MASK.nii.gz] [--region NAME]
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def read(path: str, recipe: dict[str, Any]) -> NDArray[Any]:
    """Read a picture, DICOM or NIfTI file, or a folder of DICOM slices, as the recipe takes it.

    `image_reader` beside this script reads it. Returns (H, W), (H, W, 3), or (D, H, W) on RAS axes.
    """
    registry, stored, checks, errors = map(reader, ("registry", "stored", "checks", "errors"))
    step, sides = recipe["steps"][0], 3 if recipe.get("axes") else 2
    intensity = SimpleNamespace(rule=step["rule"], bounds=(step.get("low"), step.get("high")))
    try:
        image: NDArray[Any] = stored.network_values(registry.open_image(Path(path)), intensity, path, sides)
        checks.check_image(image, sides)
        if step["rule"] == "dtype":
            checks.unit_range(image)
        return image
    except errors.DataError as error:
        stop(str(error) if path in str(error) else f"{path}: {error}")
    except ModuleNotFoundError as error:
        stop(f"{path} needs the package {error.name}")


def reader(name: str) -> Any:
    """Import a module of `image_reader` beside this script."""
    folder = str(Path(__file__).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.dont_write_bytecode = True  # the directory of an artifact stays as its manifest states it
    return importlib.import_module(f"image_reader.{name}")


def stop(message: str) -> NoReturn:
    """Print why there is no answer, and end with the exit code that lorkit has for bad data."""
    sys.stderr.write(f"error: {message}\n")
    sys.exit(4)


def resize(values: NDArray[np.float32], size: Sequence[int]) -> NDArray[np.float32]:
    """Resize (H, W), or (D, H, W) plane by plane and then along its first axis."""
    if len(size) == 3:
        planes = np.stack([resize(plane, size[1:]) for plane in values])
        return resize(planes.reshape(len(planes), -1), (size[0], planes[0].size)).reshape(size)
    if values.shape == tuple(size):
        return values
    image = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def prepare(image: NDArray[Any], recipe: dict[str, Any], size: Sequence[int] = ()) -> NDArray[np.float32]:
    """Apply the graph's recipe: intensity, size, channels. Returns (C, *spatial) float32 in [0, 1].

    `size` is that of a volume at the recipe's spacing.
    """
    intensity, *sizes, channels, _ = recipe["steps"]  # the last step, normalise, is inside the graph
    target = tuple(size or sizes[0]["size"])
    values = image.astype(np.float32)
    if intensity["rule"] == "window":
        low, high = intensity["low"], intensity["high"]
    elif intensity["rule"] == "percentile":
        low, high = (float(bound) for bound in np.percentile(values, (intensity["low"], intensity["high"])))
    else:
        low, high = 0.0, float(np.iinfo(image.dtype).max) if image.dtype.kind == "u" else 1.0
    if high <= low:
        values = np.zeros_like(values)
    else:
        values = np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0, dtype=np.float32)
    planes = [values] if values.ndim == len(target) else list(np.moveaxis(values, -1, 0))
    stacked = np.stack([resize(plane, target) for plane in planes])
    if channels["count"] == 1 and len(stacked) == 3:
        luma = np.array([0.299, 0.587, 0.114], dtype=np.float32)
        stacked = np.clip(np.moveaxis(stacked, 0, -1) @ luma, 0.0, 1.0, dtype=np.float32)[None]
    return np.repeat(stacked, channels["count"] // len(stacked), axis=0)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert logits (K, ...) to probabilities."""
    weights = np.exp(logits - logits.max(axis=0))
    shares: NDArray[np.float32] = weights / weights.sum(axis=0)
    return shares


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert logits to probabilities, each on its own."""
    shares: NDArray[np.float32] = 0.5 * (1.0 + np.tanh(0.5 * logits))  # without overflow
    return shares


def write(mask: NDArray[np.uint8], path: str, source: str) -> None:
    """Write a mask: of a NIfTI file as NIfTI on its grid, else as a gray image of 0 to S."""
    volume, suffix = reader("nifti").accepts(Path(source)), Path(path).suffix.lower()
    if mask.ndim == 3 and not volume:
        stop(f"{source} is no NIfTI file, which is required where masks of volumes are written")
    if suffix != (".gz" if volume else ".png"):
        stop(f"mask {path}; required: .nii.gz for NIfTI, else .png")
    if volume:
        Path(path).write_bytes(reader("nifti_grid").nifti_bytes(mask, Path(source)))
    else:
        Image.fromarray(mask).save(path)


def numbered(path: str, index: int) -> str:
    """Return the file of one structure's mask: `liver.nii.gz` and 2 give `liver.2.nii.gz`."""
    stem, *suffixes = Path(path).name.split(".")
    return str(Path(path).with_name(".".join([stem, str(index), *suffixes])))


def require_finite(values: NDArray[Any]) -> None:
    """Stop where a network returned NaN or infinity, of which NumPy's largest is the first class: no answer."""
    if not np.isfinite(values).all():
        stop("the network answers with NaN or infinity; required: finite outputs; use another export")


def answer(
    logits: NDArray[np.float32], image: NDArray[Any], about: dict[str, Any], source: str, target: str | None
) -> dict[str, Any]:
    """Describe one image's logits: probabilities, or the size of each structure, with the mask in `target`."""
    require_finite(logits)
    result: dict[str, Any] = {"classes": about["classes"]}
    if about["task"] == "segmentation":
        size = image.shape[: logits.ndim - 1]
        mask = np.stack([resize(plane, size) for plane in softmax(logits)]).argmax(axis=0).astype(np.uint8)
        counts = np.bincount(mask.ravel(), minlength=len(logits))[1:]
        result["voxels" if mask.ndim == 3 else "pixels"] = dict(zip(result["classes"], counts.tolist(), strict=True))
        if target is not None:
            write(mask, target, source)
    elif about["task"] == "structures":  # they may overlap: a mask for each
        size = image.shape[: logits.ndim - 1]
        masks = [resize(plane, size) > 0.5 for plane in sigmoid(logits)]
        sizes = [int(one.sum()) for one in masks]
        result["voxels" if logits.ndim == 4 else "pixels"] = dict(zip(result["classes"], sizes, strict=True))
        for index, one in enumerate(masks if target is not None else [], start=1):
            write(one.astype(np.uint8), numbered(str(target), index), source)
    elif about["task"] == "multilabel":  # each label has a probability of its own
        shares = 1.0 / (1.0 + np.exp(-logits.astype(float)))
        result |= {"logits": logits.astype(float).tolist(), "probabilities": shares.tolist()}
        limits = (about.get("decision") or {}).get("thresholds", {})
        known = [(name, share, limits.get(name)) for name, share in zip(result["classes"], shares, strict=True)]
        result["positive"] = {name: None if limit is None else bool(share >= limit) for name, share, limit in known}
    else:
        scores = logits.astype(float)
        result |= {"logits": scores.tolist(), "probabilities": softmax(scores).tolist()}
    return result | {"synthetic": about["synthetic"], "not_for_diagnosis": True}


def inputs(image: NDArray[Any], about: dict[str, Any], region: str | None = None) -> dict[str, NDArray[Any]]:
    """Return the inputs of the network for one image; some networks of several regions take the name of its own."""
    batch: dict[str, NDArray[Any]] = {"image": prepare(image, about["recipe"])[None]}
    mixture = about.get("mixture")
    if mixture is not None and mixture["form"] == "region-id":
        names = [head["region"] for head in mixture["heads"]]
        if region not in names:
            stop(f"region {region or '(none)'}; required: --region with one of {', '.join(names)}")
        batch["region"] = np.array([names.index(region)])
    elif region is not None:
        stop(f"--region {region}; this network takes images only")
    return batch


def run_network(
    run: Callable[[dict[str, NDArray[Any]]], Mapping[str, NDArray[np.float32]]],
    image: NDArray[Any],
    about: dict[str, Any],
    source: str,
    region: str | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of one image by name; a volume at a spacing is taken window by window.

    `run` maps the inputs of a batch by name to its outputs by name.
    """
    recipe = about["recipe"]
    if not any(step["op"] == "window" for step in recipe["steps"]):
        return {name: values[0] for name, values in run(inputs(image, about, region)).items()}
    windows = importlib.import_module("windows")
    spacing = reader("grids").read_grid(Path(source)).spacing
    volume = prepare(image, recipe, windows.resampled_size(image.shape, spacing, recipe))
    return {"logits": windows.blended_logits(lambda batch: run({"image": batch})["logits"], volume, recipe)}


def answer_all(
    outputs: Mapping[str, NDArray[np.float32]],
    image: NDArray[Any],
    about: dict[str, Any],
    source: str,
    target: str | None,
    region: str | None = None,
) -> dict[str, Any]:
    """Describe the outputs of one image by name: of a network of several regions, the answer of the region's head."""
    mixture = about.get("mixture")
    if mixture is None:
        return answer(outputs["logits"], image, about, source, target)
    shared = {"synthetic": about["synthetic"]}
    heads = {head["region"]: {"task": "classification", **head, **shared} for head in mixture["heads"]}
    found: dict[str, Any] = {}
    if mixture["form"] == "router":
        shares, confidence = outputs["region_probabilities"].astype(float), float(outputs["confidence"])
        require_finite(np.append(shares, confidence))
        limit = mixture.get("abstain_below")
        region = list(heads)[int(shares.argmax())]
        found = {"region_probabilities": dict(zip(heads, shares.tolist(), strict=True)), "confidence": confidence}
        found["abstained"] = limit is not None and confidence < limit
        if mixture["policy"] == "all-heads":
            others = {name: answer(outputs[one["output"]], image, one, source, None) for name, one in heads.items()}
            found["head_answers"] = others
        if found["abstained"]:
            return {"region": None, **found, **shared, "not_for_diagnosis": True}
    head = heads[str(region)]
    name = "logits" if mixture["form"] == "router" and mixture["policy"] == "weighted" else head["output"]
    return {"region": region, **found, **answer(outputs[name], image, head, source, target)}


def described(notes: dict[str, str]) -> dict[str, Any]:
    """Read the metadata of a graph, text by name under `lorkit.`."""
    facts = {name: json.loads(notes[f"lorkit.{name}"]) for name in ("classes", "recipe")}
    for name in ("decision", "mixture"):
        facts[name] = json.loads(notes.get(f"lorkit.{name}", "null"))
    return facts | {"task": notes["lorkit.task"], "synthetic": notes["lorkit.synthetic"] == "true"}


def arguments() -> tuple[str, str | None, str | None]:
    """Read image, mask and region from the command line."""
    parser = argparse.ArgumentParser(description="Run one image through an exported network. Not for diagnosis.")
    parser.add_argument("image", help="picture, DICOM or NIfTI file, or folder of DICOM slices")
    parser.add_argument("mask", nargs="?", help="file for the mask of a segmentation")
    parser.add_argument("--region", help="region of the image, for networks that take it")
    found = parser.parse_args()
    return found.image, found.mask, found.region


def main(source: str, target: str | None, region: str | None) -> None:
    """Print what the network finds in one image as JSON."""
    sys.dont_write_bytecode = True  # an export holds the files that its manifest lists, and no others
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reports its use over the network otherwise
    import onnxruntime  # here, so that the clients of servers, which borrow the rest, do without

    model = Path(__file__).with_name("model.onnx")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    about = described(session.get_modelmeta().custom_metadata_map)
    image = read(source, about["recipe"])
    names = [value.name for value in session.get_outputs()]
    outputs = run_network(
        lambda given: dict(zip(names, session.run(names, given), strict=True)), image, about, source, region
    )
    print(json.dumps(answer_all(outputs, image, about, source, target, region)))


if __name__ == "__main__":
    main(*arguments())
