from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.predict import PredictDocument, PredictingNetwork
from lorkit.export.prediction import multilabel
from lorkit.export.prediction.preparation import PreparedImage, RegionCheckResult

NAMES = ["effusion", "nodule", "mass"]


class Info:
    """What a prediction reads of an expert or export."""

    classes = NAMES
    decision: Decision | None = Decision(policy="youden", thresholds={"effusion": 0.3, "nodule": 0.8, "mass": None})


CHECK = RegionCheckResult(False, 1.0, 2.0)
IMAGE = PreparedImage(Path("a.png"), np.zeros((1, 4, 4), dtype=np.float32), (4, 4), CHECK, None, ())
LOGITS = np.array([0.0, 1.0, -1.0], dtype=np.float32)


def test_each_label_is_answered_by_its_own_threshold() -> None:
    info: Any = Info()
    found = multilabel.row(info, IMAGE, LOGITS)
    assert found.labels is not None
    assert [one.answer for one in found.labels.values()] == ["positive", "negative", "uncertain"]
    assert [one.probability for one in found.labels.values()] == pytest.approx([0.5, 0.7310586, 0.2689414])
    assert [one.threshold for one in found.labels.values()] == [0.3, 0.8, None]
    assert multilabel.row(info, IMAGE, None).refused
    info.decision = None
    unknown = multilabel.row(info, IMAGE, LOGITS).labels or {}
    assert {one.answer for one in unknown.values()} == {"uncertain"}


def test_the_table_has_a_probability_and_an_answer_per_label() -> None:
    info: Any = Info()
    network = PredictingNetwork(
        path="x", kind="export", digest="0" * 64, owner="expert", target="onnx", precision="fp32"
    )
    rows = [multilabel.row(info, IMAGE, logits) for logits in (LOGITS, None)]
    document = PredictDocument(
        not_for_diagnosis=True,
        synthetic=True,
        region="chest",
        task="multilabel",
        classes=NAMES,
        network=network,
        predictions=rows,
    )
    assert multilabel.table(document) == [
        ["input", "out_of_region", "p_effusion", "p_nodule", "p_mass", *NAMES],
        ["a.png", "false", "0.500000", "0.731059", "0.268941", "positive", "negative", "uncertain"],
        ["a.png", "false", "", "", "", "", "", ""],
    ]
