"""Train on two ranks in forks of one process that has imported everything, as the children of Fabric's launcher.

Reads a line for each training, a JSON object of `config` and `out`, and prints the exit codes of its ranks.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any


class Ranks:
    """The process that is forked; `train` waits for one training."""

    def __init__(self) -> None:
        words = [sys.executable, "-W", "ignore", __file__]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def train(self, config: Path, out: Path) -> None:
        """Train a configuration below `out`; an error of a rank is on stderr."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"config": str(config), "out": str(out)}) + "\n")
        self._process.stdin.flush()
        assert json.loads(self._process.stdout.readline()) == [0, 0]

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fork(job: dict[str, Any], rank: int, port: int) -> int:
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    # what Fabric's launcher tells the processes that it starts
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    code = 1
    try:
        from lorkit.decompose import load_config, train

        gc.enable()
        train(load_config(job["config"]), out=job["out"])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Import what a training imports, then wait for trainings."""
    gc.disable()  # as a command does until its work begins
    sys.modules["torchmetrics"] = None  # type: ignore[assignment]  # Lightning imports it to learn its version
    import lightning_fabric  # noqa: F401
    import torch
    import torch.distributed
    import torch.nn.parallel.distributed
    from small_runs import register_tiny

    import lorkit.decompose.training.training  # noqa: F401
    from lorkit.decompose.models.cost import count_macs

    torch.set_num_threads(1)
    register_tiny(lambda known, name, value: known.update({name: value}))  # type: ignore[arg-type]
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.LayerNorm(4), torch.nn.Softmax(1))
    count_macs(network, (1, 4, 4))  # the first use of the meta device and of an optimizer imports the compiler
    torch.optim.SGD(network.parameters())
    gc.freeze()
    for line in sys.stdin:
        job, port = json.loads(line), _free_port()
        ranks = [_fork(job, rank, port) for rank in range(2)]
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in ranks]), flush=True)


if __name__ == "__main__":
    main()
