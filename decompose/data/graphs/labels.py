"""Labels of nodes: from what a file holds to indices of classes, -1 where there is no label."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Ints
from lorkit.decompose.data.graphs.graph import UNLABELLED
from lorkit.decompose.data.samples.samples import order_classes
from lorkit.decompose.errors import DataError, UsageError, plural, refusing_damage

_WHOLE = re.compile(r"(-?\d+)\.0+")  # a column of whole numbers with empty cells can come as 1.0
_TRUTH = {"false": "0", "true": "1"}
_MOST_DIGITS = 18
_NONE = ("", "-1", "None", "nan", "NaN", "NA", "N/A", "null", "NULL")


def encode_labels(
    values_N: NDArray[Any], stated: tuple[str, ...] | None, *, where: str
) -> tuple[Ints, tuple[str, ...], tuple[str, ...]]:
    """Return the labels as indices, their classes, and notices about what counts as no label.

    An empty text, -1, a missing number, and texts such as NaN and NA are no label, unless a stated class has that name.
    Stated classes are matched by name, as `plain_label` has it; if no label has such a name, whole numbers (and false,
    true) index them. What is none of the stated classes is no label.

    Args:
        values_N: (N,) numbers or texts.
        stated: Class names; None takes the distinct labels in order.
        where: File, for messages.

    Raises:
        DataError: No label is one of the stated classes.
        UsageError: Two stated classes are the same label.
    """
    if values_N.dtype.kind not in "buifcUS":
        raise DataError(f"{where}: labels of type {values_N.dtype}", required="numbers or texts", fix="save them so")
    with refusing_damage(where, required="labels as numbers or texts"):
        texts_N = values_N.astype(str)
    distinct, inverse = np.unique(texts_N, return_inverse=True)
    words = [plain_label(word) for word in distinct]
    named = () if stated is None else _named(stated, where)
    present = [word for word in words if word in named or word not in _NONE]
    classes = order_classes(present) if stated is None else stated
    index = _index(present, named or classes, where)
    codes = np.array([index.get(word, UNLABELLED) for word in words], dtype=np.int64)
    labels_N = codes[inverse]
    counts = np.bincount(inverse, minlength=len(words))
    notices = []
    if bool((labels_N == UNLABELLED).any()):
        notices.append(f"{where}: {plural(int((labels_N == UNLABELLED).sum()), 'node')} without a label")
    rows = Counter[str]()
    for word, count in zip(words, counts.tolist(), strict=True):
        rows[word] += count
    others = [f"'{word}' ({count})" for word, count in rows.items() if word in present and word not in index]
    if others:
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        notices.append(f"{where}: labels that are none of {', '.join(classes)} count as no label: {shown}")
    return labels_N, classes, tuple(notices)


def plain_label(word: str) -> str:
    """Return a label as it is compared: 1.0 is 1, True and TRUE are true; of all other texts the case counts."""
    word = word.strip()
    if word.lower() in _TRUTH:
        return word.lower()
    whole = _WHOLE.fullmatch(word)
    return whole[1] if whole else word


def _named(stated: tuple[str, ...], where: str) -> tuple[str, ...]:
    named = tuple(map(plain_label, stated))
    same = [one for one, name in zip(stated, named, strict=True) if named.count(name) > 1]
    if same:
        raise UsageError(
            f"{where}: the classes {' and '.join(same)} are the same label",
            required="classes that differ in more than decimals of a whole number, or the case of true and false",
            fix="state one of them",
        )
    return named


def _index(present: list[str], classes: tuple[str, ...], where: str) -> dict[str, int]:
    """Return the index of each label that is a class: by name, else by number."""
    by_name = {name: position for position, name in enumerate(classes)}
    found = {word: by_name[word] for word in present if word in by_name}
    if found or not present:
        return found
    numbers = {word: _TRUTH.get(word.lower(), word) for word in present}
    whole = {word: text for word, text in numbers.items() if text.isdecimal() and len(text) <= _MOST_DIGITS}
    found = {word: int(text) for word, text in whole.items() if int(text) < len(classes)}
    if not found:
        raise DataError(
            f"{where}: the labels are {', '.join(present[:5])}{', ...' if len(present) > 5 else ''}",
            required=f"names of the classes {', '.join(classes)}, or their numbers from 0",
            fix="state the region's classes as the data name them",
        )
    return found
