"""Accuracy of segmenters is judged by the Dice of each case."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.export.noninferiority.accuracy import AccuracyTest, judge_accuracy
from lorkit.export.noninferiority.cases import EvaluationCases
from lorkit.export.noninferiority.explanation import explain_accuracy
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import ExportPair, read_exported


def test_the_gate_judges_the_dice_of_each_case(flat: Path, tmp_path: Path) -> None:
    exported = read_exported(flat)
    rng = np.random.default_rng(0)
    images = rng.random((12, 1, 32, 16), dtype=np.float32)
    with load_engine(flat) as engine:
        masks = engine.run(images).argmax(1).astype(np.uint8)
        prepared = PreparedRegion(
            region=exported.region, recipe=exported.recipe, stored=images, labels=np.zeros(12, dtype=np.int64),
            groups=tuple(f"p{index // 2}" for index in range(12)), ids=("",) * 12,
            digests=tuple("abcdefghijkl"), target_names=("m",) * 12, masks=masks,
        )  # fmt: skip
        cases = EvaluationCases(read=lambda recipe: prepared, source="here")
        few, block = (
            judge_accuracy(ExportPair(exported, exported), (engine, engine), cases, AccuracyTest(allowed=allowed))
            for allowed in (0.02, 0.5)
        )
    assert few.ci[1] > 0.02, "six patients do not exclude that a tenth of the patients loses 0.2"
    assert few.needed_n == pytest.approx(2 * 36, abs=4), "36 patients do, with two cases each"
    assert [row.verdict for row in few.structures] == ["not_judged", "inconclusive"]
    assert block.metric == "dice"
    assert (block.verdict, len(block.absent)) == ("inconclusive", 1)  # nothing shows the other structure
    assert block.ci[1] < block.allowed
    assert (block.drop, block.baseline, block.flip_rate) == (0.0, 1.0, 0.0)
    assert "Mean Dice" in explain_accuracy(block)[0]
    assert [row.verdict for row in block.structures] == ["not_judged", "pass"]
    json.dumps(block.to_json(), allow_nan=False)
