"""What is up to date is not built, and what one call needs several times is built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit import profiles
from lorkit.decompose.runs import open_run
from lorkit.export.building import builder
from lorkit.export.building.exporter import Exporter
from lorkit.export.building.job import ExportJob
from lorkit.export.building.sources import networks_of_run
from lorkit.export.targets import get_target

JOB = ExportJob(get_target("onnx"), profiles.load("cpu-generic"), "fp32")


@pytest.mark.parametrize("owner", ["expert", "student", "foundation"])
def test_an_export_that_is_up_to_date_is_read_once_and_its_network_never(
    exported: Path, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    monkeypatch.setattr(builder, "build_export", lambda *arguments: pytest.fail("built"))
    (source,) = networks_of_run(open_run(exported), "chest", (owner,))
    monkeypatch.setitem(vars(source), "load", lambda: pytest.fail("the network was read"))
    exporter = Exporter()
    found = exporter.export(source, JOB)
    assert (found.up_to_date, found.owner, found.path) == (True, owner, source.home / JOB.name)
    assert exporter.export(source, JOB) is found


def test_another_one_is_built(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def build(source: object, job: object, session: object, directory: Path) -> None:
        asked.append(session)
        raise KeyboardInterrupt

    monkeypatch.setattr(builder, "build_export", build)
    (source,) = networks_of_run(open_run(exported), "chest", ("expert",), out=tmp_path)
    exporter = Exporter()
    with pytest.raises(KeyboardInterrupt):
        exporter.export(source, JOB)
    assert asked == [exporter.session]
    assert not [path for path in source.home.rglob("*") if path.is_file()]
