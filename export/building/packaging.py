"""Files beside an engine: metadata, reference samples, a readme and an example."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose import errors
from lorkit.decompose.artifacts import write_text
from lorkit.decompose.data import formats
from lorkit.decompose.documents.export import ExportedNetwork, ExportInfo
from lorkit.decompose.documents.heads import REGION
from lorkit.decompose.documents.network import Decision, ImageShape, Normalisation
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task
from lorkit.export.building.samples import Samples, write_samples
from lorkit.export.rendering.templates import environment
from lorkit.export.runtime.exported import INFO
from lorkit.export.targets import TARGETS, examples
from lorkit.export.targets.base import NODE_EXAMPLE, ONNX_EXAMPLE, WINDOWS, Example

if TYPE_CHECKING:
    from lorkit.export.building.sources import ExportableNetwork

README, READER = "README.md", "image_reader"
_HERE, _EXAMPLES = Path(__file__).parent, Path(examples.__file__).parent


def graph_metadata(source: ExportableNetwork, precision: str, decision: Decision | None = None) -> dict[str, str]:
    """Return the metadata of an ONNX file, text by name.

    It does not depend on the time or machine of the export: the same expert gives the same file.
    """
    return {
        "region": source.region.name,
        "owner": source.owner,
        "task": source.region.task,
        "classes": json.dumps(list(source.region.classes), ensure_ascii=False),
        "outputs": json.dumps(_outputs(source), ensure_ascii=False),
        "recipe": json.dumps(source.recipe.to_json(), sort_keys=True),
        "precision": precision,
        "synthetic": "true" if source.synthetic else "false",
        "weights_digest": source.weights_digest,
        "use": "not for diagnosis",
        **({} if decision is None else {"decision": json.dumps(decision.to_json(), sort_keys=True)}),
        **({} if source.mixture is None else {"mixture": json.dumps(source.mixture.to_json(), sort_keys=True)}),
    }


def _outputs(source: ExportableNetwork) -> list[str]:
    """Return the meaning of each output channel; of a network of several regions the names of its outputs."""
    return output_names(source.region) if source.mixture is None else list(source.mixture.output_names)


def output_names(region: Region) -> list[str]:
    """Return the meaning of each output channel: the classes, or the structures of a mask.

    Where a pixel has one structure at most, the first is the background.
    """
    task = get_task(region.task)
    return ["background", *region.classes] if task.dense and task.exclusive else list(region.classes)


def network_info(source: ExportableNetwork, decision: Decision | None = None) -> ExportedNetwork:
    """Return the description of an export's network, for any target; `decision` are its thresholds."""
    recipe = source.recipe
    parameters, macs = source.cost()
    info = ExportedNetwork(
        owner=source.owner,
        **ExportedNetwork.describing(source.region),
        outputs=_outputs(source),
        image=ImageShape(size=list(recipe.size), channels=recipe.channels),
        recipe=recipe,
        normalise=Normalisation(mean=recipe.normalise.mean, std=recipe.normalise.std),
        in_region=None if source.info is None else source.info.in_region,
        sided=None if source.info is None else source.info.sided,
        parameters=parameters,
        macs=macs,
        synthetic=source.synthetic,
    )
    info = info if decision is None else info.with_changes(decision=decision)
    return info if source.mixture is None else info.with_changes(mixture=source.mixture)


def write_package(info: ExportInfo, directory: Path, samples: Samples, example: Example) -> None:
    """Write `export.json`, `samples.npz`, `example.py`, the engine's own example and `README.md` beside the engine.

    The example of a network that takes windows of volumes has `windows.py` beside it.

    Args:
        info: `export.json`.
        directory: Directory of the engine.
        samples: Inputs that the export may contain, and the source's logits for them.
        example: The engine's standalone example.
    """
    info.write(directory / INFO)
    write_samples(directory, samples, first=info.inputs[0])
    scripts = {ONNX_EXAMPLE, example} if info.recipe.nodes is None else {NODE_EXAMPLE}
    if info.recipe.window is not None:
        scripts.add(WINDOWS)
    for script in scripts:
        write_text(directory / script.name, (_EXAMPLES / script.source).read_text(encoding="utf-8"))
    left = [name for name in TARGETS[info.target].leaves if (directory / name).is_file()]
    if info.recipe.nodes is None:
        write_reader(directory / READER)
        write_text(directory / README, _readme(info, example, left))
    else:
        page = environment(_HERE).get_template("node_readme.md.jinja")
        write_text(directory / README, page.render(info=info, left=left))


def write_reader(folder: Path) -> None:
    """Copy the modules that read images, so that an example reads what lorkit reads, without lorkit."""
    folder.mkdir()
    for path in (*sorted(Path(formats.__file__).parent.glob("*.py")), Path(errors.__file__)):
        text = path.read_text(encoding="utf-8")
        text = text.replace(formats.__name__, READER).replace(errors.__name__, f"{READER}.errors")
        write_text(folder / path.name, text)


def _readme(info: ExportInfo, example: Example, left: Sequence[str]) -> str:
    size, heads = info.recipe.shape[1:], [(head, head.as_region()) for head in info.heads]
    dense = [get_task(region.task).dense for _, region in heads]
    volumes = len(size) == 3
    kind = "nii.gz" if volumes else "png"
    region = f" --region {info.heads[0].region}" if REGION in info.inputs else ""
    return environment(_HERE).get_template("readme.md.jinja").render(
        info=info,
        example=example,
        left=left,
        onnx_example=ONNX_EXAMPLE,
        volumes=volumes,
        heads=[
            {**dict(head), "outputs": output_names(region), "sides": size if maps else ()}
            for (head, region), maps in zip(heads, dense, strict=True)
        ],
        input=f"{'VOLUME' if volumes else 'IMAGE'}.{kind}{region}",
        mask=f" MASK.{kind}" if any(dense) else "",
    )  # fmt: skip
