"""The documents of each command that has `--json`."""

from __future__ import annotations

DOCUMENTS_OF = {
    "init": ("init",),
    "data": ("data", "find"),
    "pretrain": ("pretrain",),
    "train": ("train",),
    "evaluate": ("evaluate",),
    "compare": ("compare",),
    "extract": ("extract",),
    "export": ("export",),
    "verify": ("verify",),
    "bench": ("bench",),
    "report": ("report-files",),
    "gate": ("gate",),
    "predict": ("predict",),
    "inspect": ("inspect",),
    "pack": ("pack",),
    "clean": ("clean",),
    "doctor": ("doctor",),
    "profiles list": ("profiles",),
    "profiles show": ("profile",),
    "profiles detect": ("profile",),
}
"""Names of the schemas by the words of a command; the document of a command that fails is `error`."""
