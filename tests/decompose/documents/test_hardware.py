"""The documents of hardware hold every setting of a profile."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lorkit.decompose.documents.hardware import ProfileFacts, SelfTestResult
from lorkit.profiles import available, load


@pytest.mark.parametrize("name", available())
def test_a_profile_is_stated_with_all_its_settings(name: str) -> None:
    profile = load(name).model_dump(mode="json")
    assert ProfileFacts.model_validate(profile).to_json() == profile
    with pytest.raises(ValidationError, match="Extra inputs"):
        ProfileFacts.model_validate({**profile, "engine": {**profile["engine"], "new": True}})


def test_a_self_test_that_raised_has_no_differences() -> None:
    found = {"passed": False, "error": "RuntimeError: broken engine"}
    assert SelfTestResult.model_validate(found).to_json() == found
