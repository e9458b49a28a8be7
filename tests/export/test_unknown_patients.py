"""Where patients are unknown, card, export, report and gate say so, and none says that patients were resampled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_runs

from lorkit.decompose.config import load_config
from lorkit.decompose.extraction.extraction import extract
from lorkit.export.building.exporting import export
from lorkit.export.gating.gating import gate
from lorkit.export.reporting.reporting import report

BY_IMAGE = "split by image: patients unknown"


@pytest.mark.parametrize("known", [False, True])
def test_every_document_says_whether_patients_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    small_runs.register_tiny(monkeypatch.setitem)
    monkeypatch.chdir(tmp_path)
    small_runs.small_config(tmp_path, name="small")
    for name in small_runs.REGIONS:
        with np.load(f"{name}.npz") as arrays:
            kept = {key: arrays[key] for key in arrays if known or key != "groups"}
        np.savez(f"{name}.npz", **kept)  # type: ignore[arg-type]
    run = small_runs.write_run(load_config(tmp_path / "decompose.yaml"), tmp_path / "runs" / "small")
    extract(run, region="chest")
    export(run.path, region="chest", profile="cpu-generic", owners=("expert", "foundation"))
    found = {
        "card": (run.path / "experts" / "chest" / "README.md").read_text(encoding="utf-8"),
        "export": next(run.path.glob("exports/chest/*/README.md")).read_text(encoding="utf-8"),
        "gate": " ".join(gate(run.path, region="chest", max_seconds=0.1).warnings),
    }
    report(run.path)
    pages = {suffix: run.path / "report" / f"report.{suffix}" for suffix in ("md", "html")}
    found |= {suffix: page.read_text(encoding="utf-8") for suffix, page in pages.items()}
    assert {name: BY_IMAGE in text.casefold() for name, text in found.items()} == dict.fromkeys(found, not known)
    for suffix in ("md", "html"):
        assert ("resampled patients" in found[suffix]) is known
    assert ("parts share no patient" in found["card"]) is known
