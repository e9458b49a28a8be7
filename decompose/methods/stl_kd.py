"""One distilled student a region, each trained alone: LoRKD without sharing and without experts."""

from __future__ import annotations

from lorkit.decompose.methods.mtl_kd import DistilledSharedStudent


class DistilledSeparateStudents(DistilledSharedStudent):
    """`stl-kd`: as many students, projectors and phases as there are regions."""

    name = "stl-kd"
    separate = True


METHOD = DistilledSeparateStudents()
