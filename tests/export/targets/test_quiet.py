from __future__ import annotations

import logging
import warnings

import pytest

from lorkit.export.targets.quiet import quiet


def test_warnings_and_remarks_are_held_back_and_come_back(caplog: pytest.LogCaptureFixture) -> None:
    source = logging.getLogger("a.library")
    source.setLevel(logging.INFO)
    with quiet("a.library"):
        warnings.warn("old", DeprecationWarning, stacklevel=1)  # an error in these tests
        source.warning("held back")
        source.error("said")
    assert [record.message for record in caplog.records] == ["said"]
    assert source.level == logging.INFO
    with pytest.warns(UserWarning, match="again"):
        warnings.warn("again", UserWarning, stacklevel=1)


def test_an_error_passes_and_the_level_is_put_back() -> None:
    before = logging.getLogger().level
    with pytest.raises(ValueError, match="x"), quiet():
        raise ValueError("x")
    assert logging.getLogger().level == before
