"""The line of progress: whole on a wide terminal, shortened on a narrow one, never wider than that."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from lorkit.cli.output.status_line import Reading, StatusLine

LORKD = Reading(
    text="lorkd",
    part="2/4",
    done=123,
    total=400,
    losses={"ce": 0.5123, "feature_kd": 0.031, "projector": 0.002, "logit_kd": 0.12},
    rate=93.2,
    left=83.0,
    memory_mib=612.0,
)
# a phase a region, four terms, hours, thousands of steps and a GPU: the most that one line has to hold
RD = replace(
    LORKD,
    text="rd-chest",
    losses={"ce": 0.5123, "hybrid": 0.031, "kd": 0.002, "cka": 0.12},
    left=5000.0,
    memory_mib=1234.0,
    cuda_mib=3400.0,
)


def rendered(reading: Reading, width: int) -> str:
    line = StatusLine().render(reading, width)
    assert line.cell_len <= width
    return line.plain


def test_a_wide_terminal_shows_all() -> None:
    line = "lorkd 2/4  123/400  ━━━━━━━━━━━━━━━━━━━━━━━━  ce 0.512 feature_kd 0.031 projector 0.002 logit_kd 0.120"
    line += "   93 images/s  ETA 1:23  memory 612 MiB"
    assert rendered(LORKD, 200) == line
    line = "rd-chest 2/4  123/400  ━━━━━━━━━━━━━━━━━━━━━━━━  ce 0.512 hybrid 0.031 kd 0.002 cka 0.120"
    line += "   93 images/s  ETA 1:23:20  memory 1.2 GiB  GPU peak 3.3 GiB"
    assert rendered(RD, 200) == line


def test_eighty_columns_show_every_term_rate_time_and_memory() -> None:
    line = "lorkd  123/400  ce 0.51 fkd 0.03 prj 0.00 lkd 0.12   93 im/s  ETA 1:23  612 MiB"
    assert rendered(LORKD, 79) == line
    line = "rd-chest  123/400 ce 0.51 hyb 0.03 kd 0.00 cka 0.12  93 im/s ETA 1h23 1.2G+3.3G"
    assert rendered(RD, 79) == line


@pytest.mark.parametrize("reading", [LORKD, RD])
def test_what_matters_least_goes_first(reading: Reading) -> None:
    names = ("memory", "rate", "terms")
    seen: list[set[str]] = []
    for width in range(200, 11, -1):
        line = rendered(reading, width)
        there = {
            "memory": any(unit in line for unit in ("iB", "612M", "1.2G")),
            "rate": "im" in line,
            "terms": "ce " in line,
            "time": "ETA" in line,
            "step": "123/400" in line,
        }
        seen.append({name for name, found in there.items() if found})
    gone = [name for before, after in pairwise(seen) for name in before - after]
    assert gone[:3] == ["terms", "memory", "rate"], "the sum of the terms stays longer than memory"
    assert set(names) <= set(gone)
    assert gone.index("time") > 2


@pytest.mark.parametrize("width", range(8, 200, 7))
@pytest.mark.parametrize(
    "reading", [LORKD, RD, replace(LORKD, losses={}, left=None), Reading(text="", done=0, total=0)]
)
def test_no_line_is_too_long(reading: Reading, width: int) -> None:
    rendered(reading, width)


def test_a_long_path_is_cut_in_its_middle_before_a_fact_goes() -> None:
    text = "verify: runs/phantom-lorkd-b4100c0a/exports/chest/onnx-cpu-x86-fp32"
    line = rendered(Reading(text=text, done=1, total=5, left=9.0, memory_mib=612.0), 60)
    assert line.startswith("verify: runs/…")
    assert line.endswith("/onnx-cpu-x86-fp32  1/5 ETA 0:09 612M")


def test_digits_that_come_and_go_do_not_move_the_line() -> None:
    """A form that was left for a narrower one is not taken again within an epoch, and numbers keep their width."""
    status = StatusLine()
    wide = status.render(LORKD, 79).plain
    for losses in ({"ce": 12.5}, {"ce": 123.456}, {"ce": 0.001}):
        reading = replace(LORKD, done=7, losses={**LORKD.losses, **losses})
        assert len(status.render(reading, 79).plain) == len(wide)
    hours = status.render(replace(LORKD, left=50_000.0), 79).plain
    assert "13h53" in hours
    assert " ETA 1:23 612M" in status.render(LORKD, 79).plain, "the form that hours asked for stays"
    assert status.render(replace(LORKD, part="3/4"), 79).plain == wide, "a new epoch may take its room again"
    assert status.render(LORKD, 200).plain == rendered(LORKD, 200), "and so may a wider terminal"


def test_numbers_of_any_size_keep_their_meaning() -> None:
    for value, expected in ((0, "0.000"), (-0.5, "-0.50"), (99.9999, "100.0"), (12345, "12345"), (1e9, "1e+09")):
        assert f"  ce {expected}  " in rendered(replace(LORKD, losses={"ce": value}), 200)


def test_terminals_without_box_characters_get_a_plain_bar() -> None:
    line = StatusLine("-").render(replace(LORKD, done=200), 200).plain
    assert "━" not in line
    assert "  ------------              ce" in line
