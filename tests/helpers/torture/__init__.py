"""Kills, full disks, changed files, pairs of processes and no network, for every command: `benchmarks/torture.py`."""
