"""The document of a comparison from finished cells: rows, pairs of methods, and the table."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lorkit.decompose.artifacts.arrays import Ints
from lorkit.decompose.documents.base import combine, narrow
from lorkit.decompose.documents.compare import (
    CellRow,
    ComparedFoundation,
    CompareDocument,
    ComparedPair,
    ComparisonRow,
    Costs,
    MethodRow,
    MethodSummary,
    PredictedRegions,
)
from lorkit.decompose.evaluation.comparison.cells import (
    Cell,
    ScoreInputsByRegion,
    scores_by_case,
)
from lorkit.decompose.evaluation.comparison.chance import unproven
from lorkit.decompose.evaluation.comparison.compared_methods import FOUNDATION
from lorkit.decompose.evaluation.comparison.comparison_data import ComparisonData
from lorkit.decompose.evaluation.comparison.controls import controlled
from lorkit.decompose.evaluation.comparison.costs import deployed_cost
from lorkit.decompose.evaluation.comparison.measuring import scored_parts
from lorkit.decompose.evaluation.comparison.paired_differences import CaseScores, PairedDifferences
from lorkit.decompose.evaluation.comparison.score_blocks import Parts, needs_validation, score_blocks
from lorkit.decompose.evaluation.comparison.unknown_region import same_recipe
from lorkit.decompose.evaluation.inference import collect_score_inputs
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.cost import count_parameters, training_macs
from lorkit.decompose.models.deployable import Deployable
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import TeacherBackbone

FEW_SEEDS = 3
_COSTS = ("parameters", "macs", "deployed_bytes", "training_parameters", "training_macs")
MethodFraction = tuple[str, float]
_UNKNOWN = ", region unknown"
"""After a label: the same networks, which are not told the region of an image."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedFoundation:
    """The foundation as a compared method, which does not depend on seed or fraction."""

    document: ComparedFoundation
    score_inputs: ScoreInputsByRegion


def evaluate_foundation(foundation: Foundation, data: ComparisonData) -> EvaluatedFoundation:
    """Score the foundation, with its own heads or linear probes."""
    data = data.for_teacher
    networks = {name: foundation.model.deployable(name) for name in data.training_data.regions.names}
    parts: Parts = {data.split: data.scored_part}
    if any(needs_validation(one) for one in data.scored_part.values()):
        parts = scored_parts(data)
    found = {
        split: {name: collect_score_inputs(network, part[name]) for name, network in networks.items()}
        for split, part in parts.items()
    }
    document = ComparedFoundation(
        backbone=foundation.backbone,
        head_kinds=dict(foundation.heads),
        regions=score_blocks(found, parts, data.policies)[data.split],
        **_costs_of(foundation, networks, data.shape),
        ci=None,
    )
    return EvaluatedFoundation(document=document, score_inputs=found[data.split])


def _costs_of(
    foundation: Foundation, networks: Mapping[str, Deployable], shape: tuple[int, ...]
) -> Mapping[str, int | None]:
    """Return the costs of the foundation; null for a teacher that torch does not run."""
    backbone = foundation.model.backbone
    if isinstance(backbone, TeacherBackbone) and not backbone.has_modules:
        return dict.fromkeys(_COSTS)
    training = count_parameters(foundation.model), training_macs(foundation.model, shape)
    return {
        **dict(deployed_cost((one.network for one in networks.values()), shape)),
        **dict(zip(("training_parameters", "training_macs"), training, strict=True)),
    }


