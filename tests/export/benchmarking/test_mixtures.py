"""Networks of several regions are measured like any export, also against the expert of one region."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lorkit.decompose.documents.heads import MixtureForm
from lorkit.decompose.runs import open_run
from lorkit.export.benchmarking.benchmark import bench
from lorkit.export.building.exporting import export
from lorkit.export.runtime.exported import Exported


@pytest.mark.parametrize("form", ["router", "region-id"])
def test_they_are_timed_at_any_batch_against_a_merged_expert(
    form: MixtureForm, export_mixture: Callable[..., Exported]
) -> None:
    exported = export_mixture(form)
    run = Path(exported.path).parents[2]
    (expert,) = export(run, region="chest", profile="cpu-generic", owners=("expert",)).exports
    document = bench([exported.path], against=expert.path, batch=(1, 3), samples=4, max_seconds=0.5)
    rows = [(row.region, row.batch) for row in document.exports]
    assert rows == [("chest", 1), (form, 1), ("chest", 3), (form, 3)]
    assert [(Path(str(one.path)), one.batch) for one in document.comparisons] == [
        (exported.path, 1),
        (exported.path, 3),
    ]
    own = document.exports[1]
    assert own.peak_mib is not None
    assert own.end_to_end is not None
    assert own.end_to_end.total_ms > 0
    assert own.load_ms is not None
    assert own.throughput > 0


def test_those_of_a_run_are_chosen_by_their_name(export_mixture: Callable[..., Exported]) -> None:
    for form in ("router", "region-id"):
        exported = export_mixture(form)
    run = open_run(Path(exported.path).parents[2])
    options = {"run": run.path, "samples": 4, "max_seconds": 0.5}
    assert [row.region for row in bench(region="router", **options).exports] == ["router"]  # type: ignore[arg-type]
    assert {row.region for row in bench(**options).exports} == {"router", "region-id"}  # type: ignore[arg-type]
