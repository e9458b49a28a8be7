from collections.abc import Callable
from pathlib import Path

import pytest

from lorkit.decompose.artifacts import read_json, write_json, write_manifest
from lorkit.decompose.errors import ArtifactError
from lorkit.export.runtime.exported import read_exported


def test_an_export_tells_what_it_is(make_export: Callable[..., Path]) -> None:
    found = read_exported(make_export("a"))
    assert found.key == ("chest", "onnx", "cpu-generic", "fp32")
    assert (found.owner, found.classes, found.shape) == ("expert", ("dark", "bright"), (1, 16, 16))
    assert found.synthetic
    assert found.proven
    assert found.region.name == "chest"
    assert found.describe().digest == found.manifest.digest


def test_damage_is_named(make_export: Callable[..., Path]) -> None:
    path = make_export("a")
    (path / "model.onnx").write_bytes(b"no")
    with pytest.raises(ArtifactError, match=r"model\.onnx has changed"):
        read_exported(path)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        read_exported(path.parent)


def test_a_missing_field_is_named(make_export: Callable[..., Path]) -> None:
    path = make_export("a")
    info = read_json(path / "export.json")
    del info["classes"]
    write_json(path / "export.json", info)
    write_manifest(path, "export", synthetic=True)
    with pytest.raises(ArtifactError, match="lacks classes"):
        read_exported(path)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("size_bytes", "many", 'size_bytes as "many"; required: a whole number'),
        ("classes", 3, "classes as 3; required: a list"),
        ("region", {"a": 1}, r"region as .*; required: text"),
        ("parity", "passed", 'parity as "passed"; required: an object'),
        ("lowering", "<b>", 'lowering as "<b>"; required: an object'),
        ("recipe", [], r"recipe as \[\]; required: an object"),
    ],
)
def test_a_field_of_another_kind_is_refused(
    make_export: Callable[..., Path], name: str, value: object, says: str
) -> None:
    path = make_export("a")
    write_json(path / "export.json", {**read_json(path / "export.json"), name: value})
    write_manifest(path, "export", synthetic=True)
    with pytest.raises(ArtifactError, match=says):
        read_exported(path)
