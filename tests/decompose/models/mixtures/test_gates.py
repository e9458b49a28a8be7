from __future__ import annotations

import copy

import pytest
import torch

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.mixtures.gates import Gates, by_row


def test_a_table_is_read_by_id_or_mixed() -> None:
    gates, table = Gates(), torch.arange(12.0).view(3, 2, 2)
    gates.pick(torch.tensor([2, 0]))
    torch.testing.assert_close(gates.mix(table), table[[2, 0]])
    gates.weigh(torch.tensor([[0.5, 0.5, 0.0]]))
    torch.testing.assert_close(gates.mix(table), (table[:1] + table[1:2]) / 2)


def test_equal_tables_are_read_once_for_each_batch() -> None:
    gates, table = Gates(), torch.arange(3.0)
    gates.pick(torch.tensor([1]))
    assert gates.mix(table, "key") is gates.mix(table, "key")
    assert gates.mix(table) is not gates.mix(table)
    first = gates.mix(table, "key")
    gates.pick(torch.tensor([2]))
    assert float(first) == 1.0
    assert float(gates.mix(table, "key")) == 2.0


def test_a_copy_holds_no_batch() -> None:
    gates = Gates()
    gates.pick(torch.tensor([1]))
    with pytest.raises(UsageError, match="without gates"):
        copy.deepcopy(gates).mix(torch.zeros(3))


def test_rows_of_a_sample_follow_one_another() -> None:
    assert by_row(torch.tensor([1, 2]), torch.zeros(6)).tolist() == [1, 1, 1, 2, 2, 2]
