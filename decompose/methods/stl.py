"""One student a region, each trained alone with the full batch: the single-task baseline."""

from __future__ import annotations

from lorkit.decompose.methods.mtl import SharedStudent


class SeparateStudents(SharedStudent):
    """`stl`: as many networks and phases as there are regions."""

    name = "stl"
    separate = True


METHOD = SeparateStudents()
