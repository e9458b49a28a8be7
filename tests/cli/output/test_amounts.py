from __future__ import annotations

from lorkit.cli.output.amounts import clock, size


def test_amounts_are_in_the_largest_unit_that_fits() -> None:
    assert [clock(one) for one in (-1.0, 0.4, 65.0, 3599.6, 7384.0)] == ["0:00", "0:00", "1:05", "1:00:00", "2:03:04"]
    assert [size(one) for one in (0.0, 999.4, 1000.0, 1536.0)] == ["0 MiB", "999 MiB", "1.0 GiB", "1.5 GiB"]
