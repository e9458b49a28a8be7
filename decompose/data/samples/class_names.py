"""What the names of classes and structures say: sides, which a mirrored image exchanges, and names meant alike."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from lorkit.decompose.config import RegionAugment
from lorkit.decompose.errors import UsageError

_SIDES = {"left": "left", "right": "right", "lh": "left", "rh": "right", "l": "left", "r": "right"}
_SHORT = ("l", "r")  # of one letter: a side only where the other one is named too


def sided_names(names: Sequence[str]) -> list[str]:
    """Return the names that hold a side, such as `kidney_left`, `Left-Thalamus` or `ctx-rh-insula`."""
    words = {name: {word for word in re.split(r"[^a-z]+", name.lower()) if word in _SIDES} for name in names}
    both = set().union(*words.values()) if words else set()
    alone = {word for word in _SHORT if not set(_SHORT) <= both}
    return [name for name in names if words[name] - alone]


def without_flips(
    region: str, names: Sequence[str], augment: RegionAugment | Literal[False] | None
) -> tuple[RegionAugment | Literal[False] | None, tuple[str, ...]]:
    """Return a region's augmentation, without flips where a name holds a side, and what the user should know.

    Raises:
        UsageError: Flips are stated although a name holds a side: a mirrored image would have the wrong one.
    """
    sided = sided_names(names)
    if not sided or augment is False or (augment is not None and augment.flip is False):
        return augment, ()
    if augment is not None and augment.flip:
        raise UsageError(
            f"region '{region}' is flipped left to right, and '{sided[0]}' names a side",
            required="no flips where classes or structures name a side",
            fix=f"set regions.{region}.augment.flip to false",
        )
    own = augment or RegionAugment()
    return own.model_copy(update={"flip": False}), (f"flips are off: '{sided[0]}' names a side",)


def about_names(names: Iterable[str]) -> list[str]:
    """Say which names differ only in case or spelling, such as NORMAL and normal, or 1 and 1.0."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[_plain(name)].append(name)
    return [
        f"classes {' and '.join(repr(name) for name in found)} differ only in spelling: are they one class?"
        for found in alike.values()
        if len(found) > 1
    ]


def _plain(name: str) -> str:
    text = re.sub(r"[\s_-]+", " ", name.strip().casefold())
    try:
        return f"{float(text):g}"
    except ValueError:
        return text
