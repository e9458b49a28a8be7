"""Amounts of time and memory in words."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Return a time as in 1:05 or 2:03:04."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(mib: float) -> str:
    """Return an amount of memory as in 512 MiB or 1.2 GiB."""
    return f"{mib / 1024:.1f} GiB" if mib >= 1000 else f"{mib:.0f} MiB"
