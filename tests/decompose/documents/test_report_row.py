from __future__ import annotations

from lorkit.decompose.documents.report_row import ReportRow


def test_a_metric_is_found_by_name_and_one_of_another_task_is_undefined() -> None:
    row = ReportRow.model_construct(balanced_accuracy=0.75)
    assert (row.value("balanced_accuracy"), row.value("dice")) == (0.75, None)
