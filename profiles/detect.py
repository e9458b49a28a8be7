"""Choose the profile of this machine from the profiles and a fingerprint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lorkit.profiles.schema import Profile, ProfileError


def choose(profiles: Iterable[Profile], fingerprint: Mapping[str, Any]) -> Profile:
    """Return the best matching profile: a known GPU first, then the CPU with the most specific instruction set.

    Unknown GPUs are ignored, since an engine for the wrong GPU fails and one for the CPU runs.

    Args:
        profiles: The candidates.
        fingerprint: Machine facts; `gpus` (list of {"name": ...}) and `flags` (CPU instruction sets) are used.

    Raises:
        ProfileError: Nothing matches, not even a generic CPU.
    """
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
