"""docs/architecture.md is true: its picture is that of the imports, its functions and registries exist."""

from __future__ import annotations

import importlib
import re
import runpy
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FIGURES = ROOT / "docs" / "figures"
COMMANDS = ("train", "extract", "export", "gate", "predict")
FUNCTIONS = re.findall(r"^\| `([\w.]+): ([\w.]+)` \|", PAGE, re.M)


def test_the_picture_is_that_of_the_imports() -> None:
    drawn = runpy.run_path(str(FIGURES / "architecture.py"))["draw"]()
    written = (FIGURES / "architecture.svg").read_text(encoding="utf-8")
    assert drawn == written, "draw it again: python docs/figures/architecture.py"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_lists_its_functions(command: str) -> None:
    section = PAGE.split(f"### {command}\n", 1)[1].split("\n#", 1)[0]
    assert f"| `cli.verbs.{command}: {command}` |" in section
    assert len(re.findall(r"^\| `[\w.]+: [\w.]+` \|", section, re.M)) >= 9


@pytest.mark.parametrize(("module", "name"), FUNCTIONS)
def test_the_functions_exist(module: str, name: str) -> None:
    found = reduce(getattr, name.split("."), importlib.import_module(f"lorkit.{module}"))
    assert callable(found)
    assert found.__module__ == f"lorkit.{module}"


def test_the_registries_exist() -> None:
    registries = re.findall(r"`([A-Z_]+)` in `([\w/]+)\.py`", PAGE.split("## To add something", 1)[1])
    assert len(registries) >= 6
    for name, path in registries:
        assert hasattr(importlib.import_module("lorkit." + path.replace("/", ".").removesuffix(".__init__")), name)
