"""`gate.sh`, run as the templates call it."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any
from xml.etree import ElementTree

import pytest

from lorkit.decompose.runs import Run, export_directory
from lorkit.export.gating.baselines import replace_baseline
from lorkit.export.runtime.exported import read_exported

CHEST = ("chest", "onnx", "cpu-generic", "fp32")


def test_the_real_gate_fails_the_job_and_leaves_what_a_pipeline_shows(a_run: Run, job: Any, workshop: Any) -> None:
    directory = export_directory(a_run, "expert", *CHEST)
    replace_baseline(job.path / "baselines", read_exported(directory), "pass")
    shutil.rmtree(directory)
    workshop.write_export(directory, owner="expert", region="chest", parent=a_run.path, work=40, width=16)
    done = job.run("gate.sh", "--region", "chest", "--max-seconds", "0.1", GITHUB_ACTIONS="true")
    assert done.returncode == 1, done.stderr
    document = json.loads((job.path / "gate" / "gate.json").read_text())
    assert document["regions"]["chest"]["deterministic"]["verdict"] == "fail"
    assert document["regions"]["chest"]["baseline"]["path"].startswith("baselines/exports/")
    assert "FAIL" in (job.path / "gate" / "gate.md").read_text()
    assert int(ElementTree.parse(job.path / "gate" / "gate.xml").getroot().attrib["failures"]) > 0
    assert re.search("^::error title=gate chest%3A FAIL::", done.stderr, re.MULTILINE)


def test_a_region_without_a_baseline_does_not_pass_unjudged(a_run: Run, job: Any) -> None:
    """Not even where the pipeline goes on after INCONCLUSIVE; where it does not, the script passes the code on."""
    replace_baseline(job.path / "baselines", read_exported(export_directory(a_run, "expert", *CHEST)), "pass")
    done = job.run("gate.sh", "--max-seconds", "0.1", "--max-accuracy-drop", "0.05", "--on-inconclusive", "pass")
    assert done.returncode == 0, done.stderr
    assert json.loads((job.path / "gate" / "gate.json").read_text())["verdict"] == "inconclusive"
    assert "INCONCLUSIVE" in (job.path / "gate" / "gate.md").read_text().splitlines()[0]


def test_a_baseline_that_was_not_fetched_is_named_and_nothing_is_judged(a_run: Run, job: Any) -> None:
    replace_baseline(job.path / "baselines", read_exported(export_directory(a_run, "expert", *CHEST)), "pass")
    (place,) = (job.path / "baselines" / "exports").iterdir()
    shutil.rmtree(place)
    done = job.run("gate.sh", "--region", "chest")
    assert done.returncode == 4
    assert f"fetch it to baselines/exports/{place.name}" in "".join(done.stderr.split("\n"))
    assert "NOT JUDGED" in (job.path / "gate" / "gate.md").read_text()


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_exit_code_is_that_of_the_gate(job: Any, code: int) -> None:
    job.decompose(code)
    done = job.run("gate.sh", "--margin", "0.05")
    assert done.returncode == code
    assert sorted(path.name for path in (job.path / "gate").iterdir()) == ["gate.json", "gate.md", "gate.xml"]
    assert (job.remembered / "decompose").read_text().endswith("--margin 0.05\n")
    assert "no baselines/baselines.json" in done.stderr


@pytest.mark.parametrize("code", [2, 4, 70, 137])
def test_a_gate_that_did_not_finish_leaves_no_verdict(job: Any, code: int) -> None:
    job.decompose(0)
    job.run("gate.sh")
    job.decompose(code)
    done = job.run("gate.sh")
    assert done.returncode == code
    assert_not_judged(job, code)


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_verdict_needs_more_than_an_exit_code(job: Any, code: int) -> None:
    job.install("decompose", f"#!/bin/sh\nexit {code}\n")  # so does an interpreter end that cannot import
    done = job.run("gate.sh")
    assert done.returncode == 70
    assert "without a verdict" in done.stderr
    assert_not_judged(job, 70)


def assert_not_judged(job: Any, code: int) -> None:
    gate = job.path / "gate"
    assert sorted(path.name for path in gate.iterdir()) == ["gate.md", "gate.xml"]
    assert f"NOT JUDGED\n\ndecompose gate ended with exit code {code};" in (gate / "gate.md").read_text()
    root = ElementTree.parse(gate / "gate.xml").getroot()
    assert root.find("testsuite/testcase/error") is not None
    assert root.get("errors") == "1"


def test_what_cannot_be_written_is_no_fail(job: Any) -> None:
    job.decompose(0)
    (job.path / "gate").write_text("a file")
    assert job.run("gate.sh").returncode == 6
