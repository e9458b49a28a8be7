"""The share of a teacher's terms, by region, from validation scores."""

from __future__ import annotations

import pytest
import torch

from lorkit.decompose.methods.teaching_shares import TeachingShares, teaching_share


@pytest.mark.parametrize(
    ("teacher", "student", "chance", "share"),
    [(0.9, 0.8, 0.5, 1.0), (0.65, 0.8, 0.5, 0.5), (0.5, 0.8, 0.5, 0.0), (0.4, 0.8, 0.5, 0.0), (0.3, 0.4, 0.5, 1.0)],
)
def test_a_teacher_at_chance_teaches_nothing(teacher: float, student: float, chance: float, share: float) -> None:
    assert teaching_share(teacher, student, chance) == pytest.approx(share)


def test_regions_have_shares_of_their_own_that_checkpoints_keep() -> None:
    shares = TeachingShares(("a", "b"))
    terms = {"b": torch.tensor(3.0, dtype=torch.float64), "a": torch.tensor(2.0, dtype=torch.float64)}
    assert shares(terms) == terms
    shares.compare({"a": 0.65, "b": 0.9}, {"a": 0.5, "b": 0.5})
    shares.update({"a": 0.8, "b": 0.8})
    found = shares(terms)
    assert (float(found["a"]), float(found["b"])) == (pytest.approx(1.0), 3.0)
    other = TeachingShares(("a", "b"))
    other.load_state_dict(shares.state_dict())
    assert other(terms) == found
