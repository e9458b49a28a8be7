"""What int8 costs in accuracy: four regions of real images, one ResNet-18 expert each, fp32 and int8 on the same cases.

    LORKIT_DATA=... python benchmarks/int8_accuracy.py --out DIRECTORY

Trains, extracts and exports in DIRECTORY; a repeat finds the finished run and its exports by digest and only evaluates.
Half of the cases are the test part, by patient where patients are known, so that the pooled cases can decide: the drop
of accuracy against the fp32 ONNX file on all test cases, each weighing the same, with the gate's paired interval by
patient. `balanced` weighs the 13 classes alike instead. `needed` is the number of cases that would show a drop as large
as the one seen to be below the limit. Prints a table and, with --json, one JSON document in its place.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lorkit.decompose import extract, load_config, open_run, train
from lorkit.decompose.artifacts.arrays import Float32Array, Ints
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.metrics.paired import PairedDrop, paired_difference
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.building.exporting import export
from lorkit.export.noninferiority.evidence import engine_logits
from lorkit.export.runtime.engine import load_engine

CONFIG = """\
name: four-regions
method: lorkd
seed: 0
image: {size: 64, channels: 3}
regions:
  breast: {data: "${LORKIT_DATA}/medical/breast/busi_ultrasound.npz", modality: ultrasound}
  chest: {data: "${LORKIT_DATA}/medical/chest/pneumoniamnist_balanced.npz", modality: xray}
  knee: {data: "${LORKIT_DATA}/medical/knee/knee_oa_xray.npz", modality: xray}
  blood: {data: "${LORKIT_DATA}/medical/blood/bccd_cells.npz", modality: microscopy}
split: {val: 0.1, test: 0.5, by: group}
foundation: {backbone: resnet18, epochs: 3}
student: {backbone: resnet18}
train: {precision: bf16, epochs: 5, batch_size: 64, optimizer: adamw, lr: 0.001, weight_decay: 0.05, sampling: sqrt}
lorkd: {rank: 8, alpha: 16}
"""
BASELINE = "onnx fp32"
LIMIT = 0.01
"""Drop that the interval should exclude, a fraction."""


class Cases(NamedTuple):
    """Test cases of a region: the place of each one's class among those of all regions, and its patient."""

    label_N: Ints
    group_N: Sequence[str]
    logits: dict[str, Float32Array]
    first: int

    def hits(self, arm: str) -> np.ndarray:
        """Return which cases an engine has right."""
        found: np.ndarray = self.logits[arm].argmax(1) == self.label_N - self.first
        return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True, help="directory of the run, kept for repeats")
    arguments.add_argument("--targets", default="onnx,openvino", help="whose int8 is compared, by commas")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--json", action="store_true", help="print one JSON document")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    os.chdir(options.out)
    config = Path("four-regions.yaml")
    config.write_text(CONFIG, encoding="utf-8")
    run = open_run(train(load_config(config)).run)
    extract(run)
    arms = [f"{target} int8" for target in options.targets.split(",")]
    cases = _cases(run.path, arms)
    rows = [_row(name, [part], arm) for arm in arms for name, part in cases.items()]
    rows += [_row("pooled", list(cases.values()), arm) for arm in arms]
    document = {"machine": fingerprint(), "versions": tool_versions(), "run": run.id, "limit": LIMIT, "rows": rows}
    print(json.dumps(document, indent=1) if options.json else _table(rows))


def _cases(run: Path, arms: Sequence[str]) -> dict[str, Cases]:
    """Export every expert and run its test cases through each engine."""
    opened, found, first = open_run(run), dict[str, Cases](), 0
    paths = {arm: {one.region: one.path for one in _exported(run, *arm.split())} for arm in (BASELINE, *arms)}
    splits = RunSplits(opened)
    for name in opened.regions.names:
        test = splits.part(name, "test")
        logits = {}
        for arm, exports in paths.items():
            engine = load_engine(exports[name], threads=1)
            logits[arm] = engine_logits(engine, test)
            engine.close()
        assert test.labels is not None
        groups = [f"{name} {group}" for group in test.groups]
        found[name] = Cases(np.asarray(test.labels) + first, groups, logits, first)
        first += len(opened.regions.get(name).classes)
    return found


def _exported(run: Path, target: str, precision: str) -> list[Any]:
    return list(export(run, target=target, precision=precision, owners=("expert",)).exports)


def _row(name: str, parts: Sequence[Cases], arm: str) -> dict[str, Any]:
    """Compare an engine with the fp32 file on the cases of some regions."""
    label_N = np.concatenate([part.label_N for part in parts])
    group_N = [group for part in parts for group in part.group_N]
    sides = [np.concatenate([part.hits(one) for part in parts]) for one in (BASELINE, arm)]
    changed = [part.logits[BASELINE].argmax(1) != part.logits[arm].argmax(1) for part in parts]
    # one class for all: every case weighs the same
    drops = {
        "accuracy": paired_difference(np.zeros_like(label_N), *sides, group_N),
        "balanced": paired_difference(label_N, *sides, group_N),
    }
    return {
        "cases": name,
        "engine": arm,
        "n": len(label_N),
        "groups": len(set(group_N)),
        "changed": int(sum(part.sum() for part in changed)),
        **{metric: _figures(drop) for metric, drop in drops.items()},
    }


def _figures(drop: PairedDrop) -> dict[str, Any]:
    assert drop.uncertainty is not None
    needed = drop.uncertainty.needed(LIMIT, drop.n)
    return {"fp32": drop.baseline, "int8": drop.candidate, "drop": drop.drop, "ci": list(drop.ci), "needed": needed}


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| engine | cases | n | patients or images | accuracy in fp32 | balanced | labels changed "
        "| drop of accuracy, points | drop of balanced accuracy, points | cases needed |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        one, even = row["accuracy"], row["balanced"]
        drops = [
            f"{100 * each['drop']:.2f} [{100 * each['ci'][0]:.2f}, {100 * each['ci'][1]:.2f}]" for each in (one, even)
        ]
        cells = [row["engine"], row["cases"], f"{row['n']:,}", f"{row['groups']:,}", f"{one['fp32']:.3f}"]
        cells += [f"{even['fp32']:.3f}", f"{row['changed']}", *drops, f"{one['needed']:,}" if one["needed"] else "-"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
