"""What ends a command is one line and an exit code."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

import lorkit.decompose
from lorkit.decompose.documents.hardware import CachedFeatures
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "error: unknown command 'trian'; required: one of init, "),
        (["train", "--resum"], "did you mean '--resume'?"),
        (["gate", "--margin", "wide"], "error: invalid value for '--margin': "),
        (["gate", "--on-inconclusive", "shrug"], "'shrug' is not one of 'inconclusive', 'pass', 'fail'"),
        (["predict"], "error: missing argument"),
        (["profiles"], "error: missing command; see `decompose profiles --help`"),
        (["train", "a.yaml", "b.yaml"], "unexpected extra argument"),
        (["bench", "--batch", "1,x"], "error: --batch 1,x; required: whole numbers"),
        (["compare", "--fractions", "2"], "error: --fractions 2; required: numbers above 0"),
        (["evaluate", "here", "--run", "there"], "error: both here and --run there; required: one of them"),
        (["extract"], "error: no finished run in runs/; required: a run; start one with `decompose train`"),
        (["profiles", "show", "h20"], "did you mean 'h200'?"),
    ],
)
def test_usage_errors_are_one_line(decompose: Callable[..., Any], words: list[str], line: str) -> None:
    outcome = decompose(*words)
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr.count("\n") == 1
    assert line in outcome.stderr


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `decompose train` end with an error."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(lorkit.decompose, "load_config", fail, raising=False)


def not_finite() -> ValidationError:
    """The error of a document with a number that JSON cannot state."""
    with pytest.raises(ValidationError) as caught:
        CachedFeatures(directory="d", mib=math.inf)
    return caught.value


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ArtifactError("a", required="b", fix="c"), 4, "error: a; required: b; c"),
        (MissingRuntimeError("no\nruntime"), 5, "error: no runtime"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x"), 6, "No space left on device (runs/x)"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "runs"), 6, "Permission denied (runs)"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (not_finite(), 4, "error: mib of the result is not finite; required: a finite number; look for NaN"),
        (ZeroDivisionError("division by zero"), 70, "ZeroDivisionError: division by zero; this is a bug; run again"),
    ],
)
def test_exit_codes(
    decompose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    failing(monkeypatch, error)
    outcome = decompose("train")
    assert (outcome.code, outcome.stdout) == (code, "")
    assert outcome.stderr.count("\n") == 1
    assert line in outcome.stderr
    document = decompose("train", "--json").document
    assert (document["kind"], document["exit_code"], document["schema_version"]) == ("error", code, 1)
    assert document["message"] in outcome.stderr


@pytest.mark.parametrize("words", [["--debug", "train"], ["train", "--debug"]])
def test_debug_shows_the_traceback(
    decompose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    failing(monkeypatch, ZeroDivisionError())
    outcome = decompose(*words)
    assert outcome.code == 70
    assert "Traceback" in outcome.stderr
