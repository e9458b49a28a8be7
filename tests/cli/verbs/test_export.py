"""`export` prints paths, passes permissions on, and its help says what each target lacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.documents.export_results import ExportDocument, ExportResult
from lorkit.decompose.documents.verify import NoParity
from lorkit.export.targets import TARGETS, Availability

DOCUMENT = ExportDocument(
    exports=[
        ExportResult(
            path=Path("x"),
            owner="expert",
            region="chest",
            target="onnx",
            profile="t4",
            precision="fp32",
            parity=NoParity(status="not_run", reason="no runtime here"),
            size_bytes=1,
            up_to_date=False,
            choice=None,
        )
    ]
)


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any]) -> None:
    words = ["export", "--target", "onnx", "--profile", "t4"]
    check_verb(
        words,
        DOCUMENT,
        options={"target": "onnx", "profile": "t4", "precision": None, "region": "all"},
        stdout="x\n",
    )


def test_the_document_is_printed_with_every_key(decompose: Callable[..., Any], record: Callable[..., Any]) -> None:
    record("export", DOCUMENT)
    document = decompose("export", "--json").document
    (row,) = document["exports"]
    assert list(row) == list(ExportResult.model_fields)
    assert (row["path"], row["choice"], row["parity"]["status"]) == ("x", None, "not_run")


def test_export_passes_the_permission_on(decompose: Callable[..., Any], record: Callable[..., Any]) -> None:
    recorder = record("export", DOCUMENT)
    decompose("export", "--target", "triton")
    assert recorder.options["allow_synthetic"] is False
    decompose("export", "--target", "triton", "--allow-synthetic")
    assert recorder.options["allow_synthetic"] is True


def test_every_target_is_told_with_what_it_lacks(
    decompose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {"onnx": Availability(True), "trt": Availability(False, "it is not here", "pip install it")}
    states["trt-rtx"] = Availability(True, runs=False, cannot_run_because="there is no GPU")
    for name, state in states.items():
        monkeypatch.setattr(type(TARGETS[name]), "available", lambda self, profile=None, state=state: state)
    outcome = decompose("export", "--help")
    assert outcome.code == 0
    text = " ".join(outcome.stdout.split())
    assert all(f"{name} " in text for name in TARGETS)
    assert "trt fp32, fp16, bf16, int8. Missing: it is not here; pip install it" in text
    assert "trt-rtx fp32, fp16, bf16, int8. Builds here, but cannot run: there is no GPU" in text
    assert "Targets and" not in decompose("bench", "--help").stdout
