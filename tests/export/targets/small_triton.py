"""As much of a Triton server as a client of one model needs: gRPC on a free port of this machine, for a minute at most.

It reads a model repository as Triton does: `config.pbtxt` against the protobuf schema, the version that its policy
names, warm-up before it answers, and it refuses requests that the configuration does not allow. Usage:
python small_triton.py REPOSITORY; prints the port when it is ready.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

SECONDS = 60.0


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Serves the one model of a repository."""

    def __init__(self, repository: Path) -> None:
        (path,) = repository.glob("*/config.pbtxt")
        self.config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
        assert self.config.name == path.parent.name
        (self.version,) = (str(number) for number in self.config.version_policy.specific.versions)
        model = path.parent / self.version / self.config.default_model_filename
        self.session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        for entry in self.config.model_warmup:
            self._warm(path.parent / "warmup", entry)

    def _warm(self, folder: Path, entry: Any) -> None:
        value = entry.inputs[self.config.input[0].name]
        sample = np.fromfile(folder / value.input_data_file, "<f4").reshape(1, *value.dims)
        self._run(np.repeat(sample, entry.batch_size, axis=0))

    def _run(self, batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        assert len(batch) <= self.config.max_batch_size
        assert list(batch.shape[1:]) == list(self.config.input[0].dims)
        (found,) = self.session.run([self.config.output[0].name], {self.config.input[0].name: batch})
        assert list(found.shape[1:]) == list(self.config.output[0].dims)
        return found

    def ModelConfig(self, request: Any, context: Any) -> Any:
        self._check(request.name, context)
        return service_pb2.ModelConfigResponse(config=self.config)

    def ModelInfer(self, request: Any, context: Any) -> Any:
        self._check(request.model_name, context)
        (tensor,) = request.inputs
        (wanted,) = request.outputs
        if (tensor.name, tensor.datatype, wanted.name) != ("image", "FP32", "logits"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{tensor.name} {tensor.datatype} to {wanted.name}")
        found = self._run(np.frombuffer(request.raw_input_contents[0], "<f4").reshape(tensor.shape))
        answer = service_pb2.ModelInferResponse(model_name=self.config.name, model_version=self.version)
        answer.outputs.add(name="logits", datatype="FP32", shape=found.shape)
        answer.raw_output_contents.append(np.ascontiguousarray(found, "<f4").tobytes())
        return answer

    def _check(self, name: str, context: Any) -> None:
        if name != self.config.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model {name}")


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Server(Path(sys.argv[1])), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # it ends with the standard input of whoever started it, and in any case soon
    limit = threading.Timer(SECONDS, os._exit, (1,))
    limit.daemon = True
    limit.start()
    sys.stdin.read()
    server.stop(None)
