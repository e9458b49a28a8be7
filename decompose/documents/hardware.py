"""This machine with its targets (`decompose doctor`), and hardware profiles (`decompose profiles`)."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Document, Measured, Part, Tools
from lorkit.decompose.machine import Machine


class TargetFacts(Part):
    """Whether a target can be built and run here, and if not, why and how to change that."""

    runtime: str
    ok: bool
    """It can be built."""
    reason: str
    """Why it cannot be built."""
    install: str
    """How to get it."""
    runs: bool
    why: str
    """Why it cannot be run."""


class CachedFeatures(Part):
    """The cached features of teachers."""

    directory: str
    mib: float


class SelfTestResult(Part):
    """The self-test: two experts, built, extracted, exported and run."""

    passed: bool
    differences: dict[str, Measured] | None = None
    """Largest difference of a logit by step, null for NaN; absent after an error."""
    tolerance: Measured = None
    seconds: float | None = None
    error: str | None = None
    """Absent if the test reached its end."""


class Findings(Part):
    """This machine, before its self-test."""

    machine: Machine
    libraries: Tools
    profile: str
    """Name of the profile of this machine."""
    target_states: dict[str, TargetFacts]
    teacher_cache: CachedFeatures


class DoctorDocument(Findings, Document):
    """What `decompose doctor` found."""

    kind: Literal["doctor"] = "doctor"
    self_test: SelfTestResult


class ProfileDevice(Part):
    """The processor that runs the network."""

    kind: Literal["cpu", "gpu"]
    vendor: str
    architecture: str
    compute_capability: str | None


class ProfileMatch(Part):
    """How a machine shows this hardware."""

    gpu: str | None
    """Regular expression for the names of GPUs."""
    flags: list[str]
    """Instruction sets that the CPU must all have."""
    priority: int


class ProfileBatch(Part):
    """Batch sizes of an engine: smallest, tuned, largest."""

    min: int
    opt: int
    max: int


class ProfileEngine(Part):
    """Optional properties of a GPU engine."""

    provider: Literal["cuda", "tensorrt"]
    version_compatible: bool
    hardware_compatible: bool
    refit: bool
    strip: bool
    tf32: bool
    workspace_mib: int | None


class ProfileBudget(Part):
    """Limits of one inference; null means no limit."""

    p95_ms: float | None
    peak_mib: float | None


class ProfileFacts(Part):
    """A hardware profile with all its settings."""

    name: str
    description: str
    device: ProfileDevice
    match: ProfileMatch
    targets: list[str]
    """The preferred one first."""
    precisions: list[Literal["fp32", "fp16", "bf16", "int8"]]
    runtimes: dict[str, str]
    """Version range by runtime."""
    batch_sizes: ProfileBatch
    engine: ProfileEngine
    budget: ProfileBudget


class ProfilesDocument(Document):
    """The built-in profiles."""

    kind: Literal["profiles"] = "profiles"
    profiles: list[ProfileFacts]


class ProfileDocument(Document):
    """One profile, or that of this machine."""

    kind: Literal["profile"] = "profile"
    hardware: ProfileFacts
    machine: Machine | None = None
    """Absent unless the profile was detected."""
