"""Settings that the graphs of a configuration decide: the input of their nodes, and the networks that read it."""

from __future__ import annotations

from collections.abc import Mapping

from lorkit.decompose.config import Config
from lorkit.decompose.config.graphs import NodeInput
from lorkit.decompose.config.schema import ImageConfig
from lorkit.decompose.data import RegionSamples, Splits
from lorkit.decompose.data.node_samples import nodes_of
from lorkit.decompose.data.preprocessing.nodes import resolve_nodes
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import Method

ENCODER, STUDENT = "ragformer", "node_mlp"
"""Default backbones for graphs: of the foundation and of experts, and of a distilled student."""


def resolve_graphs(config: Config, method: Method, samples: Mapping[str, RegionSamples], splits: Splits) -> Config:
    """Return the configuration with the input of each region's nodes, its shape, and the default networks for graphs.

    Raises:
        UsageError: Regions of graphs beside others, or graphs that one network cannot read.
    """
    graphs = nodes_of(samples)
    others = [name for name in samples if name not in graphs]
    if others:
        raise UsageError(
            f"graphs ({', '.join(graphs)}) beside images ({', '.join(others)})",
            required="regions of one kind, because they share a network",
            fix="train the graphs with a configuration of their own",
        )
    inputs = {name: resolve_nodes(one, config.graph, splits.parts(name)["train"]) for name, one in graphs.items()}
    shapes = {name: one.shape for name, one in inputs.items()}
    first = next(iter(shapes))
    for name, shape in shapes.items():
        if shape != shapes[first]:
            raise UsageError(
                f"nodes of '{first}' are {_describe(shapes[first])}, those of '{name}' {_describe(shape)}",
                required="as many classes, relations and features in all regions, which share a network",
                fix="choose the same `relations` and `features`, or train them apart",
            )
        _check_order(first, inputs[first], name, inputs[name])
        _check_times(first, inputs[first], name, inputs[name])
    regions = {name: one.model_copy(update={"nodes": inputs[name]}) for name, one in config.regions.items()}
    changed = config.model_copy(
        update={"image": ImageConfig.of_nodes(shapes[first]), "regions": regions, **_networks(config, method)}
    )
    changed._base = config.base
    return changed


def _check_order(first: str, wanted: NodeInput, name: str, found: NodeInput) -> None:
    """Raise UsageError if a region has the columns of the first one in another order: they share weights by place."""
    for key in ("relations", "features"):
        one, other = getattr(wanted, key), getattr(found, key)
        if one != other and sorted(one) == sorted(other):
            raise UsageError(
                f"'{name}' has the {key} {', '.join(other)}, and '{first}' the same as {', '.join(one)}",
                required="one order in all regions, which share a network",
                fix=f"state `{key}` of '{name}' in the order of '{first}'",
            )


def _check_times(first: str, wanted: NodeInput, name: str, found: NodeInput) -> None:
    """Raise UsageError if the delay of labels would have another unit than in the first region."""
    if wanted.label_delay and {wanted.times, found.times} == {"numbers", "dates"}:
        raise UsageError(
            f"graph.label_delay with times of '{first}', which are {wanted.times}, and '{name}', {found.times}",
            required="one form, since the delay has its unit",
            fix="write both as dates",
        )


def _networks(config: Config, method: Method) -> dict[str, object]:
    """Return the sections of foundation and student with backbones for graphs, in place of the defaults for images."""
    small = method.uses_teacher and method.separate  # a distilled student
    wanted = {"foundation": ENCODER, "student": STUDENT if small else ENCODER}
    sections: dict[str, object] = {}
    for key, backbone in wanted.items():
        section = getattr(config, key)
        if section.backbone == type(section).model_fields["backbone"].default:
            sections[key] = section.model_copy(update={"backbone": backbone})
    return sections


def _describe(shape: tuple[int, ...]) -> str:
    groups, relations, hops, values = shape
    return f"{groups - 2} classes, {relations} relations, {hops - 1} hops and {values - 1} features"
