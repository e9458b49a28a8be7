"""Regions: the parts of a decomposition, in a fixed order that maps names to indices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, overload

from lorkit.decompose.errors import DataError, UsageError, plural, plural_of, unknown

# attributes of torch's modules and dictionaries of modules, which would hide a region of this name
_OF_TORCH = (
    "add_module append apply bfloat16 buffers call_super_init children clear compile copy cpu cuda double dump_patches "
    "eval extend extra_repr float forward fromkeys get get_buffer get_extra_state get_parameter get_submodule half "
    "insert ipu items keys load_state_dict modules mtia named_buffers named_children named_modules named_parameters "
    "parameters pop popitem register_backward_hook register_buffer register_forward_hook register_forward_pre_hook "
    "register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook "
    "register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook "
    "register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule setdefault share_memory state_dict to "
    "to_empty train training type update values xpu zero_grad"
)
RESERVED = ("foundation", "student", "all", "router", "region-id", *_OF_TORCH.split())
MIXTURE = "mixture"
"""The `task` of a network with heads for several regions."""
NODE = "node"
"""The task of a region that is a graph."""
Case = Literal["image", "node"]
"""A sample of a region."""
Group = Literal["patient", "image", "group", "node", "entity"]
"""What samples are grouped by: they are independent only between groups."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_STRUCTURE = (1, "structure", "structures")
_LEAST = {"segmentation": _STRUCTURE, "structures": _STRUCTURE, "multilabel": (1, "label", "labels")}


def check_region_name(name: str) -> str:
    """Return `name` if it can name a region, a directory and a module.

    Raises:
        UsageError: The name is reserved or has characters that a path or a parameter name cannot have.
    """
    if name in RESERVED:
        raise UsageError(
            f"region name '{name}' is reserved", required="another name", fix=f"rename the region '{name}'"
        )
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"region name '{name}'",
            required="lower-case letters, digits, '_' and '-', starting with a letter, at most 64 characters",
            fix="rename the region",
        )
    return name


@dataclass(frozen=True, kw_only=True)
class Words:
    """What people call the samples of a region, and what it may be used for.

    Attributes:
        case: One sample.
        group: One of what samples are grouped by.
        resampled: What intervals resample, in the plural.
        made: Of samples that a program made, as in "made samples".
        synthetic: Where a program made all samples.
        not_for: What results on made samples are not for.
        caution: What the networks are not for.
    """

    case: Case
    group: Group
    resampled: str
    made: str
    synthetic: str
    not_for: str
    caution: str

    @property
    def cases(self) -> str:
        """Samples."""
        return plural_of(self.case)

    @property
    def groups(self) -> str:
        """What samples are grouped by, in the plural."""
        return plural_of(self.group)

    @property
    def counted(self) -> str:
        """Samples where they are counted: images may be of several kinds."""
        return "cases" if self.case == "image" else self.cases


def words_of(case: Case, grouped: bool | None = None) -> Words:
    """Return the words for samples whose groups are known (`grouped`), unknown (False) or not stated (None)."""
    if case == "node":
        return Words(
            case=case,
            group="entity" if grouped else "node",
            resampled="entities" if grouped else "nodes",
            made="simulated",
            synthetic="A program made all nodes. The results do not apply to real ones.",
            not_for="real ones",
            caution="Scores, not decisions. These networks are research software. A person decides about every node.",
        )
    return Words(
        case=case,
        group="group" if grouped is None else "patient" if grouped else "image",
        resampled="images (patients unknown)" if grouped is False else "patients",
        made="phantom",
        synthetic="All images were drawn by a program. The results do not apply to patients.",
        not_for="patients",
        caution="Not a diagnostic device. These networks are research software. They have not been cleared or "
        "certified for any clinical use, and must not be used for decisions about patients.",
    )


def shared_words(regions: Iterable[tuple[str, bool | None]]) -> Words:
    """Return the words for the samples of all regions, by task and whether groups are known; images or nodes."""
    (first, *_), known = zip(*regions, strict=True)
    grouped = False if False in known else None if None in known else True
    return words_of("node" if first == NODE else "image", grouped)


