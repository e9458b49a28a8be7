from __future__ import annotations

import numpy as np
import pytest

from lorkit.decompose.errors import UsageError
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import TASKS, dense_outputs, get_task, headline


def test_tasks_are_found_by_name() -> None:
    assert all(get_task(name).name == name for name in TASKS)
    with pytest.raises(UsageError, match=r"unknown task 'segmentatoin'.*did you mean 'segmentation'"):
        get_task("segmentatoin")


def test_outputs_are_maps_where_a_task_has_masks() -> None:
    label, mask = (Region(name="a", task=task, classes=("x", "y")) for task in ("classification", "segmentation"))
    assert (dense_outputs([label]), dense_outputs([mask]), dense_outputs([])) == (False, True, False)


def test_the_headline_is_the_mean_over_classes_of_the_mean_over_cases_where_defined() -> None:
    assert headline(np.array([[1.0, np.nan], [0.0, 0.2], [np.nan, np.nan]])) == pytest.approx((0.5 + 0.2) / 2)
