"""Reminders: after each silence, not beside other lines, never after the end."""

from __future__ import annotations

import itertools
import time

from lorkit.cli.output.reminder import PERIOD_S, Reminder


def test_a_silent_minute_gets_a_line() -> None:
    assert PERIOD_S < 60


def test_each_silence_gets_a_line_and_the_end_gets_none() -> None:
    told: list[float] = []
    reminder = Reminder(told.append, period=0.05)
    reminder.start()
    deadline = time.monotonic() + 20
    while len(told) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    reminder.stop()
    count = len(told)
    assert count >= 3
    assert told[0] >= 0.05
    assert all(later - earlier >= 0.05 for earlier, later in itertools.pairwise(told))
    time.sleep(0.15)
    assert len(told) == count


def test_lines_of_others_put_it_off() -> None:
    told: list[float] = []
    reminder = Reminder(told.append, period=30.0)
    reminder.start()
    reminder.spoken()
    reminder.stop()
    reminder.stop()
    assert told == []


def test_one_that_never_began_can_be_stopped() -> None:
    Reminder(print).stop()
