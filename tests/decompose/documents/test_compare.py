from __future__ import annotations

from lorkit.decompose.documents.compare import Headline


def test_a_headline_is_found_by_the_name_of_its_metric() -> None:
    row = Headline.model_construct(balanced_accuracy=0.75, dice=None)
    assert (row.value("balanced_accuracy"), row.value("dice")) == (0.75, None)
