"""The self-test notices an engine that computes something else; `doctor` runs the real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lorkit.cli.selftest import self_test
from lorkit.export import targets
from lorkit.export.onnx import conversion


def test_an_engine_that_is_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    @contextmanager
    def load(directory: Path) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(run=lambda images: np.full((len(images), 2), 100, np.float32))
        closed.append(True)

    monkeypatch.setattr(conversion, "to_onnx", lambda *_, **__: None)
    monkeypatch.setattr(targets, "get_target", lambda name: SimpleNamespace(load=load))
    found = self_test()
    assert not found.passed
    assert found.differences is not None
    assert found.differences["extract"] <= found.tolerance < 50 < found.differences["export"]  # type: ignore[operator]
    assert closed == [True]
