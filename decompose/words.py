"""Sentences for people: numbers with their nouns."""

from __future__ import annotations


def counted(count: int, noun: str, *, plural: str = "") -> str:
    """Return a number with its noun, such as `1 case`, `1200 cases` and `2 classes`.

    Args:
        count: How many.
        noun: The word for one of them.
        plural: The word for several; the noun with an s by default.
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
