"""Which keys of `decompose.yaml` only images have, and which only graphs: the other kind would ignore them."""

from __future__ import annotations

from collections.abc import Sequence

from lorkit.decompose.config.base import Section
from lorkit.decompose.config.schema import Config
from lorkit.decompose.errors import UsageError

REGION_OF_IMAGES = (
    "structures", "overlap", "groups", "augment", "window", "spacing", "window_overlap", "intensity", "pos_weight",
    "nsd_tolerance_mm", "unlabelled",
)  # fmt: skip
REGION_OF_GRAPHS = ("relations", "time", "id", "features", "simulated", "recall_at", "nodes")
CONFIG_OF_IMAGES = (
    "image", "foundation.image", "teachers", "student.weights", "student.stem", "train.augment",
    "train.foreground", "split.val", "split.test", "unlabelled",
)  # fmt: skip
CONFIG_OF_GRAPHS = ("graph", "split.by", "split.entities", "split.hops")


def stated_keys(section: Section, keys: Sequence[str]) -> list[str]:
    """Return the keys that have another value than their default; `a.b` is key b of section a."""
    return [key for key in keys if _is_changed(section, key)]


def refuse_region_keys(name: str, region: Section, *, graph: bool) -> None:
    """Raise UsageError for keys of a region that only the other kind of data has.

    Args:
        name: Its name.
        region: Its settings.
        graph: Whether its data are a graph.
    """
    stated = stated_keys(region, REGION_OF_IMAGES if graph else REGION_OF_GRAPHS)
    if stated and graph:
        raise UsageError(
            f"region '{name}' of the nodes of a graph states {', '.join(stated)}",
            required="keys that a graph has; these have no effect on it",
            fix="leave them out",
        )
    if stated:
        raise UsageError(
            f"region '{name}' of images states {', '.join(stated)}",
            required="a graph for these keys: a table with relations, or a file with edges",
            fix="leave them out, or correct the data or the task",
        )


def refuse_sections(config: Config, *, graphs: bool) -> None:
    """Raise UsageError for sections and their keys that only the other kind of data has.

    Args:
        config: A configuration; the input that training has filled in for graphs is no stated key.
        graphs: Whether all regions are graphs, else all are images.
    """
    stated = stated_keys(config, CONFIG_OF_IMAGES if graphs else CONFIG_OF_GRAPHS)
    filled = {"image"} if config.image.nodes else set()
    if config.train.augment is None:  # says what holds for graphs
        filled.add("train.augment")
    left = [key for key in stated if key not in filled]
    if left:
        own, other = ("graphs", "images") if graphs else ("images", "graphs")
        raise UsageError(
            f"{', '.join(left)} in a configuration whose regions are {own}",
            required=f"settings of {own}; these are of {other} and would have no effect",
            fix="leave them out",
        )


def check_views(config: Config) -> None:
    """Raise UsageError for a cache of the features of images that change in every pass; graphs never change."""
    augment = config.train.augment
    if not config.cache.enabled or all(one.augment is False for one in config.regions.values()):
        return
    if augment is not None and augment.views is None:
        raise UsageError(
            "cache.enabled with images that change at random in every pass, whose features are never used again",
            required="train.augment.views (so many changed versions of an image) or train.augment null",
            fix="state one of them, or set cache.enabled to false",
        )


def _is_changed(section: Section, key: str) -> bool:
    head, _, rest = key.partition(".")
    value = getattr(section, head)
    if rest:
        return _is_changed(value, rest)
    field = type(section).model_fields[head]
    return bool(value != field.get_default(call_default_factory=True))
