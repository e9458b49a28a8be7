"""One student a region, each trained alone with the full batch: the single-task baseline."""

from __future__ import annotations

from lorkit.decompose.methods.mtl import SharedStudent
from lorkit.decompose.regions import RegionSet


class SeparateStudents(SharedStudent):
    """`stl`: as many networks and phases as there are regions."""

    name = "stl"

    def phases(self, regions: RegionSet) -> list[RegionSet]:
        """Return a phase for each region by itself."""
        return [RegionSet([region]) for region in regions]


METHOD = SeparateStudents()
