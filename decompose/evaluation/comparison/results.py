"""The document of a comparison: rows, what each two arms differ by, and the table, from cells that are finished."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorkit.decompose.artifacts import SCHEMA_VERSION
from lorkit.decompose.evaluation.comparison.cells import Bench, Cell, Evidences, block_of, cases_of, cost_of
from lorkit.decompose.evaluation.comparison.compared_methods import FOUNDATION
from lorkit.decompose.evaluation.comparison.paired_differences import Cases, Contrasts
from lorkit.decompose.evaluation.inference import collect_score_inputs
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.models.cost import count_parameters, training_macs
from lorkit.decompose.models.deployable import Deployable
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import TeacherBackbone

FEW_SEEDS = 3
_COSTS = ("parameters", "macs", "deployed_bytes", "training_parameters", "training_macs")
Key = tuple[str, float]


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The foundation as a contender of its own: nothing of it depends on a seed or fraction."""

    document: dict[str, Any]
    evidence: Evidences


def judge(foundation: Foundation, bench: Bench) -> Teacher:
    """Judge the foundation, with its own heads or the probes."""
    bench = bench.seen_by_teacher
    networks = {name: foundation.model.deployable(name) for name in bench.material.regions.names}
    found = {name: collect_score_inputs(network, bench.judged[name]) for name, network in networks.items()}
    document = {
        "backbone": foundation.backbone,
        "heads": dict(foundation.heads),
        "regions": {name: block_of(bench.judged[name], evidence) for name, evidence in found.items()},
        **_costs_of(foundation, networks, bench.shape),
    }
    return Teacher(document=document, evidence=found)


def _costs_of(foundation: Foundation, networks: Mapping[str, Deployable], shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what it costs; null of a teacher that torch does not run."""
    backbone = foundation.model.backbone
    if isinstance(backbone, TeacherBackbone) and not backbone.has_modules:
        return dict.fromkeys(_COSTS)
    training = {"training_parameters": count_parameters(foundation.model)}
    return {**cost_of(networks, shape), **training, "training_macs": training_macs(foundation.model, shape)}


class Standings:
    """Cells by arm, fraction and seed, and what follows from them.

    Args:
        name: Of the comparison's directory.
        bench: Data and teacher.
        teacher: The judged foundation.
        contrasts: Draws on the judged cases.
    """

    def __init__(self, name: str, bench: Bench, teacher: Teacher | None, contrasts: Contrasts) -> None:
        self.name, self.bench, self.teacher, self.contrasts = name, bench, teacher, contrasts

    def document(self, arms: Sequence[Mapping[str, Any]], entries: Sequence[tuple[str, Cell]]) -> dict[str, Any]:
        """Return a `compare` document.

        Args:
            arms: `Arm.to_json` of every label, in the order of the table.
            entries: Label and cell, in the order of the rows.
        """
        groups: dict[Key, dict[int, Cell]] = {}
        for label, cell in entries:
            groups.setdefault((label, cell.row["fraction"]), {})[cell.row["seed"]] = cell
        fractions = list(dict.fromkeys(fraction for _, fraction in groups))
        keys = [(arm["label"], part) for part in fractions for arm in arms if (arm["label"], part) in groups]
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "compare",
            "warnings": self._warnings(groups, arms),
            "id": self.name,
            "machine": fingerprint(),
            "synthetic": self.bench.material.regions.synthetic,
            "split": self.bench.split,
            "metric": self.contrasts.metric,
            "arms": list(arms),
            "foundation": self._foundation(),
            "rows": [{"label": label, **cell.row} for label, cell in entries],
            "pairs": [*self._against_the_foundation(groups, keys), *self._pairs(groups, keys)],
            "table": [self._summary(key, groups[key]) for key in keys],
        }

    def _warnings(self, groups: Mapping[Key, Mapping[int, Cell]], arms: Sequence[Mapping[str, Any]]) -> list[str]:
        warnings = [
            f"'{arm['label']}' was trained under settings of its own: {', '.join(arm['settings'])}"
            for arm in arms
            if any(setting.startswith("train.") for setting in arm["settings"])
        ]
        fewest = min((len(cells) for cells in groups.values()), default=0)
        if fewest == 1:
            warnings.append("1 seed: intervals cover cases, not the luck of training")
        elif fewest < FEW_SEEDS:
            warnings.append(f"{fewest} seeds: intervals know little of the luck of training")
        if self.bench.split == "val":
            warnings.append("split val chose each cell's epoch: good for choosing settings, too good for reporting")
        return warnings

    def _foundation(self) -> dict[str, Any] | None:
        if self.teacher is None:
            return None
        return {
            **self.teacher.document,
            **self.contrasts.mean(self.contrasts.rates(self._cases([self.teacher.evidence]))),
        }

    def _against_the_foundation(
        self, groups: Mapping[Key, Mapping[int, Cell]], keys: Sequence[Key]
    ) -> list[dict[str, Any]]:
        if self.teacher is None:
            return []
        baseline = self._cases([self.teacher.evidence])
        return [
            {
                **self._head(FOUNDATION, key, sorted(groups[key])),
                **self.contrasts.pair(baseline, self._of(groups[key], sorted(groups[key]))),
            }
            for key in keys
        ]

    def _pairs(self, groups: Mapping[Key, Mapping[int, Cell]], keys: Sequence[Key]) -> list[dict[str, Any]]:
        """Compare each two arms of one fraction on the seeds that both have."""
        pairs = []
        for one, two in itertools.combinations(keys, 2):
            seeds = sorted(groups[one].keys() & groups[two].keys())
            if one[1] == two[1] and seeds:
                sides = self._of(groups[one], seeds), self._of(groups[two], seeds)
                pairs.append({**self._head(one[0], two, seeds), **self.contrasts.pair(*sides)})
        return pairs

    def _summary(self, key: Key, cells: Mapping[int, Cell]) -> dict[str, Any]:
        """Average the rows of one arm and fraction over seeds."""
        rows = [cells[seed].row for seed in sorted(cells)]
        names = list(rows[0]["regions"])
        # a metric that the split leaves undefined is NaN here and null in the document
        values = np.array(
            [[row["regions"][name][self.contrasts.metric] for name in names] for row in rows], dtype=np.float64
        )
        means = values.mean(1)
        interval = self.contrasts.mean(self.contrasts.rates(self._of(cells, sorted(cells))))["ci"]
        return {
            "label": key[0],
            "method": rows[0]["method"],
            "fraction": key[1],
            "seeds": len(rows),
            self.contrasts.metric: _number(means.mean()),
            "sd": _number(means.std(ddof=1)) if len(rows) > 1 else None,
            "ci": interval if np.isfinite(means).all() else None,
            "regions": {name: _number(value) for name, value in zip(names, values.mean(0), strict=True)},
            **{name: rows[0][name] for name in _COSTS},
            "train_seconds": float(np.mean([row["train_seconds"] for row in rows])),
        }

    def _of(self, cells: Mapping[int, Cell], seeds: Sequence[int]) -> Cases:
        return self._cases([cells[seed].evidence for seed in seeds])

    def _cases(self, models: Sequence[Evidences]) -> Cases:
        return {
            name: np.stack([cases_of(part, evidence[name]) for evidence in models])
            for name, part in self.bench.judged.items()
        }

    def _head(self, baseline: str, candidate: Key, seeds: Sequence[int]) -> dict[str, Any]:
        return {
            "baseline": baseline,
            "candidate": candidate[0],
            "fraction": candidate[1],
            "seeds": list(seeds),
            "metric": self.contrasts.metric,
        }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
