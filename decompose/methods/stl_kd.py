"""One distilled student a region, each trained alone: LoRKD without sharing and without experts."""

from __future__ import annotations

from lorkit.decompose.methods.mtl_kd import DistilledSharedStudent
from lorkit.decompose.regions import RegionSet


class DistilledSeparateStudents(DistilledSharedStudent):
    """`stl-kd`: as many students, projectors and phases as there are regions."""

    name = "stl-kd"

    def phases(self, regions: RegionSet) -> list[RegionSet]:
        """Return a phase for each region by itself."""
        return [RegionSet([region]) for region in regions]


METHOD = DistilledSeparateStudents()
