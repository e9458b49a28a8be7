from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorkit import profiles
from lorkit.decompose.artifacts import write_bytes
from lorkit.decompose.errors import ArtifactError
from lorkit.export.targets.base import Availability, BuildRequest, Engine
from lorkit.export.targets.tensorrt.base import TensorrtTarget
from lorkit.profiles import Profile


class SomeTarget(TensorrtTarget):
    name = "some"
    runtime = "a runtime"
    library = "SomeRT"
    driver = "1"

    def available(self, profile: Profile | None = None) -> Availability:
        return Availability(True)

    def require(self, profile: Profile) -> None:
        return None

    def surroundings(self) -> dict[str, Any]:
        return {"driver": self.driver}

    def build(self, request: BuildRequest) -> Path:
        write_bytes(request.directory / self.engine, b"engine")
        return self.write_key(request, batch_shapes=[[size, *request.shape] for size in (1, 1, 8)])

    def load(self, directory: Path, *, threads: int | None = None) -> Engine:
        raise NotImplementedError


def request(directory: Path) -> BuildRequest:
    (directory / "model.onnx").write_bytes(b"graph")
    given: Any = {"network": None, "info": None, "images": None}
    profile = profiles.load("cpu-generic")
    return BuildRequest(directory=directory, precision="fp32", profile=profile, shape=(1, 4, 4), **given)


def test_an_engine_loads_where_it_was_built_and_nowhere_else(tmp_path: Path) -> None:
    target = SomeTarget()
    with pytest.raises(ArtifactError, match=r"has no model\.engine.*SomeRT.*built on this machine.*--target some"):
        target.checked_key(tmp_path)
    assert target.build(request(tmp_path)) == tmp_path / "model.engine"
    assert target.checked_key(tmp_path)["driver"] == "1"
    target.driver = "2"
    with pytest.raises(ArtifactError, match=r"built for another driver \(1, here 2\)"):
        target.checked_key(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"another")
    target.driver = "1"
    with pytest.raises(ArtifactError, match="built for another onnx"):
        target.checked_key(tmp_path)
