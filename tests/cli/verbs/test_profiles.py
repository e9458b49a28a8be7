"""`profiles`: the built-in hardware as lines, YAML and JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from lorkit.profiles import Profile, available


def test_list(decompose: Callable[..., Any]) -> None:
    lines = decompose("profiles", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(available())
    document = decompose("profiles", "list", "--json").document
    assert [row["name"] for row in document["profiles"]] == list(available())


def test_show_prints_what_can_be_edited_and_given_back(decompose: Callable[..., Any], tmp_path: Any) -> None:
    text = decompose("profiles", "show", "h200").stdout
    profile = Profile.model_validate(yaml.safe_load(text))
    assert profile.name == "h200"
    (tmp_path / "own.yaml").write_text(text)
    assert decompose("profiles", "show", "own.yaml", "--json").document["hardware"]["name"] == "h200"


def test_detect(decompose: Callable[..., Any]) -> None:
    name = decompose("profiles", "detect").stdout.strip()
    assert name in available()
    document = decompose("profiles", "detect", "--json").document
    assert document["hardware"]["name"] == name
    assert document["machine"]["platform"]
