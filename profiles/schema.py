"""What a profile says about a piece of hardware: a validated YAML document, data and nothing else."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["fp32", "fp16", "bf16", "int8"]


class ProfileError(ValueError):
    """An unknown or invalid profile; the message says what was given, what is required and what to do.

    This package depends on pydantic and yaml only, so the error does not share the root of `lorkit.decompose`;
    the exit code is that of every wrong option.
    """

    exit_code = 2


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Device(_Model):
    """The processor that runs the network."""

    kind: Literal["cpu", "gpu"]
    vendor: str
    architecture: str
    compute_capability: str | None = Field(default=None, pattern=r"^\d+\.\d$")


class Match(_Model):
    """How this hardware shows in a machine fingerprint.

    `gpu` is a regular expression searched in the names of the GPUs; `flags` are instruction sets that the CPU must
    all have. Where several profiles match, the one of the higher `priority` is taken.
    """

    gpu: str | None = None
    flags: tuple[str, ...] = ()
    priority: int = 0


class BatchRange(_Model):
    """Batch sizes that an engine with an optimisation profile is built for (smallest, tuned, largest)."""

    min: int = Field(default=1, ge=1)
    opt: int = Field(default=8, ge=1)
    max: int = Field(default=32, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"batch min {self.min}, opt {self.opt}, max {self.max} are not in rising order")
        return self


class Budget(_Model):
    """Limits of one inference; null means no limit."""

    p95_ms: float | None = Field(default=None, gt=0)
    peak_mib: float | None = Field(default=None, gt=0)


class EngineSettings(_Model):
    """What an engine of a GPU can do besides run; each of these costs speed, size or accuracy.

    Attributes:
        provider: Which of ONNX Runtime's providers runs the target `onnx` on a GPU: `cuda` or `tensorrt`.
        version_compatible: It also runs with a newer TensorRT of the same major version.
        hardware_compatible: It also runs on other GPUs of the Ampere generation and newer.
        refit: Its weights can be exchanged without building it again.
        strip: It holds no weights and takes them from the ONNX file beside it when it is loaded.
        tf32: Products of fp32 layers may be rounded to TF32, faster and beyond fp32's tolerance.
        workspace_mib: Memory that the builder may plan with; null for the runtime's own limit.
    """

    provider: Literal["cuda", "tensorrt"] = "cuda"
    version_compatible: bool = False
    hardware_compatible: bool = False
    refit: bool = False
    strip: bool = False
    tf32: bool = False
    workspace_mib: int | None = Field(default=None, gt=0)


class Profile(_Model):
    """A named piece of hardware with its runtimes, batch sizes, precisions and budgets.

    `targets` lists the deployment formats that make sense on it, the preferred one first; `runtimes` gives the
    version range of a runtime where the hardware restricts it (PEP 440).
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str
    device: Device
    match: Match = Match()
    targets: tuple[str, ...] = Field(min_length=1)
    precisions: tuple[Precision, ...] = Field(min_length=1)
    runtimes: dict[str, str] = {}
    batch: BatchRange = BatchRange()
    engine: EngineSettings = EngineSettings()
    budget: Budget = Budget()
