"""The recipe of a network that lorkit did not train: a file with what its ONNX file does not say.

The keys are those of `decompose.yaml` for one region: `image` and `split` as there, and beside them the keys of the
region. `layout` and `output` are of such networks only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lorkit.decompose.config.loading import config_of
from lorkit.decompose.config.schema import Config
from lorkit.decompose.config.yaml_files import read_yaml
from lorkit.decompose.errors import UsageError, unknown

METHOD = "given"
"""The `method` of a network that lorkit did not train."""
Layout = Literal["channels-first", "channels-last"]
Output = Literal["logits", "probabilities"]
_OWN: dict[str, tuple[str, ...]] = {"layout": get_args(Layout), "output": get_args(Output)}
_OF_FILE = ("image", "split", "seed", "privacy")
_OF_REGION = (
    "task", "classes", "structures", "overlap", "modality", "window", "intensity", "spacing", "window_overlap",
    "groups", "label", "nsd_tolerance_mm", "threshold",
)  # fmt: skip
_OF_IMAGE = ("size", "channels", "mean", "std")


@dataclass(frozen=True, kw_only=True)
class GivenRecipe:
    """A recipe, read and checked: preprocessing, outputs, and how the data are split.

    Attributes:
        layout: Where the network's images and masks have their channels.
        output: What it returns.
        settings: The other keys of the file.
        where: The file, for messages.
    """

    layout: Layout
    output: Output
    settings: Mapping[str, Any]
    where: str

    def config(self, region: str, data: Sequence[str]) -> Config:
        """Return the settings of a network as those of a run of one region; `data` calibrates it and judges it.

        Raises:
            UsageError: A value is out of bounds, or the name is not one of a region.
        """
        of_region = {key: self.settings[key] for key in _OF_REGION if key in self.settings}
        of_file = {key: self.settings[key] for key in _OF_FILE if key in self.settings}
        raw = {"name": region, "method": METHOD, **of_file, "regions": {region: {**of_region, "data": list(data)}}}
        return config_of(raw, Path.cwd(), self.where)


def read_recipe(path: Path | None, *, told: str = "") -> GivenRecipe:
    """Read a recipe; None is an empty one, whose missing keys the error names.

    Args:
        path: A YAML file.
        told: What the ONNX file says of its input and output, for the message.

    Raises:
        UsageError: There is no such file, it is no YAML, has an unknown key or lacks one.
    """
    where = "no --recipe" if path is None else str(path)
    found = {} if path is None else read_yaml(path)
    known = (*_OWN, *_OF_FILE, *_OF_REGION)
    for key in found:
        if key not in known:
            raise unknown(f"key in {where}", str(key), known, fix="correct the key")
    missing = _missing(found)
    if missing:
        raise UsageError(
            f"{where} lacks {', '.join(missing)}{f' ({told})' if told else ''}",
            required="what the ONNX file does not say: task, classes in the order of the outputs, and images",
            fix="state them in a YAML file, and name that with --recipe",
        )
    for key, values in _OWN.items():
        if found.get(key, values[0]) not in values:
            raise UsageError(f"{key} = {found[key]!r:.60} in {where}", required=" or ".join(values), fix="correct it")
    layout, output = (found.get(key, values[0]) for key, values in _OWN.items())
    settings = {key: value for key, value in found.items() if key not in _OWN}
    return GivenRecipe(layout=layout, output=output, settings=settings, where=where)


def _missing(found: Mapping[str, Any]) -> list[str]:
    missing = [] if "task" in found else ["task"]
    if not {"classes", "structures"} & set(found):
        missing.append("classes (of masks: structures)")
    image = found.get("image", {})
    if isinstance(image, dict):  # anything else is refused with its value
        missing += [f"image.{key}" for key in _OF_IMAGE if key not in image]
    return missing