@dataclass(frozen=True, kw_only=True)
class Region:
    """One region of a decomposition: its name, task, modality, and classes in output order.

    The classes of a segmentation are its structures, values 1..n of a mask; 0 is the background, which has no name. The
    classes of a multilabel region are its labels, any number of which apply to an image.
    `grouped` says whether patients (of nodes: entities) are known, so that none is in two parts of the split; None: not
    stated.
    `recall_at` are the numbers, or as floats shares, of nodes among which positive ones are counted.
    """

    name: str
    task: str = "classification"
    classes: tuple[str, ...] = ()
    modality: str | None = None
    synthetic: bool = False
    grouped: bool | None = None
    recall_at: tuple[int | float, ...] = ()

    @property
    def each(self) -> tuple[Region, ...]:
        """The region, or those of a group."""
        return (self,)

    @property
    def words(self) -> Words:
        """What its samples are called."""
        return words_of("node" if self.task == NODE else "image", self.grouped)

    def __post_init__(self) -> None:
        check_region_name(self.name)
        # a structure has a background beside it, a label may be absent; a single class would leave nothing to decide
        least, word, words = _LEAST.get(self.task, (2, "class", "classes"))
        if len(self.classes) < least:
            raise DataError(
                f"region '{self.name}' has {plural(len(self.classes), word, plural=words)}",
                required="at least two classes" if least == 2 else f"at least one {word}",
                fix="check its labels, or leave the region out",
            )
        if len(set(self.classes)) != len(self.classes):
            raise DataError(
                f"region '{self.name}' names a class twice: {', '.join(self.classes)}",
                required="distinct class names",
                fix="rename one of them",
            )


@dataclass(frozen=True, kw_only=True)
class RegionGroup(Region):
    """What a network with a head for each of several regions is of: `classes` are the names of its `members`.

    It has no task of its own: each member has one.
    """

    members: tuple[Region, ...]

    @property
    def each(self) -> tuple[Region, ...]:
        """Its members."""
        return self.members

    def __post_init__(self) -> None:
        """Check nothing: the members are regions, and the name is that of a kind of network."""

    @classmethod
    def of(cls, name: str, members: Sequence[Region]) -> RegionGroup:
        """Return the group of a network's regions, in the order of their indices."""
        known = {member.grouped for member in members}
        return cls(
            name=name,
            task=MIXTURE,
            classes=tuple(member.name for member in members),
            synthetic=any(member.synthetic for member in members),
            grouped=False if False in known else None if None in known else True,
            members=tuple(members),
        )


class RegionSet(Sequence[Region]):
    """Regions in the order of the configuration; the position of a region is its routing index."""

    def __init__(self, regions: Iterable[Region]) -> None:
        self._regions = tuple(regions)
        self._index = {region.name: index for index, region in enumerate(self._regions)}
        if len(self._index) != len(self._regions):
            raise UsageError("a region is named twice", required="distinct region names", fix="rename one of them")

    @overload
    def __getitem__(self, index: int) -> Region: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Region]: ...
    def __getitem__(self, index: int | slice) -> Region | Sequence[Region]:
        return self._regions[index]

    def __len__(self) -> int:
        return len(self._regions)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in routing order."""
        return tuple(self._index)

    @property
    def synthetic(self) -> bool:
        """Whether any region was drawn by a program."""
        return any(region.synthetic for region in self)

    @property
    def words(self) -> Words:
        """What the samples of all regions, which are images or nodes, are called, with the groups that all know."""
        return shared_words((region.task, region.grouped) for region in self)

    def index(self, name: Any, *_: Any) -> int:
        """Return the routing index of a region; raise UsageError with the known names."""
        if name not in self._index:
            raise unknown("region", str(name), self._index)
        return self._index[name]

    def get(self, name: str) -> Region:
        """Return a region by name; raise UsageError as `index`."""
        return self._regions[self.index(name)]

    def select(self, selection: str | None) -> RegionSet:
        """Return the regions of a `--region` option: all for `all` or None, else those of comma-separated names."""
        if selection in (None, "", "all"):
            return self
        assert selection is not None
        return RegionSet(self.get(name.strip()) for name in selection.split(","))

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain data for `regions.json`."""
        return [asdict(region) for region in self]

    @classmethod
    def from_json(cls, rows: Iterable[dict[str, Any]]) -> RegionSet:
        """Rebuild from `to_json`."""
        lists = ("classes", "recall_at")  # the second is not in older files
        return cls(Region(**{**row, **{key: tuple(row.get(key, ())) for key in lists}}) for row in rows)
