"""Recognise what the columns of a table hold: entities that relate rows, the label, the time, an id, or features.

A column is judged by its values, and where these do not tell (a whole number may count something or name someone) by
its name. Every column gets one role and the reason for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lorkit.decompose.data.graphs.column_names import names_entity, names_id, names_label, names_measure, names_time
from lorkit.decompose.data.graphs.column_profile import Profile, profile
from lorkit.decompose.data.graphs.labels import plain_label
from lorkit.decompose.data.graphs.table import SPLIT
from lorkit.decompose.data.samples.samples import PARTS, part_name
from lorkit.decompose.errors import DataError, UsageError, plural, unknown

if TYPE_CHECKING:
    from polars import DataFrame

Role = Literal["label", "time", "part", "id", "relation", "feature", "left out"]
_MOST_CLASSES = 20
_HARDLY_REPEATS = 0.9
"""Values per row from which a column relates too few rows to name entities."""
_DOMINANT = 0.9
"""Share of the rows from which one value relates most rows to each other."""
_UNKNOWN = ("unknown", "unlabelled", "unlabeled", "na", "n/a", "null", "undetermined", "?")
_TOO_LARGE = "numbers above 2^53, such as nanoseconds: write microseconds or dates to use it as the time"
_NEGATIVE_FIRST = ({"0", "1"}, {"false", "true"}, {"no", "yes"}, {"n", "y"})
"""Pairs whose sorted order says which class is the positive one."""


@dataclass(frozen=True)
class ColumnRole:
    """What a column is taken for, and why."""

    name: str
    role: Role
    why: str


@dataclass(frozen=True, kw_only=True)
class FoundTable:
    """The roles of all columns, and the settings of a region that follow from them.

    Attributes:
        columns: In the order of the table.
        classes: Of the label; of two the second one is the positive one.
        selected: Whether a column of numbers is left out, so that the features must be stated.
        notes: What could also be meant, with the setting that says so.
    """

    columns: tuple[ColumnRole, ...]
    classes: tuple[str, ...]
    selected: bool
    notes: tuple[str, ...]

    def of(self, role: Role) -> list[str]:
        """Return the columns of a role."""
        return [one.name for one in self.columns if one.role == role]

    def settings(self) -> dict[str, object]:
        """Return the keys of a region, without its data."""
        found: dict[str, object] = {"relations": self.of("relation")}
        found |= {role: self.of(role)[0] for role in ("time", "label", "id") if self.of(role)}
        found["classes"] = list(self.classes)
        return found | ({"features": self.of("feature")} if self.selected else {})


def recognise(frame: DataFrame, *, label: str | None = None) -> FoundTable:
    """Recognise the columns of a table.

    Args:
        frame: Its rows.
        label: Column of the label, if the user names it.

    Raises:
        UsageError: The named label is no column, or has no classes.
        DataError: There is no label, no column that names entities, or no feature.
    """
    profiles = {name: profile(frame[name]) for name in frame.columns}
    notes: list[str] = []
    found: dict[str, ColumnRole] = {}
    target, classes = _label(profiles, label, notes)
    found[target.name] = target
    for find in (_part, _time, _id):
        role = find({name: one for name, one in profiles.items() if name not in found}, notes)
        if role is not None:
            found[role.name] = role
    for name, one in profiles.items():
        if name not in found:
            found[name] = _entity(name, one) or _feature(name, one)
    table = FoundTable(
        columns=tuple(found[name] for name in profiles),
        classes=classes,
        selected=any(role.role == "left out" and profiles[name].is_numeric for name, role in found.items()),
        notes=tuple(notes),
    )
    if not table.of("relation"):
        raise DataError(
            f"no column names entities among {', '.join(profiles)}",
            required="a column of text, or of whole numbers named as an id, whose values repeat",
            fix="write the configuration with `relations` yourself (docs/graphs.md)",
        )
    if not table.of("feature"):
        numeric = [f"{one.name} is {_ROLE_NAMES[one.role]}" for one in table.columns if profiles[one.name].is_numeric]
        raise DataError(
            f"no column of numbers is a feature ({', '.join(numeric) or 'none has numbers'})",
            required="one of finite numbers in every row, such as an amount",
            fix="add one, or fill in missing values",
        )
    return table


def _label(profiles: dict[str, Profile], stated: str | None, notes: list[str]) -> tuple[ColumnRole, tuple[str, ...]]:
    if stated is not None:
        if stated not in profiles:
            raise unknown("column", stated, list(profiles), fix="name one of them with --label")
        if not _has_classes(profiles[stated]):
            raise UsageError(
                f"the label '{stated}' has {plural(profiles[stated].distinct, 'value')}",
                required=f"2 to {_MOST_CLASSES} classes",
                fix="name another column with --label",
            )
        return _as_label(stated, profiles[stated], "as stated", notes)
    usable = [name for name, one in profiles.items() if _has_classes(one)]
    named = sorted((name for name in usable if names_label(name)), key=names_label)
    if named:
        if len(named) > 1:
            notes.append(f"the label may also be {' or '.join(named[1:])}: --label NAME takes another column")
        return _as_label(named[0], profiles[named[0]], "by its name", notes)
    binary = [name for name in usable if {word.lower() for word in profiles[name].words} in _NEGATIVE_FIRST]
    if len(binary) != 1:
        several = f"; several have two values: {', '.join(binary)}" if binary else ""
        raise DataError(
            f"no column is named as a label among {', '.join(profiles)}{several}",
            required="a column of classes, such as one named label or is_fraud",
            fix="name it with --label",
        )
    notes.append(f"the label is not named as one: --label NAME takes another column than {binary[0]}")
    return _as_label(binary[0], profiles[binary[0]], "the only column of two values", notes)


def _has_classes(one: Profile) -> bool:
    return one.kind != "number" and 2 <= len(set(map(plain_label, one.words))) <= _MOST_CLASSES


def _as_label(name: str, one: Profile, why: str, notes: list[str]) -> tuple[ColumnRole, tuple[str, ...]]:
    """Return the role of a label and its classes, of which those that mean unknown are left out."""
    counts = Counter[str]()
    for word, count in one.words.items():
        if word.lower() not in _UNKNOWN and word != "-1":
            counts[plain_label(word)] += count
    if set(counts) == {"0", "1", "2"} and counts["2"] > max(counts["0"], counts["1"]):
        del counts["2"]
        notes.append(
            f"2 of {name} is the most frequent value beside 0 and 1 and counts as unlabelled: state"
            " classes: ['0', '1', '2'] if it is a class"
        )
    classes = sorted(counts) if len(counts) != 2 else _positive_last(counts)
    positive = f", {classes[1]} is the positive one" if len(classes) == 2 else ""
    shown = ", ".join(f"{word} ({counts[word]:,})" for word in classes)
    return ColumnRole(name, "label", f"{why}; classes {shown}{positive}"), tuple(classes)


def _positive_last(counts: dict[str, int]) -> list[str]:
    """Return two classes, the positive one last: 1, true or yes, else the rarer one."""
    words = sorted(counts)
    if {word.lower() for word in words} in _NEGATIVE_FIRST:
        return words
    return sorted(words, key=lambda word: -counts[word])


def _part(profiles: dict[str, Profile], notes: list[str]) -> ColumnRole | None:
    name = next((name for name in profiles if name.lower() == SPLIT), None)
    if name is None:
        return None
    try:
        parts = {part_name(word, name) for word in profiles[name].words}
    except DataError:
        return None
    return ColumnRole(name, "part", f"names {', '.join(part for part in PARTS if part in parts)}")


def _time(profiles: dict[str, Profile], notes: list[str]) -> ColumnRole | None:
    usable = {name: one for name, one in profiles.items() if one.filled == one.rows and one.distinct >= 3}
    why = {name: _says_time(name, one) for name, one in usable.items()}
    notes += [f"{name} holds {_TOO_LARGE}" for name, one in usable.items() if _is_large_time(name, one)]
    # rows are most often written in the order of what happened
    order = sorted(
        (name for name in usable if why[name]), key=lambda name: (not usable[name].ascending, not names_time(name))
    )
    if not order:
        return None
    chosen = order[0]
    if len(order) > 1:
        notes.append(f"the time may also be {' or '.join(order[1:])}: state `time` in the region")
    one = usable[chosen]
    if one.clock and not names_time(chosen):
        notes.append(f"the time {chosen} is not named as one: take `time` out of the region if it is none")
    return ColumnRole(chosen, "time", why[chosen] + (", never falling" if one.ascending else ""))


def _says_time(name: str, one: Profile) -> str:
    """Return why a column is a time, "" if it is none."""
    if one.kind == "date":
        return "dates"
    if one.kind not in ("whole", "number") or one.too_large:
        return ""
    form = (
        f"{one.clock} since 1970" if one.clock not in ("", "dates") else "dates as digits" if one.clock else "numbers"
    )
    if names_time(name):
        return f"{form}, by its name"
    other = names_id(name) or names_entity(name) or names_measure(name) or one.consecutive
    return f"{form}, by its values" if one.clock and not other else ""


def _is_large_time(name: str, one: Profile) -> bool:
    return one.too_large and names_time(name) and not names_id(name)


def _id(profiles: dict[str, Profile], notes: list[str]) -> ColumnRole | None:
    for name, one in profiles.items():
        unique = one.distinct == one.rows and one.kind in ("text", "whole") and not _is_large_time(name, one)
        if unique and name.strip() and (names_id(name) or (one.kind == "whole" and one.ascending)):
            return ColumnRole(name, "id", "another value in every row")
    return None


def _entity(name: str, one: Profile) -> ColumnRole | None:
    """Return the role of a column whose values may name entities: a relation, or left out; else None."""
    if one.kind != "text" and not (one.kind == "whole" and names_entity(name)):
        return None
    kind = "text" if one.kind == "text" else "whole numbers, named as an entity"
    values = f"{one.distinct:,} values in {one.filled:,} rows"
    few = max(3, min(10, one.rows // 50))
    if one.distinct < few:
        if one.kind == "whole":
            return None
        return ColumnRole(name, "left out", f"{kind}, {values}: a category; add it to `relations` if it relates rows")
    if one.distinct > _HARDLY_REPEATS * one.filled:
        return ColumnRole(name, "left out", f"{kind}, {values}: hardly any repeats")
    if one.most > _DOMINANT * one.filled:
        return ColumnRole(name, "left out", f"{kind}, one value in {one.most / one.filled:.0%} of the rows")
    return ColumnRole(name, "relation", f"{kind}, {values}")


def _feature(name: str, one: Profile) -> ColumnRole:
    if one.kind == "date":
        return ColumnRole(name, "left out", "dates beside the time")
    if one.kind == "other":
        return ColumnRole(name, "left out", "neither text nor numbers")
    if one.kind == "whole" and one.distinct == one.rows and one.ascending:
        return ColumnRole(name, "left out", "the number of the row")
    if _is_large_time(name, one):
        return ColumnRole(name, "left out", _TOO_LARGE)
    if one.unusable:
        return ColumnRole(name, "left out", f"numbers, {one.unusable:,} of them missing or not finite")
    doubt = one.kind == "whole" and not names_measure(name) and 100 <= one.distinct <= _HARDLY_REPEATS * one.rows
    hint = "; add it to `relations` and leave it out of `features` if they name entities" if doubt else ""
    return ColumnRole(name, "feature", ("whole numbers" if one.kind == "whole" else "numbers") + hint)


def roles_in_words(columns: Sequence[ColumnRole], where: str) -> list[str]:
    """Return one line for each column."""
    return [" ".join(f"{where}: {one.name} is {_ROLE_NAMES[one.role]}: {one.why}".split()) for one in columns]


_ROLE_NAMES: dict[Role, str] = {
    "label": "the label",
    "time": "the time",
    "part": "the part",
    "id": "the id",
    "relation": "a relation",
    "feature": "a feature",
    "left out": "left out",
}
