from __future__ import annotations

import pytest

import lorkit.decompose


def test_public_names_are_imported_on_first_use() -> None:
    from lorkit.decompose.evaluation.evaluation import evaluate

    assert lorkit.decompose.evaluate is evaluate
    assert all(callable(getattr(lorkit.decompose, name)) for name in lorkit.decompose.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'lorkit\.decompose' has no attribute 'evaluates'"):
        lorkit.decompose.evaluates  # noqa: B018
