"""LoRA, then KD: the foundation is adapted to the region first, and the student learns from the adapted one.

Two trainings a region, each with the whole budget of `train`: `lora` on the foundation, whose factors are merged, then
`kd` with the merged network in the foundation's place. The student alone is deployed.
"""

from __future__ import annotations

from lorkit.decompose.config import Config
from lorkit.decompose.methods.baselines.lora import Lora
from lorkit.decompose.methods.distillation.kd import KnowledgeDistillation


class AdaptedDistillation(KnowledgeDistillation):
    """`lora-kd`: one student per region under the loss of `kd`, taught by the foundation after `lora`."""

    name = "lora-kd"
    adapter = Lora()

    def notices(self, config: Config) -> list[str]:
        """Return what both methods announce; MissingRuntimeError where peft is not installed."""
        return [*self.adapter.notices(config), *super().notices(config)]


METHOD = AdaptedDistillation()
