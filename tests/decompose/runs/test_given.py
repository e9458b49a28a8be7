"""The directory of a given network: written once, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from given_networks import write_images, write_recipe

from lorkit.decompose.artifacts import exclusive
from lorkit.decompose.config.given import read_recipe
from lorkit.decompose.documents.given import GivenInfo
from lorkit.decompose.errors import BusyError, UsageError
from lorkit.decompose.runs import given, open_run


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """Return what `write_network` writes."""
    config = read_recipe(write_recipe(tmp_path / "r.yaml")).config("spots", [str(write_images(tmp_path / "x.npz"))])
    data = given.read_given_data(config, tmp_path)
    info = GivenInfo.model_validate(
        {
            **given.describing(data.region), "source": "a.onnx", "source_digest": "0" * 64, "opset": 20,
            "input_name": "x", "input_shape": [None, 1, 16, 16], "output_name": "y", "layout": "channels-first",
            "output": "logits", "cases": data.counts,
        }
    )  # fmt: skip
    inputs = given.network_digest(config, data, b"graph", {})
    return {"config": config, "data": data, "source": b"graph", "info": info, "inputs": inputs}


def test_a_directory_that_another_process_wrote_meanwhile_is_kept(
    tmp_path: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "n"
    given.write_network(place, **content)
    before = (place / "manifest.json").read_bytes()
    answers = iter([False])  # as before the other process had finished
    current = given.is_current
    monkeypatch.setattr(given, "is_current", lambda *words: next(answers, None) is not False and current(*words))
    given.write_network(place, **content)
    assert (place / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.glob(".n*")] == []
    assert open_run(place).given == content["info"]


def test_a_run_is_not_replaced(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "manifest.json").write_text('{"kind": "run", "schema_version": 1}')
    with pytest.raises(UsageError, match="is of another kind"):
        given.write_network(tmp_path / "n", **content)


def test_two_writers_do_not_meet(tmp_path: Path, content: dict[str, Any]) -> None:
    with exclusive(tmp_path / "n"), pytest.raises(BusyError, match="another process is writing"):
        given.write_network(tmp_path / "n", **content)
    assert not (tmp_path / "n").exists()


def test_a_killed_writer_leaves_no_network(
    tmp_path: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    written = given.write_manifest
    monkeypatch.setattr(given, "write_manifest", stop)
    with pytest.raises(KeyboardInterrupt):
        given.write_network(tmp_path / "n", **content)
    monkeypatch.setattr(given, "write_manifest", written)
    assert not (tmp_path / "n").exists()
    given.write_network(tmp_path / "n", **content)
    assert open_run(tmp_path / "n").id == "n"


def test_other_data_or_another_graph_is_another_network(tmp_path: Path, content: dict[str, Any]) -> None:
    digests = {
        given.network_digest(content["config"], data, source, {})
        for data in (content["data"], given.read_given_data(_other(tmp_path), tmp_path))
        for source in (b"graph", b"other")
    }
    assert len(digests) == 4


def _other(folder: Path) -> Any:
    images = write_images(folder / "y.npz", count=50)
    return read_recipe(folder / "r.yaml").config("spots", [str(images)])
