"""Two exports have one digest only if the same network, for the same hardware, at the same precision, is exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lorkit import profiles
from lorkit.decompose.runs import open_run
from lorkit.export.building import identity
from lorkit.export.building.identity import inputs_digest
from lorkit.export.building.job import ExportJob
from lorkit.export.building.sources import networks_of_run
from lorkit.export.targets import get_target


def test_whatever_decides_an_export_changes_its_digest(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expert, *others = networks_of_run(open_run(exported), "chest")
    job = ExportJob(get_target("onnx"), profiles.load("cpu-generic"), "fp32")
    lower = replace(job, precision="int8")
    jobs = [job, lower, replace(job, profile=profiles.load("cpu-avx512-vnni")), replace(job, allow_synthetic=True)]
    found = [inputs_digest(expert, one) for one in jobs] + [inputs_digest(one, job) for one in others]
    found.append(inputs_digest(replace(expert, region=replace(expert.region, name="other")), job))
    assert len(set(found)) == len(found) - (0 if expert.synthetic else 1)
    assert inputs_digest(networks_of_run(open_run(exported), "chest")[0], job) == found[0]
    monkeypatch.setattr(identity, "INT8_REVISION", -1)
    assert (inputs_digest(expert, job) == found[0], inputs_digest(expert, lower) == found[1]) == (True, False)
    monkeypatch.setattr(identity, "FORMAT", -1)
    assert inputs_digest(expert, job) != found[0]
