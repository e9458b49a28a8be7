"""What an export is made from, as one digest: two with the same are equal, so the second is not built."""

from __future__ import annotations

from lorkit.decompose.artifacts import digest_json
from lorkit.decompose.machine import tool_versions
from lorkit.export.building.job import ExportJob
from lorkit.export.building.sources import ExportableNetwork
from lorkit.export.runtime.native_code import RECORD

# Increment when the content of an export changes for the same inputs, so that older ones are rebuilt.
FORMAT = 9
INT8_REVISION = 3
"""Likewise, when int8 networks do."""


def inputs_digest(source: ExportableNetwork, job: ExportJob) -> str:
    """Return the digest of everything that determines an export."""
    availability = job.target.available(job.profile)
    return digest_json(
        {
            "format": FORMAT,
            "parent": source.parent.digest,
            "owner": source.owner,
            "region": source.region.name,
            "target": [job.target.name, job.target.fingerprint(), availability.ok and availability.runs],
            "profile": job.profile.model_dump(mode="json"),
            "precision": job.precision,
            "quantiser": [tool_versions()["onnxruntime"], job.scheme, INT8_REVISION]
            if job.target.precisions[job.precision] != "fp32"
            else None,
            "allowed": job.allow_synthetic and source.synthetic,
        }
        | ({"record": [RECORD, 2]} if job.target.native or job.profile.engine.version_compatible else {})
    )
