"""Open an ONNX file that lorkit did not train as what can be exported, compared and judged: a directory of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lorkit.decompose.artifacts import digest_file
from lorkit.decompose.config.given import GivenRecipe, read_recipe
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.documents.given import GivenInfo
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Listener, ignore
from lorkit.decompose.regions import check_region_name
from lorkit.decompose.runs import Run, open_run
from lorkit.decompose.runs.given import (
    GivenData,
    default_place,
    describing,
    network_digest,
    read_given_data,
    write_network,
)
from lorkit.decompose.runs.listing import NETWORKS
from lorkit.export.building.sources import given_network
from lorkit.export.onnx.given.form import GivenForm
from lorkit.export.onnx.given.network import GivenNetwork
from lorkit.export.onnx.given.reading import GivenFile, read_given


@dataclass(frozen=True, kw_only=True)
class GivenSettings:
    """What is stated beside an ONNX file.

    Attributes:
        recipe: A YAML file with what it does not say, see `lorkit.decompose.config.given`.
        calibration: Labelled images of its region, split into a part that calibrates, one that chooses and one that
            judges; any source of a configuration's `data`.
        region: The name of its region; by default that of the file.
        out: Its directory; by default `networks/<digest>/`.
    """

    recipe: Path | None
    calibration: Path | str | None
    region: str | None = None
    out: Path | None = None


def open_given(path: Path, settings: GivenSettings, on_event: Listener = ignore) -> Run:
    """Write the directory of a network that lorkit did not train, if it is not there, and open it.

    Args:
        path: An ONNX file with one image input, and logits or masks as its output.
        settings: What is stated beside it.
        on_event: Receives progress.

    Raises:
        UsageError: The recipe lacks a key, or does not fit the file; the file is no network of one image.
        DataError: The data cannot be read, or have other classes.
        ArtifactError: It is no ONNX file, or the directory was changed.
    """
    file = read_given(path)
    stated = read_recipe(settings.recipe, told=f"of the file: {file.told}")
    if settings.calibration is None:
        raise UsageError(
            f"{path} without data",
            required="labelled images of its region, which calibrate int8 and judge every export",
            fix="name them with --calibration",
        )
    name = _name_of(path, settings.region)
    config = stated.config(name, [str(settings.calibration)])
    data = read_given_data(config, NETWORKS if settings.out is None else settings.out.parent, on_event)
    form = GivenForm(
        region=data.region,
        recipe=build_recipe(config.image, config.regions[name]),
        channels_last=stated.layout == "channels-last",
        probabilities=stated.output == "probabilities",
    )
    GivenNetwork(file, form).canonical()  # refuses before anything is written
    source = file.model.SerializeToString(deterministic=True)
    inputs = network_digest(config, data, source, {"layout": stated.layout, "output": stated.output})
    directory = settings.out or default_place(inputs)
    write_network(directory, config, data, source, _describe(file, stated, data), inputs)
    return open_run(directory)


def with_network(run: Run) -> Run:
    """Return a run as it is; a given network with its network, which only ONNX Runtime runs."""
    return run if run.given is None else replace(run, network=given_network(run).network)


def _name_of(path: Path, region: str | None) -> str:
    if region not in (None, "", "all"):
        return check_region_name(str(region))
    try:
        return check_region_name(path.stem)
    except UsageError as error:
        raise UsageError(
            f"{path} without --region: {error.given}, after its file",
            required=error.required,
            fix="name it: --region NAME",
        ) from None


def _describe(file: GivenFile, stated: GivenRecipe, data: GivenData) -> GivenInfo:
    return GivenInfo.model_validate(
        {
            **describing(data.region),
            "source": file.path.name,
            "source_digest": digest_file(file.path),
            "opset": file.opset,
            "input_name": file.input_name,
            "input_shape": list(file.input_shape),
            "output_name": file.output_name,
            "layout": stated.layout,
            "output": stated.output,
            "cases": data.counts,
        }
    )
