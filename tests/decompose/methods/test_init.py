from __future__ import annotations

import pytest

from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import METHODS, get_method


def test_the_methods_of_this_package_are_found() -> None:
    assert {"lorkd", "mtl", "stl"} <= set(METHODS)
    with pytest.raises(UsageError, match="did you mean 'lorkd'"):
        get_method("lorkdd")
