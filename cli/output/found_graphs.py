"""Graphs that `decompose init` found: their part of the configuration, and what their columns were taken for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorkit.decompose.config import SplitConfig
    from lorkit.decompose.data.readers.discovery import FoundSource
    from lorkit.decompose.data.readers.graph_discovery import FoundGraph


@dataclass(frozen=True)
class GraphsFound:
    """The graphs by region, their split, and one line for each better split that they do not allow."""

    graphs: dict[str, FoundGraph]
    paths: dict[str, Path]
    split: SplitConfig | None = None
    refused: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: Sequence[FoundSource]) -> GraphsFound:
        """Return the graphs among sources; raise DataError if no split is possible for all of them."""
        graphs = {entry.name: entry.graph for entry in found if entry.graph is not None}
        paths = {entry.name: entry.path for entry in found if entry.graph is not None}
        if not graphs:
            return cls({}, {})
        from lorkit.decompose.data.readers.graph_discovery import common_split

        return cls(graphs, paths, *common_split([one.graph for one in graphs.values()]))

    @property
    def notes(self) -> list[str]:
        """What could also be meant, and which splits are not possible."""
        return [*(f"{name}: {text}" for name, one in self.graphs.items() for text in one.notes), *self.refused]

    def lines(self) -> list[str]:
        """Return a line for each column of a table, each doubt, and the split."""
        if not self.graphs:
            return []
        from lorkit.decompose.data.graphs.column_roles import roles_in_words

        lines = [text for name, one in self.graphs.items() for text in roles_in_words(one.columns, name)]
        return [*lines, *self.notes, f"split: {self._split_in_words()}"]

    def comment(self) -> list[str]:
        """Return a line for each column of the first table that is no feature, and for each doubt."""
        from lorkit.decompose.data.graphs.column_roles import roles_in_words

        name = next(iter(self.graphs), "")
        columns = [one for one in self.graphs[name].columns if one.role not in ("feature", "left out")] if name else []
        notes = [f"{name}: {text}" for text in self.graphs[name].notes] if name else []
        lines = [*roles_in_words(columns, name), *notes]
        return ["".join(sign if sign.isprintable() else "?" for sign in line) for line in lines]

    def to_json(self) -> dict[str, Any]:
        """Return the keys of the document; none without graphs."""
        if self.split is None:
            return {}
        columns = {name: [asdict(role) for role in one.columns] for name, one in self.graphs.items()}
        split = self.split.model_dump(mode="json", include={"by", "entities"})
        return {"columns": columns, "notes": self.notes, "proposed_split": split}

    def settings(self, data: dict[str, str]) -> str:
        """Return the section `regions` of a configuration; `data` has the path of each region."""
        import yaml

        regions = {name: {"data": data[name], **one.settings} for name, one in self.graphs.items()}
        text: str = yaml.safe_dump({"regions": regions}, default_flow_style=None, sort_keys=False, width=4096)
        return text.rstrip()

    @property
    def entities(self) -> str:
        """The relations that a split by entity keeps together, as YAML."""
        import yaml

        names = [] if self.split is None else list(self.split.entities)
        text: str = yaml.safe_dump(names, default_flow_style=True, width=4096)
        return text.strip()

    def _split_in_words(self) -> str:
        assert self.split is not None
        stated = any(part is not None for one in self.graphs.values() for part in one.graph.parts)
        words = {
            "group": "the parts that the file states" if stated else "random",
            "temporal": "the latest rows are for test",
            "entity": f"by {', '.join(self.split.entities)}: no key of the test part is in training",
            "random": "random, as in published results; others are stated by `decompose data`",
            "neighbour": "no test node has a training node within the hops that it sees",
        }
        return words[self.split.by]
