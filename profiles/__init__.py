"""Hardware profiles: named devices as data, by name, by file or detected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lorkit.profiles.schema import BatchRange, Budget, Device, EngineSettings, Match, Precision, Profile, ProfileError

_MOST_BYTES = 64 * 1024

__all__ = [
    "BatchRange",
    "Budget",
    "Device",
    "EngineSettings",
    "Match",
    "Precision",
    "Profile",
    "ProfileError",
    "available",
    "detect",
    "load",
    "matches",
]


def available() -> tuple[str, ...]:
    """Return the names of the built-in profiles, sorted."""
    return tuple(sorted(_builtin()))


def load(name: str | Path) -> Profile:
    """Return a built-in profile by name, or a user's profile by the path of its YAML file.

    Raises:
        ProfileError: No profile has this name, or the file is missing or invalid.
    """
    text = str(name)
    if text.endswith((".yaml", ".yml")):
        return _read(Path(text))
    if text not in _builtin():
        near = difflib.get_close_matches(text, available(), n=1)
        fix = f"did you mean '{near[0]}'?" if near else "give one of them, or the path of your own YAML file"
        raise ProfileError(f"unknown profile '{text}'; required: one of {', '.join(available())}; {fix}")
    return _builtin()[text]


def detect(fingerprint: Mapping[str, Any], candidates: Iterable[Profile] | None = None) -> Profile:
    """Return the best profile of a machine: a known GPU first, then the CPU with the most specific instruction set.

    Unknown GPUs are ignored, since an engine for the wrong GPU fails and one for the CPU runs.

    Args:
        fingerprint: Machine facts (`lorkit.decompose.machine.fingerprint`); `gpus` (list of {"name": ...}) and `flags`
            (CPU instruction sets) are used.
        candidates: The built-in profiles by default.

    Raises:
        ProfileError: Nothing matches, not even a generic CPU.
    """
    profiles = _builtin().values() if candidates is None else candidates
    matching = [profile for profile in profiles if matches(profile, fingerprint)]
    if not matching:
        raise ProfileError("no profile matches this machine; required: a known GPU or CPU; name one with --profile")
    return max(matching, key=lambda profile: (profile.device.kind == "gpu", profile.match.priority, profile.name))


def matches(profile: Profile, fingerprint: Mapping[str, Any]) -> bool:
    """Return whether a profile describes the machine of a fingerprint."""
    if profile.device.kind == "gpu":
        names = [str(gpu.get("name", "")) for gpu in fingerprint.get("gpus") or ()]
        pattern = profile.match.gpu
        return pattern is not None and any(re.search(pattern, name) for name in names)
    return frozenset(fingerprint.get("flags") or ()).issuperset(profile.match.flags)


@cache
def _builtin() -> dict[str, Profile]:
    # importlib.resources, not pkgutil: the package is part of a namespace, also when it is installed editable
    entries = (entry for entry in files("lorkit.profiles").iterdir() if entry.name.endswith(".yaml"))
    profiles = (Profile.model_validate(yaml.safe_load(entry.read_text(encoding="utf-8"))) for entry in entries)
    return {profile.name: profile for profile in profiles}


def _read(path: Path) -> Profile:
    try:
        if path.exists() and not path.is_file():  # a pipe would wait for its writer
            raise ProfileError(f"{path} is no file; required: a YAML file of a profile; check the path")
        if path.stat().st_size > _MOST_BYTES:
            raise ProfileError(
                f"{path} has {path.stat().st_size} bytes; required: a profile of at most {_MOST_BYTES}; check the path"
            )
        return Profile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ProfileError:
        raise
    except FileNotFoundError:
        raise ProfileError(f"no profile file {path}; required: a YAML file of a profile; check the path") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "profile"
        raise ProfileError(
            f"{path}: {where}: {first['msg']}; required: the schema of a profile; compare `decompose profiles show`"
        ) from None
    except Exception as error:  # boundary: YAML that is none, bad dates and numbers, text that is no UTF-8, a directory
        text = " ".join(str(error).split())[:200]
        raise ProfileError(f"{path} is not YAML: {text}; required: a profile; correct it") from None
