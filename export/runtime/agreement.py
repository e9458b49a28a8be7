"""Whether the files of an export agree: `export.json`, the ONNX file that examples read, and the expert it is of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorkit.decompose.artifacts import MANIFEST, Manifest, digest_file, read_json
from lorkit.decompose.documents.export import ExportInfo
from lorkit.decompose.documents.network import NetworkInfo
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs.listing import EXPERT_INFO
from lorkit.export.runtime.graph_file import GraphFile, read_graph_file
from lorkit.export.targets.base import MODEL

if TYPE_CHECKING:
    from lorkit.decompose.documents.base import Part

_OF_MIXTURE = ("mixture", "recipe", "parameters", "macs", "synthetic")
_WEIGHTS = "model.safetensors"


def check_agreement(manifest: Manifest, info: ExportInfo) -> None:
    """Check the description of an export against its ONNX file, and against its expert where that is at hand.

    Raises:
        ArtifactError: A value differs, the ONNX file lacks its metadata, has weights in files that the manifest does
            not list, or the file of the engine is not listed.
    """
    path = manifest.path
    engine = info.engine_file
    if engine is not None and not any(name == engine or name.startswith(f"{engine}/") for name in manifest.files):
        raise _refusal(path, f"its engine {engine} is not listed in {MANIFEST}")
    if MODEL in manifest.files:
        graph = read_graph_file(path / MODEL, manifest.files[MODEL])
        for name in graph.outside:
            if name not in manifest.files:
                raise _refusal(path, f"{MODEL} has weights in {name}, which is not listed in {MANIFEST}")
        # what was written by hand has neither
        if info.made_from is not None or graph.metadata:
            _compare(path, _as_metadata(info), graph.metadata, MODEL)
            _compare(path, _of_file(info), _in_file(manifest, graph), MODEL)
    _compare(path, *_repeated(info), "its recipe")
    file = engine or MODEL
    if file in manifest.files:
        _compare(path, {"size_bytes": info.size_bytes}, {"size_bytes": engine_bytes(path / file)}, file)
    if (place := expert_of(manifest)) is not None:
        own, expert = described(info, read_json(place / EXPERT_INFO), place)
        _compare(path, own, expert, str(place / EXPERT_INFO))
        weights = {} if info.made_from is None else {"weights": info.made_from.weights}
        listed = read_json(place / MANIFEST)["files"].get(_WEIGHTS)
        _compare(path, weights, {"weights": listed} if weights else {}, str(place / MANIFEST))


def engine_bytes(path: Path) -> int:
    """Return the size of an engine on disk; OpenVINO's weights are in a second file of the same name."""
    parts = [one for one in path.parent.glob(f"{path.stem}.*") if one == path or one.name != MODEL]
    return sum(one.stat().st_size for one in parts)


def expert_of(manifest: Manifest) -> Path | None:
    """Return the directory of the expert that an export was made from; None if it is not there, or another one."""
    parent = manifest.parent
    if parent is None or parent["kind"] not in ("expert", "mixture"):
        return None
    place = manifest.path / parent["path"]
    there = (place / MANIFEST).is_file() and digest_file(place / MANIFEST) == parent["sha256"]
    if not there:
        return None
    described_by = read_json(place / MANIFEST)["files"].get(EXPERT_INFO)
    if not (place / EXPERT_INFO).is_file() or digest_file(place / EXPERT_INFO) != described_by:
        raise ArtifactError(
            f"{place / EXPERT_INFO} has changed since it was written",
            required="the description of the expert that was exported",
            fix="restore it, or extract and export again",
        )
    return place


def described(info: ExportInfo, document: Mapping[str, Any], place: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an export and its expert say of the same network, by name."""
    from lorkit.decompose.documents.base import parse

    source: Part
    names: tuple[str, ...]
    if document.get("kind") == "mixture":
        from lorkit.decompose.documents.mixture import MixtureInfo

        source, names = parse(MixtureInfo, document, place / EXPERT_INFO), _OF_MIXTURE
    else:
        # only what both say, which is most of the time that documents of experts take to read
        named = {name: value for name, value in document.items() if name in NetworkInfo.model_fields}
        source = parse(NetworkInfo, named, place / EXPERT_INFO)
        # those two are repeated from the recipe, by which the export has them
        names = tuple(name for name in NetworkInfo.model_fields if name not in ("image", "normalise"))
    return ({name: _plain(getattr(one, name)) for name in names} for one in (info, source))  # type: ignore[return-value]


def _as_metadata(info: ExportInfo) -> dict[str, str]:
    """Return the metadata that the ONNX file of an export has, see `graph_metadata`."""
    mixture, decision = info.mixture, info.decision
    found = {
        "region": info.region,
        "owner": info.owner,
        "task": info.task,
        "classes": json.dumps(list(info.classes), ensure_ascii=False),
        "outputs": json.dumps(info.outputs, ensure_ascii=False),
        "recipe": json.dumps(info.recipe.to_json(), sort_keys=True),
        "precision": str(info.graph_precision),
        "synthetic": "true" if info.synthetic else "false",
        "use": "not for diagnosis",
    }
    found |= {} if info.made_from is None else {"weights_digest": info.made_from.weights}
    found |= {} if decision is None else {"decision": json.dumps(decision.to_json(), sort_keys=True)}
    return found | ({} if mixture is None else {"mixture": json.dumps(mixture.to_json(), sort_keys=True)})


def _of_file(info: ExportInfo) -> dict[str, object]:
    return {"nodes": info.nodes, "onnx_digest": info.onnx_digest}


def _in_file(manifest: Manifest, graph: GraphFile) -> dict[str, object]:
    return {"nodes": graph.nodes, "onnx_digest": manifest.files[MODEL]}


def _repeated(info: ExportInfo) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what `export.json` repeats of its recipe, and the same from the recipe."""
    recipe, own, other = info.recipe, dict[str, Any](), dict[str, Any]()
    if info.image is not None:
        own["image"] = _plain(info.image)
        other["image"] = {"size": list(recipe.size), "channels": recipe.channels}
    if info.normalise is not None:
        own["normalise"] = _plain(info.normalise)
        other["normalise"] = {"mean": list(recipe.normalise.mean), "std": list(recipe.normalise.std)}
    return own, other


def _plain(value: Any) -> Any:
    return value.to_json() if hasattr(value, "to_json") else value


def _compare(path: Path, own: Mapping[str, Any], other: Mapping[str, Any], where: str) -> None:
    for name in _names(own, other):
        if own.get(name) != other.get(name):
            raise _refusal(path, f"{name} in export.json is not that in {where}")


def _names(own: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    yield from own
    yield from (name for name in other if name not in own)


def _refusal(path: Path, problem: str) -> ArtifactError:
    return ArtifactError(
        f"{path}: {problem}", required="an export whose files agree", fix="export it again with --force"
    )
