"""What names say: sides, which a mirrored image exchanges, and names of classes or patients that are meant alike."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Literal

from lorkit.decompose.config import AugmentConfig, RegionAugment
from lorkit.decompose.regions import NODE, Region

_SIDES = re.compile(
    r"(left|right)(?!over)\w*|[lr]h|links|rechts|(linke|rechte)[nmrs]?|gauche|droite?|(izquierd|derech)[oa]"
    r"|(sinistr|destr|dextr)[oa]|sinister|dexter"
)
_SHORT = (("l", "r"), ("os", "od"), ("sin", "dex"), ("li", "re"))  # a side only where the other one is named too
_HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LETTER = r"[^\W\d_]"
_EDGES = re.compile(rf"(?<!{_LETTER})l|l(?!{_LETTER})|left")


def sided_names(names: Sequence[str]) -> list[str]:
    """Return the names that hold a side: `kidney_left`, `LeftThalamus`, `ctx-rh-insula`, `LV` beside `RV`."""
    words = {name: set(re.findall(f"{_LETTER}+", _HUMPS.sub(" ", name).casefold())) for name in names}
    every = set().union(*words.values()) if words else set()
    short = {word for pair in _SHORT if every.issuperset(pair) for word in pair}
    found = {name for name in names if words[name] & short or any(map(_SIDES.fullmatch, words[name]))}
    plain = {name.casefold(): name for name in names}
    for text, name in plain.items():
        for other in _exchanged(text):
            if other in plain:
                found |= {name, plain[other]}
    return [name for name in names if name in found]


def _exchanged(name: str) -> list[str]:
    """Return a name with one `left`, or one `l` at an edge of a word, replaced by its other side."""
    right = {"left": "right", "l": "r"}
    return [name[: at.start()] + right[at.group()] + name[at.end() :] for at in _EDGES.finditer(name)]


def without_flips(
    names: Sequence[str], augment: RegionAugment | Literal[False] | None
) -> tuple[RegionAugment | Literal[False] | None, tuple[str, ...]]:
    """Return a region's augmentation, without flips where a name holds a side, and what the user should know.

    Flips that the region states itself are kept.
    """
    sided = sided_names(names)
    if not sided or augment is False or (augment is not None and augment.flip is False):
        return augment, ()
    if augment is not None and augment.flip:
        return augment, (
            f"images are flipped left to right, as augment.flip states, and '{sided[0]}' names a side: in a flipped "
            "image the names of sides are wrong",
        )
    own = augment or RegionAugment()
    return own.model_copy(update={"flip": False}), (f"flips are off: '{sided[0]}' names a side",)


def is_sided(region: Region, stated: RegionAugment | Literal[False] | None, train: AugmentConfig | None) -> bool:
    """Return whether left and right differ in a region, so that its images are not mirrored: in doubt they do.

    Args:
        region: A graph's nodes have no mirror image, and names may hold a side.
        stated: The region's augmentation; False, or flips that are off, say that sides differ.
        train: That of the training, which the region's own replaces.
    """
    augment, _ = without_flips(region.classes, stated)
    if region.task == NODE or augment is False:
        return True
    if augment is not None and augment.flip is not None:
        return not augment.flip
    return train is not None and not train.flip


def about_names(names: Iterable[str]) -> list[str]:
    """Say which classes differ only in case or spelling, such as NORMAL and normal, or 1 and 1.0."""
    return [
        f"classes {' and '.join(map(repr, found))} differ only in spelling: are they one class?"
        for found in _alike(names)
    ]


def about_patients(groups: Iterable[str]) -> tuple[str, ...]:
    """Say whether ids of patients differ only in case or spelling, such as 7 and 007."""
    found = _alike(dict.fromkeys(groups))
    if not found:
        return ()
    return (
        f"patients {' and '.join(map(repr, found[0]))} differ only in spelling ({len(found)} such): if they are one, "
        "write them alike, or images of one patient may be in several parts",
    )


def _alike(names: Iterable[str]) -> list[list[str]]:
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[_plain(name)].append(name)
    return [found for found in alike.values() if len(found) > 1]


def _plain(name: str) -> str:
    text = re.sub(r"[\s_-]+", " ", name.strip().casefold()) if not name.strip().startswith("-") else name.strip()
    return f"{Decimal(text).normalize():f}" if re.fullmatch(r"-?\d{1,20}(\.\d*)?", text) else text
