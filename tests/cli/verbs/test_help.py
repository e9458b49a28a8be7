"""`decompose help`: of a command, of a group, of what is not there, and man pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_help_of_a_command_in_a_group(decompose: Callable[..., Any]) -> None:
    assert decompose("help", "profiles", "show").stdout.startswith("Usage: decompose profiles show")


def test_an_unknown_command_is_named_with_the_nearest(decompose: Callable[..., Any]) -> None:
    outcome = decompose("help", "trian")
    assert (outcome.code, "did you mean 'train'?" in outcome.stderr, outcome.stdout) == (2, True, "")
    assert decompose("help", "train", "now").code == 2


def test_man_pages_are_written(decompose: Callable[..., Any]) -> None:
    outcome = decompose("help", "--man", "share/man1")
    assert (outcome.code, outcome.stdout) == (0, "share/man1/decompose.1\n")
    assert Path("share/man1/decompose-train.1").read_text(encoding="utf-8").startswith('.TH "DECOMPOSE')
    assert decompose("help", "train", "--man", "share").code == 2
