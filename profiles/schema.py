"""Schema of a hardware profile: a validated YAML document."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["fp32", "fp16", "bf16", "int8"]


class ProfileError(ValueError):
    """An unknown or invalid profile; the message has what was given, what is required and what to do.

    This package depends only on pydantic and yaml, so the error is not a `LorkitError`; its exit code is that of wrong
    options.
    """

    exit_code = 2


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Device(_Model):
    """The processor that runs the network."""

    kind: Literal["cpu", "gpu"]
    vendor: str
    architecture: str
    compute_capability: str | None = Field(default=None, pattern=r"^\d+\.\d$")


class Match(_Model):
    """How a machine fingerprint shows this hardware.

    `gpu` is a regular expression for the names of the GPUs; `flags` are instruction sets that the CPU must all have. If
    several profiles match, the one with the highest `priority` is chosen.
    """

    gpu: str | None = None
    flags: tuple[str, ...] = ()
    priority: int = 0


class BatchRange(_Model):
    """Batch sizes of an engine with an optimisation profile (smallest, tuned, largest)."""

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
    """Optional properties of a GPU engine; each costs speed, size or accuracy.

    Attributes:
        provider: ONNX Runtime's provider for the target `onnx` on a GPU: `cuda` or `tensorrt`.
        version_compatible: It also runs with a newer TensorRT of the same major version.
        hardware_compatible: It also runs on other GPUs of the Ampere generation and newer.
        refit: Its weights can be replaced without building it again.
        strip: It has no weights and takes them from the ONNX file beside it when it is loaded.
        tf32: Products of fp32 layers may be rounded to TF32: faster, but beyond fp32's tolerance.
        workspace_mib: Memory for the builder; null for the runtime's own limit.
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

    `targets` lists its deployment formats, the preferred one first; `runtimes` has the version range of a runtime if
    the hardware restricts it (PEP 440).
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str
    device: Device
    match: Match = Match()
    targets: tuple[str, ...] = Field(min_length=1)
    precisions: tuple[Precision, ...] = Field(min_length=1)
    runtimes: dict[str, str] = {}
    batch_sizes: BatchRange = BatchRange()
    engine: EngineSettings = EngineSettings()
    budget: Budget = Budget()
