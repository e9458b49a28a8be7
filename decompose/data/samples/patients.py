"""Which samples belong to one patient: stated columns, a pattern on names, and likely patterns that are proposed.

A proposal is never applied: a name can hold a number that is no patient.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError

V = TypeVar("V")

GROUP_COLUMNS = ("group", "groups", "patient", "patient_id", "subject", "subject_id", "case", "case_id")
"""Names of a column or array that states the patient, by precedence."""
BY_IMAGE = "by image: patients unknown"
_CANDIDATES = (
    r"((?:patient|pat|subject|subj|sub|case|p|s)[-_]?\d+)",
    r"^([^_]*\d[^_]*)_",
    r"^([^-]*\d[^-]*)-",
)
_LEAST_SIZE = 1.2  # samples per group on average: below it, a pattern numbers images


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


def stated_groups(columns: Mapping[str, V]) -> tuple[str, V] | None:
    """Return the name and values of the column that states the patient, else None."""
    return next(((name, columns[name]) for name in GROUP_COLUMNS if name in columns), None)


def group_by_pattern(name: str, pattern: str, source: Source) -> Source:
    """Return a source whose groups are what the first bracket of a pattern finds in the names of its files.

    Raises:
        DataError: A name does not hold the pattern.
    """
    expression = re.compile(pattern)
    found = [expression.search(_name(text)) for text in source.ids]
    missing = [text for text, match in zip(source.ids, found, strict=True) if match is None]
    if missing:
        raise DataError(
            f"region '{name}': groups '{pattern}' finds nothing in '{_name(missing[0])}' ({len(missing)} such)",
            required="a pattern that finds the patient in the name of every sample",
            fix="correct groups, or leave those samples out",
        )
    groups = tuple(match.group(1) if expression.groups else match.group() for match in found if match is not None)
    return replace(source, groups=groups, grouped=True)


def propose(ids: Sequence[str], parts: Sequence[str | None]) -> Proposal | None:
    """Return the likeliest pattern of a patient id in the names of samples, or None."""
    for pattern in _CANDIDATES:
        expression = re.compile(pattern, re.IGNORECASE)
        members: dict[str, list[int]] = defaultdict(list)
        for index, text in enumerate(ids):
            match = expression.search(_name(text))
            if match is None:
                break
            members[match.group(1)].append(index)
        else:
            if 1 < len(members) <= len(ids) / _LEAST_SIZE:
                flag = "(?i)" if pattern is _CANDIDATES[0] else ""
                return Proposal(f"{flag}{pattern}", len(members), _torn(members, parts))
    return None


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


def _name(text: str) -> str:
    return PurePosixPath(text.replace("\\", "/")).name
