from __future__ import annotations

import pytest

import lorkit.export


def test_public_names_are_imported_on_first_use() -> None:
    from lorkit.export.gating.gating import gate

    assert lorkit.export.gate is gate
    assert all(callable(getattr(lorkit.export, name)) for name in lorkit.export.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'lorkit\.export' has no attribute 'gates'"):
        lorkit.export.gates  # noqa: B018
