"""The options of a measurement as words of the command line, which are stored with it so that it can be repeated."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PATHS = ("baseline", "candidate", "data", "against", "image")
_NO_OPTIONS = ("paths", "run", "samples", "on_event")
_NO_EFFECT = ("update_baseline", "because")
"""They write a store of baselines, and change no measurement."""


def options_given(function: Callable[..., object], values: Mapping[str, object], home: Path | None) -> list[str]:
    """Return the options of a call that differ from their defaults, as words of the command line.

    Args:
        function: The function of the command, whose arguments have the names of the options.
        values: Its arguments by name.
        home: The run. A path inside it is given from `runs/` on, of another only the name.
    """
    words = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in (*_NO_OPTIONS, *_NO_EFFECT):
            continue
        value, option = values[name], f"--{name.replace('_', '-')}"
        if isinstance(value, str | Path) and name in _PATHS:
            value = _shown(Path(value), home)
        given = _words(option, value)
        if given != _words(option, parameter.default):
            words += given
    return words


def _words(option: str, value: object) -> list[str]:
    if value is True:
        return [option]
    if value is None or value is False or (option == "--region" and value in ("", "all")):
        return []
    if isinstance(value, Mapping):  # fractions by region, as `export.gating.limits` reads them
        return [option, ",".join(_text(one) if name == "*" else f"{name}={_text(one)}" for name, one in value.items())]
    if isinstance(value, Sequence) and not isinstance(value, str):
        if all(isinstance(one, str) for one in value):  # an option that can be repeated
            return [word for one in value for word in (option, str(one))]
        return [option, ",".join(_text(one or 0) for one in value)]  # no number of threads is 0 there
    return [option, _text(value)]


def _text(value: object) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _shown(path: Path, home: Path | None) -> str:
    if home is not None and path.resolve().is_relative_to(home.resolve()):
        return (Path("runs") / home.resolve().name / path.resolve().relative_to(home.resolve())).as_posix()
    return path.resolve().name
