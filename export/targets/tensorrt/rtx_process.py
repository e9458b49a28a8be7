"""Build a TensorRT-RTX engine in a separate process.

Its command is `python -P -m lorkit.export.targets.tensorrt.rtx_process SPEC DIRECTORY`. A build may crash at clean-up,
after a correct engine, so the engine and then `result.json` are written first, and the process ends without clean-up;
the parent process reads the result, not the exit status.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from lorkit.decompose.artifacts import write_bytes, write_json
from lorkit.decompose.errors import UsageError
from lorkit.decompose.processes import end_with_parent
from lorkit.export.targets.tensorrt.building import ENGINE, BuilderRefusal, EngineSpec, build_plan

RESULT = "result.json"


def main(arguments: list[str]) -> bool:
    """Build the engine of a JSON specification into a directory, or write the error; return whether it was built."""
    end_with_parent()
    import tensorrt_rtx

    spec = EngineSpec(**json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    directory = Path(arguments[1])
    try:
        plan, _ = build_plan(tensorrt_rtx, spec)
        write_bytes(directory / ENGINE, plan)
        write_json(directory / RESULT, {"error": None})
        return True
    except UsageError as error:
        refusal = {"given": error.given, "required": error.required, "fix": error.fix}
        write_json(directory / RESULT, {"error": refusal | {"reason_in_log": isinstance(error, BuilderRefusal)}})
        return False


if __name__ == "__main__":
    if main(sys.argv[1:]):
        os._exit(0)  # only on success: otherwise the runtime's log must be flushed
