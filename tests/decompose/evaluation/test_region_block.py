"""The block of a region: its scores and what they were measured with."""

from __future__ import annotations

import numpy as np
from routed_models import routed_images

from lorkit.decompose.evaluation.region_block import region_block


def test_a_block_has_the_scores_of_its_task_and_their_source() -> None:
    prepared = routed_images("b", 4, 0)  # all of the first of three classes
    logits = np.array([[2.0, 0, 0], [0, 1, 0], [3, 0, 1], [1, 0, 0]])
    found = region_block(prepared, logits, None, source="live", synthetic=False)
    assert (found.task, found.source, found.synthetic) == ("classification", "live", False)
    assert found.classes == list(prepared.region.classes)
    assert found.value("accuracy") == 0.75
    assert region_block(prepared, logits, None, source="live", synthetic=True).synthetic
