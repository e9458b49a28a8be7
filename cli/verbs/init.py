"""`decompose init`: write a commented configuration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorkit.cli import options

if TYPE_CHECKING:
    from lorkit.cli.output.found_graphs import GraphsFound
    from lorkit.decompose.config.recommendation import Recommendation
    from lorkit.decompose.data.readers.discovery import FoundSource

FILE = Path("decompose.yaml")


def init(
    from_data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Fill in the regions from the data in this directory, or from this file."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="COLUMN", help="Column of the label of tables in --from-data.")
    ] = None,
    graph: Annotated[bool, typer.Option("--graph", help="Write one for graphs, such as payments.")] = False,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write.")] = FILE,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a commented decompose.yaml."""
    from lorkit.cli.output.found_graphs import GraphsFound
    from lorkit.cli.output.streams import print_json, print_result, print_status
    from lorkit.decompose import load_config
    from lorkit.decompose.artifacts import write_text
    from lorkit.decompose.errors import UsageError

    if out.exists() and not force:
        raise UsageError(f"{out} exists", required="a new file", fix="choose another with --out, or use --force")
    if graph and from_data is not None:
        raise UsageError("--graph with --from-data", required="one of them", fix="leave one out")
    if label is not None and from_data is None:
        raise UsageError("--label without --from-data", required="a table", fix="name it with --from-data")
    found: Sequence[FoundSource] = ()
    if from_data is not None:
        from lorkit.decompose.data.readers.discovery import discover

        found = discover(from_data, label=label)
    base, about = out.resolve().parent, GraphsFound.of(found)
    if graph or about.graphs:
        text, advice = graph_template(found, about, base=base), None
    else:
        advice, problem = recommended(found)
        text = template(found, base=base, advice=advice)
        if problem:
            print_status(f"no recommendation, because the data cannot be counted: {problem}")
    write_text(out, text)
    config = load_config(out)
    skipped = {str(entry.path): entry.problem for entry in found if entry.problem}
    if as_json:
        document = {"config": out, "regions": list(config.regions), "skipped": skipped, **about.to_json()}
        print_json(document, kind="init")
        return
    for path, problem in skipped.items():
        print_status(f"left out {path}: {problem}")
    for line in about.lines():
        print_status(line)
    if advice is not None:
        print_status(f"method {advice.method}, as a start and not a promise: {advice.why} ({advice.link})")
    print_status(f"regions: {', '.join(config.regions)}; next: `decompose data`, then `decompose train`")
    print_result(str(out))


def recommended(found: Sequence[FoundSource]) -> tuple[Recommendation | None, str]:
    """Return what is recommended for the data that were found, and why there is nothing if they cannot be counted."""
    from lorkit.decompose import default_config
    from lorkit.decompose.config import RegionConfig
    from lorkit.decompose.config.recommendation import Amount, recommend
    from lorkit.decompose.data.readers.region_sizes import region_sizes
    from lorkit.decompose.errors import LorkitError

    base = Path.cwd()
    regions = {entry.name: RegionConfig.model_validate(region_of(entry, base)) for entry in found if not entry.problem}
    if not regions:
        return None, ""
    config = default_config()
    try:
        sizes = region_sizes(config.model_copy(update={"regions": regions}))
    except LorkitError as error:
        return None, str(error)
    return recommend(Amount(regions=sizes), batch_size=config.train.batch_size), ""


def template(found: Sequence[FoundSource], *, base: Path, advice: Recommendation | None = None) -> str:
    """Return the text of a configuration with the regions that were found, or the built-in ones."""
    from lorkit.decompose import default_config
    from lorkit.export.rendering.templates import environment

    default = default_config()
    regions = [_region(entry, base) for entry in found] or [
        f"  {name}: {{data: phantom:{name}}}" for name in default.regions
    ]
    page = environment(Path(__file__).parent).get_template("decompose.yaml.jinja")
    return page.render(default=default, regions=regions, real=bool(found), advice=advice)


def graph_template(found: Sequence[FoundSource], about: GraphsFound, *, base: Path) -> str:
    """Return the text of a configuration for graphs: those that were found, or the built-in one."""
    from lorkit.export.rendering.templates import environment

    page = environment(Path(__file__).parent).get_template("graph.yaml.jinja")
    regions = about.settings({name: relative(path, base) for name, path in about.paths.items()})
    left_out = [_region(entry, base) for entry in found if entry.problem]
    name = next(iter(about.graphs)) if len(about.graphs) == 1 else "mine"
    return page.render(epochs=10, batch_size=64, about=about, name=name, regions="\n".join([regions, *left_out]))


def relative(path: Path, base: Path) -> str:
    """Return a path as a configuration in `base` names it."""
    return Path(os.path.relpath(path.resolve(), base)).as_posix()


def _region(entry: FoundSource, base: Path) -> str:
    if entry.problem:
        return "  # " + " ".join(f"{entry.path.name}: {entry.problem}".split())
    import yaml

    value = region_of(entry, base)
    return f"  {entry.name}: " + yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=4096).strip()


def region_of(entry: FoundSource, base: Path) -> dict[str, object]:
    """Return the section of a region for a source that was found, with paths from `base`."""
    paths = [entry.path] if entry.root is None else [entry.path, entry.root]
    data = [relative(path, base) for path in paths]
    value: dict[str, object] = {"data": data[0] if len(data) == 1 else data}
    if entry.labels:
        value |= {"task": "multilabel", "classes": list(entry.labels)}
    if entry.unlabelled is not None:
        value["unlabelled"] = relative(entry.unlabelled, base)
    return value
