"""What `decompose init` writes and says: a configuration for each kind of data that was found, or the built-in one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.cli.output.found_graphs import GraphsFound

if TYPE_CHECKING:
    from lorkit.decompose.data.readers.configuration_drafts import ConfigurationDraft
    from lorkit.decompose.data.readers.discovery import FoundSource
    from lorkit.decompose.data.readers.region_drafts import RegionDraft
    from lorkit.decompose.documents.configuration import InitDocument

TEMPLATES = Path(__file__).parent.parent / "verbs"
_PATHS = ("data", "train", "val", "test", "unlabelled")


@dataclass(frozen=True)
class Drafts:
    """Drafts of configurations.

    Attributes:
        about: The graphs that were found.
        images: One draft for each kind of images, the first for the file that the user names.
        skipped: Why a path became no region.
        graph: Whether the built-in configuration is one of graphs.
    """

    about: GraphsFound
    images: tuple[ConfigurationDraft, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    graph: bool = False

    @classmethod
    def of(cls, data: Path | None, *, label: str | None = None, graph: bool = False) -> Drafts:
        """Find data and draft what they need; the built-in configuration without any.

        Raises:
            DataError: Nothing can be trained on.
            UsageError: As for `discover`.
        """
        if data is None:
            return cls(GraphsFound.of(()), graph=graph)
        from lorkit.decompose.data.readers.configuration_drafts import draft_configurations
        from lorkit.decompose.data.readers.discovery import discover, nothing_found

        found = discover(data, label=label)
        about = GraphsFound.of(found)
        images, problems = draft_configurations(found)
        found = [_with_problem(entry, problems) for entry in found]
        if not images and not about.graphs:
            raise nothing_found(data, found)
        return cls(about, tuple(images), {str(entry.path): entry.problem for entry in found if entry.problem})

    def texts(self, out: Path) -> dict[Path, str]:
        """Return the text of every file to write; those after the first get the kind of their data as suffix."""
        base = out.resolve().parent
        if self.graph or self.about.graphs:
            return {out: _graph_text(self.about, _comments(self.skipped), base)}
        if not self.images:
            return {out: _text(None, (), base)}
        paths = [out, *(out.with_name(f"{out.stem}-{one.kind}{out.suffix}") for one in self.images[1:])]
        comments = _comments(self.skipped)
        return {
            path: _text(draft, comments if path == out else (), base)
            for path, draft in zip(paths, self.images, strict=True)
        }

    def lines(self) -> list[str]:
        """Return what the user should know, a line each."""
        lines = [f"left out {path}: {problem}" for path, problem in self.skipped.items()]
        lines += self.about.lines()
        if len(self.images) > 1:
            kinds = " and ".join(draft.kind.replace("-", " ") for draft in self.images)
            lines.append(f"{kinds} need networks of their own: one configuration for each")
        for draft in self.images:
            lines += [f"{region.name}: {line}" for region in draft.regions for line in _about(region)]
            advice = draft.advice
            lines.append(f"method {advice.method}, as a start and not a promise: {advice.why} ({advice.link})")
        return lines

    def document(self, written: Mapping[Path, Sequence[str]]) -> InitDocument:
        """Return the document: the first file and its regions, all files, what was left out, and notes.

        Args:
            written: The regions of every file.
        """
        from lorkit.decompose.documents.configuration import InitDocument

        first = next(iter(written))
        files = [{"config": path, "region_names": list(regions)} for path, regions in written.items()]
        graphs = self.about.to_json()
        notes = [f"{one.name}: {text}" for draft in self.images for one in draft.regions for text in one.notes]
        document = {
            "config": first,
            "region_names": list(written[first]),
            "files": files,
            "skipped": dict(self.skipped),
        }
        return InitDocument.model_validate({**document, "notes": notes, **graphs})


def relative(path: Path, base: Path) -> str:
    """Return a path as a configuration in `base` names it."""
    return Path(os.path.relpath(path.resolve(), base)).as_posix()


def _with_problem(entry: FoundSource, problems: Mapping[str, str]) -> FoundSource:
    from dataclasses import replace

    return replace(entry, problem=problems[entry.name]) if entry.name in problems and not entry.problem else entry


def _comments(skipped: Mapping[str, str]) -> list[str]:
    return [" ".join(f"{Path(path).name}: {problem}".split()) for path, problem in skipped.items()]


def _text(draft: ConfigurationDraft | None, comments: Sequence[str], base: Path) -> str:
    """Return the text of a configuration with the regions of a draft, or the built-in ones."""
    from lorkit.decompose import default_config
    from lorkit.export.rendering.templates import environment

    default = default_config()
    if draft is None:
        regions = [f"  {name}: {{data: phantom:{name}}}" for name in default.regions]
    else:
        regions = [line for region in draft.regions for line in _region(region, base, teaches=draft.teaches)]
    regions += [f"  # {text}" for text in comments]
    page = environment(TEMPLATES).get_template("decompose.yaml.jinja")
    advice = draft.advice if draft else None
    return page.render(default=default, regions=regions, real=bool(draft), advice=advice, draft=draft, sides=_sides)


def _sides(sides: Sequence[int]) -> str:
    """Return `64` for equal sides of a picture, else `[32, 48, 32]`."""
    return str(sides[0]) if len(sides) == 2 and sides[0] == sides[1] else str(list(sides))


def _about(region: RegionDraft) -> list[str]:
    what = [f"{region.size.images} images of {' x '.join(f'{side:.0f}' for side in region.shape)}"]
    what.append(f"{region.size.labels} {'structures' if region.size.masks else 'classes or labels'}")
    return [", ".join(what), *region.notes]


def _region(region: RegionDraft, base: Path, *, teaches: bool) -> list[str]:
    """Return the lines of a region; images without labels only where the method uses them."""
    import yaml

    value: dict[str, object] = {}
    for key, setting in region.settings.items():
        paths = [relative(Path(text), base) for text in setting] if key in _PATHS else []
        value[key] = setting if not paths else paths[0] if len(paths) == 1 else paths
    unlabelled = None if teaches else value.pop("unlabelled", None)
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1 << 20, allow_unicode=True).strip()
    notes = [f"  # {region.name}: {' '.join(note.split())}" for note in _about(region)]
    if unlabelled is not None:
        notes.append(f"  # {region.name}: a method with a teacher, such as rd, also uses  unlabelled: {unlabelled}")
    return ["".join(sign if sign.isprintable() else "?" for sign in note) for note in notes] + [
        f"  {region.name}: {text}"
    ]


def _graph_text(about: GraphsFound, comments: Sequence[str], base: Path) -> str:
    """Return the text of a configuration for graphs: those that were found, or the built-in one."""
    from lorkit.export.rendering.templates import environment

    page = environment(TEMPLATES).get_template("graph.yaml.jinja")
    regions = about.settings({name: relative(path, base) for name, path in about.paths.items()})
    left_out = [f"  # {text}" for text in comments]
    name = next(iter(about.graphs)) if len(about.graphs) == 1 else "mine"
    return page.render(epochs=10, batch_size=64, about=about, name=name, regions="\n".join([regions, *left_out]))
