"""Which samples belong to one patient: stated columns, a pattern on names, and likely patterns that are proposed.

A proposal is never applied: a name can hold a number that is no patient.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import NamedTuple

from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError, UsageError, plural

BY_IMAGE = "by image: patients unknown"
_GROUP_COLUMNS = ("group", "groups", "patient", "patientid", "subject", "subjectid", "case", "caseid")
_NO_ID = {"", "-", "?", "na", "n/a", "<na>", "nan", "none", "null", "unknown"}
_NAMED = r"(?i)((?:patient|pat|subject|subj|sub|case|p|s)[-_]?)\d+"
_CANDIDATES = (r"^([^_]*\d[^_]*)_", r"^([^-]*\d[^-]*)-")
_LEAST_SIZE = 1.2  # samples per group on average: below it, a pattern numbers images
_SECONDS = 10.0


class Proposal(NamedTuple):
    """A pattern that would group samples by a likely patient id.

    Attributes:
        pattern: For the region's setting `groups`.
        groups: Number of groups that it finds.
        torn: An id that it would put into two stated parts, and both; None where there is none.
    """

    pattern: str
    groups: int
    torn: tuple[str, str, str] | None


class StatedGroups(NamedTuple):
    """The group of each sample, whether all samples state one, and what the user should know."""

    groups: tuple[str, ...]
    grouped: bool
    notices: tuple[str, ...]


def names_patients(column: str) -> bool:
    """Tell whether a column or array of this name states patients: `patient`, `PatientID`, `Subject id`, `case` ..."""
    return _plain(column) in _GROUP_COLUMNS


def stated_groups(columns: Mapping[str, Sequence[str]], own: Sequence[str]) -> StatedGroups | None:
    """Return the groups that a column states, else None.

    Args:
        columns: Cells by column.
        own: Name of each sample, which is its group where its cell is empty or says that there is no id.
    """
    found = {name: tuple(map(str.strip, cells)) for name, cells in columns.items() if names_patients(name)}
    found = {name: cells for name, cells in found.items() if any(map(_is_id, cells))}
    if not found:
        return None
    first, *others = sorted(found, key=lambda name: _GROUP_COLUMNS.index(_plain(name)))
    cells = found[first]
    empty = sum(not _is_id(cell) for cell in cells)
    notices = [f"column '{first}' is empty in {plural(empty, 'row')}: each is a group of its own"] if empty else []
    groups = tuple(cell if _is_id(cell) else name for cell, name in zip(cells, own, strict=True))
    notices += [text for other in others if (text := _about_other(first, groups, other, found[other]))]
    return StatedGroups(groups, not empty, tuple(notices))


def _about_other(first: str, groups: Sequence[str], other: str, cells: Sequence[str]) -> str | None:
    """Say that a further column names patients, unless it groups the samples equally."""
    inside: dict[str, set[str]] = defaultdict(set)
    for group, cell in zip(groups, cells, strict=True):
        if _is_id(cell):
            inside[cell].add(group)
    torn = sum(len(found) > 1 for found in inside.values())
    if not torn and len(inside) == len(set(groups)):
        return None
    more = f"; {plural(torn, 'value')} of '{other}' are in several groups" if torn else ""
    return f"columns '{first}' and '{other}' both name patients, and differ: '{first}' is used{more}"


def _is_id(cell: str) -> bool:
    return cell.casefold() not in _NO_ID


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", column.casefold())


def group_by_pattern(name: str, pattern: str, source: Source) -> Source:
    """Return a source whose groups are what the first bracket of a pattern finds in the names of its files.

    A pattern with `/` is searched in the path of a file as the data name it, any other in its name alone.

    Raises:
        DataError: A name does not hold the pattern.
        UsageError: The search takes too long, as with nested repeats.
    """
    found = _search(name, pattern, source.names or source.ids)
    missing = [text for text, group in found if not group]
    if missing:
        raise DataError(
            f"region '{name}': groups '{pattern}' finds nothing in '{missing[0]}' ({len(missing)} such)",
            required="a pattern that finds the patient in the name of every sample",
            fix="correct groups, or leave those samples out",
        )
    return replace(source, groups=tuple(group or "" for _, group in found), grouped=True)


def _search(name: str, pattern: str, names: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return each text that was searched and what was found in it."""
    import regex  # the patterns of `re`, with a limit of time

    expression = regex.compile(pattern)
    end = time.monotonic() + _SECONDS
    found = []
    for text in names:
        text = _searched(text, pattern)
        try:
            match = expression.search(text, timeout=max(end - time.monotonic(), 1e-3))
        except TimeoutError:
            raise UsageError(
                f"region '{name}': groups '{pattern}' takes more than {_SECONDS:g} s, last in '{text}'",
                required="a pattern without repeats inside repeats, such as (a+)+",
                fix="simplify groups",
            ) from None
        found.append((text, None if match is None else match.group(min(expression.groups, 1))))
    return found


def propose(names: Sequence[str], parts: Sequence[str | None]) -> Proposal | None:
    """Return the likeliest pattern of a patient id in the names of samples, or None."""
    for pattern in (_named(names, folders=False), *_CANDIDATES, _named(names, folders=True)):
        if pattern is None:
            continue
        members: dict[str, list[int]] = defaultdict(list)
        for index, text in enumerate(names):
            match = re.search(pattern, _searched(text, pattern))
            if match is None:
                break
            members[match.group(1)].append(index)
        else:
            if 1 < len(members) <= len(names) / _LEAST_SIZE:
                return Proposal(pattern, len(members), _torn(members, parts))
    return None


def _named(names: Sequence[str], *, folders: bool) -> str | None:
    """Return the pattern of a number after a word for patients that is the same in all names, such as `^(P[0-9]+)`."""
    texts = [_searched(text, "/" if folders else "") for text in names]
    found = [re.search(_NAMED + ("/" if folders else ""), text) for text in texts]
    words = {match.group(1) if match else None for match in found}
    word = words.pop() if len(words) == 1 else None
    if word is None:
        return None
    start = "^" if all(match is not None and match.start() == 0 for match in found) else ""
    return rf"{start}({re.escape(word)}\d+)" + ("/" if folders else "")


def _torn(members: Mapping[str, Sequence[int]], parts: Sequence[str | None]) -> tuple[str, str, str] | None:
    for key, indices in members.items():
        found = sorted({part for index in indices if (part := parts[index]) is not None})
        if len(found) > 1:
            return key, found[0], found[1]
    return None


def proposal_notice(proposal: Proposal) -> str:
    """Say what a proposal would do."""
    if proposal.torn is not None:
        key, one, other = proposal.torn
        return (
            f"the names suggest patients (pattern '{proposal.pattern}'), but '{key}' would then be in {one} and in "
            f"{other}: the stated parts may share patients"
        )
    return f"the names suggest {proposal.groups} patients: if so, set groups: '{proposal.pattern}' in the region"


def _searched(text: str, pattern: str) -> str:
    path = PurePosixPath(text.replace("\\", "/"))
    return str(path) if "/" in pattern else path.name
