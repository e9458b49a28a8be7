"""The cases of the gate's accuracy test, without those that either side was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lorkit.decompose.artifacts.keys import KEY_FILE, DirectoryKey
from lorkit.decompose.documents.gate import Side
from lorkit.decompose.errors import DataError, fit_for_artifact
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.lineage import RunFinder
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.noninferiority.cases import EvaluationCases, cases_of_file, cases_of_split
from lorkit.export.runtime.exported import ExportPair


@dataclass(frozen=True)
class GateCases:
    """Finds the cases of each pair; runs are opened and their splits read once for all of them.

    Attributes:
        home: The run whose locked test split is used without a file.
        finder: Finds the runs of both sides.
        data: A file of cases.
    """

    home: Run | None
    finder: RunFinder
    data: Path | str | None

    def of(self, pair: ExportPair) -> EvaluationCases | str:
        """Return the cases of the accuracy test: the file, else the run's locked test split; or why there are none.

        Raises:
            DataError: The named file cannot be used. A missing locked split only leaves accuracy undecided.
        """
        if self.data is not None:
            found = cases_of_file(Path(self.data), pair)
        elif self.home is None:
            return "there is neither --data nor a run with a locked test split"
        elif pair.region not in self.home.regions.names:
            return f"the run {self.home.id} has no region '{pair.region}', and there is no --data"
        else:
            try:
                found = cases_of_split(self._splits, pair.region)
            except DataError as error:
                return f"the locked test split cannot be read ({fit_for_artifact(error)})"
        homes = {side: self.finder.of_export(one.manifest) for side, one in pair.sides.items()}
        lineages = {side: None if run is None else self.finder.lineage(run) for side, run in homes.items()}
        others = {side: one.unreadable for side, one in lineages.items() if one is not None and one.unreadable}
        if others and self.data is None:
            return _ask_for_data(others)
        return replace(
            found,
            key=found.key if self.home is None else DirectoryKey(self.home.path.parent),
            seen={side: None if one is None else one.training_cases for side, one in lineages.items()},
            unknown_ancestors=frozenset(side for side, one in lineages.items() if one is not None and not one.complete)
            | others.keys(),
        )

    @cached_property
    def _splits(self) -> RunSplits:
        assert self.home is not None
        return RunSplits(self.home)


def _ask_for_data(others: Mapping[Side, tuple[str, ...]]) -> str:
    """Return why a locked split decides nothing: nobody can tell whether one side was trained on its cases."""
    names = " and ".join(f"the {side} ({', '.join(regions)})" for side, regions in others.items())
    return (
        f"the training cases of {names} are known by a key that is not beside its run: name cases that neither side "
        f"was trained on with --data, or copy {KEY_FILE} of the directory that the run is from"
    )