class ComparisonDocument:
    """Cells by method, fraction and seed, and the results that follow.

    Args:
        name: Name of the comparison's directory.
        data: Data and teacher.
        foundation: The scored foundation.
        differences: Draws on the scored cases.
    """

    def __init__(
        self, name: str, data: ComparisonData, foundation: EvaluatedFoundation | None, differences: PairedDifferences
    ) -> None:
        self.name, self.data, self.foundation, self.differences = name, data, foundation, differences

    def build(self, methods: Sequence[MethodRow], entries: Sequence[tuple[str, Cell]]) -> CompareDocument:
        """Return a `compare` document.

        Args:
            methods: The row of every label, in the order of the table.
            entries: Label and cell, in the order of the rows.
        """
        rows = list(_with_unknown(entries))
        groups: dict[MethodFraction, dict[int, Cell]] = {}
        for label, cell in rows:
            groups.setdefault((label, cell.row.fraction), {})[cell.row.seed] = cell
        fractions = list(dict.fromkeys(fraction for _, fraction in groups))
        labels = [label for method in methods for label in (method.label, method.label + _UNKNOWN)]
        keys = [(label, part) for part in fractions for label in labels if (label, part) in groups]
        pairs = [*self._against_the_foundation(groups, keys), *self._pairs(groups, keys)]
        document = CompareDocument(
            warnings=self._warnings(groups, methods),
            id=self.name,
            machine=fingerprint(),
            synthetic=self.data.training_data.regions.synthetic,
            split=self.data.split,
            metric=self.differences.metric,
            equal_budget=self.data.budget,
            arms=list(methods),
            foundation=self._foundation(),
            rows=[combine(ComparisonRow, cell.row, label=label) for label, cell in rows],
            compared_pairs=pairs,
            table=[self._summary(key, groups[key]) for key in keys],
        )
        backbone = "" if self.foundation is None else self.foundation.document.backbone
        found = controlled(methods, keys, pairs, backbone)
        return document.with_changes(controls=found) if found else document

    def _warnings(self, groups: Mapping[MethodFraction, Mapping[int, Cell]], methods: Sequence[MethodRow]) -> list[str]:
        warnings = [
            f"'{method.label}' was trained with its own settings: {', '.join(method.settings)}"
            for method in methods
            if any(setting.startswith("train.") for setting in method.settings)
        ]
        fewest = min((len(cells) for cells in groups.values()), default=0)
        if fewest == 1:
            warnings.append("1 seed: intervals do not include the variation between trainings")
        elif fewest < FEW_SEEDS:
            warnings.append(f"{fewest} seeds: intervals include little of the variation between trainings")
        if self.data.split == "val":
            warnings.append(
                "split val also chose the epoch of each training: use it to choose settings, not to report results"
            )
        if any(get_method(method.method).routed for method in methods) and not same_recipe(self.data.scored_part):
            warnings.append(
                "regions are prepared differently (window, intensity or size): routers are scored with the region only"
            )
        return warnings + self._unproven(groups)

    def _unproven(self, groups: Mapping[MethodFraction, Mapping[int, Cell]]) -> list[str]:
        models = {"the foundation": [self.foundation.score_inputs]} if self.foundation is not None else {}
        for (label, fraction), cells in groups.items():
            title = f"'{label}'" + ("" if fraction == 1.0 else f" at fraction {fraction:g}")
            models[title] = [cell.score_inputs for cell in cells.values()]
        scored = self.data.scored_part
        return [text for title, found in models.items() for text in unproven(title, found, scored)]

    def _foundation(self) -> ComparedFoundation | None:
        if self.foundation is None:
            return None
        value, ci = self.differences.mean(self.differences.rates(self._cases([self.foundation.score_inputs])))
        document = self.foundation.document
        found = {**self._beside([document]), self.differences.metric: _number(value)}
        return document.with_changes(**found, ci=ci)

    def _against_the_foundation(
        self, groups: Mapping[MethodFraction, Mapping[int, Cell]], keys: Sequence[MethodFraction]
    ) -> list[ComparedPair]:
        if self.foundation is None:
            return []
        baseline = self._cases([self.foundation.score_inputs])
        return [
            self._pair(FOUNDATION, key, sorted(groups[key]), (baseline, self._of(groups[key], sorted(groups[key]))))
            for key in keys
        ]

    def _pairs(
        self, groups: Mapping[MethodFraction, Mapping[int, Cell]], keys: Sequence[MethodFraction]
    ) -> list[ComparedPair]:
        """Compare each two methods of one fraction on their common seeds."""
        pairs = []
        for one, two in itertools.combinations(keys, 2):
            seeds = sorted(groups[one].keys() & groups[two].keys())
            if one[1] == two[1] and seeds:
                sides = self._of(groups[one], seeds), self._of(groups[two], seeds)
                pairs.append(self._pair(one[0], two, seeds, sides))
        return pairs

    def _summary(self, key: MethodFraction, cells: Mapping[int, Cell]) -> MethodSummary:
        rows, metric = [cells[seed].row for seed in sorted(cells)], self.differences.metric
        names = list(rows[0].regions)
        # an undefined metric is NaN here and null in the document
        values = np.array([[row.regions[name].value(metric) for name in names] for row in rows], dtype=np.float64)
        means = values.mean(1)
        _, interval = self.differences.mean(self.differences.rates(self._of(cells, sorted(cells))))
        summary = MethodSummary(
            label=key[0],
            method=rows[0].method,
            fraction=key[1],
            seed_count=len(rows),
            sd=_number(means.std(ddof=1)) if len(rows) > 1 else None,
            ci=interval if np.isfinite(means).all() else None,
            regions={name: _number(value) for name, value in zip(names, values.mean(0), strict=True)},
            exposure=rows[0].exposure,
            **dict(narrow(Costs, rows[0])),
            train_seconds=float(np.mean([row.train_seconds for row in rows])),
        ).with_changes(**self._beside(rows), **{metric: _number(means.mean())})
        if rows[0].random_teacher:
            summary = summary.with_changes(random_teacher=True)
        if not all(cell.predicted for cell in cells.values()):
            return summary
        return summary.with_changes(prediction=self._prediction([cells[seed].predicted for seed in sorted(cells)]))

    def _beside(self, rows: Sequence[CellRow | ComparedFoundation]) -> dict[str, float | None]:
        """Return the AUROC of nodes, whose headline metric is the average precision."""
        if self.differences.metric != "ap":
            return {}
        values = np.array([[one.value("auroc") for one in row.regions.values()] for row in rows], dtype=np.float64)
        return {"auroc": _number(values.mean())}

    def _prediction(self, models: Sequence[Mapping[str, Ints]]) -> PredictedRegions:
        names = self.data.training_data.regions.names
        predicted = {name: np.stack([found[name] for found in models]) for name in names}
        right = {name: (predicted[name] == names.index(name)).astype(np.float64) for name in names}
        value, ci = self.differences.mean_of_shares(right)
        return PredictedRegions(
            right=value,
            ci=ci,
            regions={name: float(right[name].mean()) for name in names},
            confusion_by_region={
                name: {other: int((predicted[name] == index).sum()) for index, other in enumerate(names)}
                for name in names
            },
        )

    def _of(self, cells: Mapping[int, Cell], seeds: Sequence[int]) -> CaseScores:
        return self._cases([cells[seed].score_inputs for seed in seeds])

    def _cases(self, models: Sequence[ScoreInputsByRegion]) -> CaseScores:
        return {
            name: np.stack([scores_by_case(part, score_inputs[name]) for score_inputs in models])
            for name, part in self.data.scored_part.items()
        }

    def _pair(
        self, baseline: str, candidate: MethodFraction, seeds: Sequence[int], sides: tuple[CaseScores, CaseScores]
    ) -> ComparedPair:
        return ComparedPair(
            baseline=baseline,
            candidate=candidate[0],
            fraction=candidate[1],
            seeds=list(seeds),
            metric=self.differences.metric,
            **dict(self.differences.pair(*sides)),
        )


def _with_unknown(entries: Iterable[tuple[str, Cell]]) -> Iterator[tuple[str, Cell]]:
    """Yield label and cell, followed by the results of the same networks where the region is unknown."""
    for label, cell in entries:
        yield label, cell
        if cell.unknown is not None:
            yield label + _UNKNOWN, cell.unknown


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
