"""Accuracy of segmenters is judged by the Dice of each case."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.samples.originals import OriginalMasks
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
            originals=OriginalMasks(
                masks=masks, spacings=(None,) * 12, tolerances=(1.0, 1.0), indices=tuple(range(12))
            ),
        )  # fmt: skip
        cases = EvaluationCases(read=lambda recipe: prepared, source="here")
        manifest = exported.manifest.model_copy(update={"digest": "0" * 64})
        other = replace(exported, manifest=manifest)
        twice = SimpleNamespace(
            run=lambda images: 2 * engine.run(images), provider=""
        )  # other outputs, the same answers
        few, block, equal, same = (
            judge_accuracy(ExportPair(exported, one), (engine, two), cases, AccuracyTest(allowed=allowed))
            for one, two, allowed in (
                (other, twice, 0.02), (other, twice, 0.5), (other, engine, 0.0), (exported, engine, 0.0)
            )
        )  # fmt: skip
    assert few.ci[1] > 0.02, "six patients do not exclude that a tenth of the patients loses 0.2"
    assert few.needed_n == pytest.approx(2 * 36, abs=4), "36 patients do, with two cases each"
    assert [row.verdict for row in few.by_structure] == ["not_judged", "inconclusive"]
    assert block.metric == "dice"
    assert (block.verdict, block.identical) == ("inconclusive", None)
    assert len(block.absent) == 1  # nothing shows the other structure
    assert block.ci[1] < block.allowed
    assert (block.drop, block.baseline, block.flip_rate) == (0.0, 1.0, 0.0)
    assert "Mean Dice does not change" in explain_accuracy(block)[0]
    assert [row.verdict for row in block.by_structure] == ["not_judged", "pass"]
    json.dumps(block.to_json(), allow_nan=False)
    assert [(one.verdict, one.identical, one.ci) for one in (equal, same)] == [
        ("pass", "outputs", (0.0, 0.0)), ("pass", "file", (0.0, 0.0))
    ]  # fmt: skip
    for one in (equal, same):
        rows = [one, *(row for row in one.by_structure if row.drop is not None)]
        assert [(row.drop, row.ci, row.p_worse, row.p_within) for row in rows] == [(0.0, (0.0, 0.0), 1.0, 0.0)] * 2
        assert (one.decidable, one.needed_n) == (0.0, None)
    assert "the same file: the drop is 0 by construction" in explain_accuracy(same)[0]
