"""Two gloo processes find the CKA, and through DDP the gradients, of one process with the joined batch."""

from __future__ import annotations

import gc
import multiprocessing
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from lorkit.decompose.errors import DataError
from lorkit.decompose.methods.losses.cka.loss import CKALoss


def compute(rank: int, folder: Path) -> None:
    """Be one rank: unequal batches, a width that differs, and a batch that is too small alone but not together."""
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    given, found = torch.load(folder / "given.pt", weights_only=True), {}
    for name, split in given["splits"].items():
        part = slice(0, split) if rank == 0 else slice(split, None)
        for view in ("gap", "token", "patch-image"):
            x, y = given["x"][part].clone().requires_grad_(), given["y"][part].clone().requires_grad_()
            value = CKALoss(estimator="unbiased", view=view, gather=True)(x, y)
            value.backward()
            found[name, view] = (value.detach(), x.grad, y.grad)
        layer = torch.nn.Linear(6, 5, dtype=torch.float64)
        layer.load_state_dict(given["layer"])
        model, loss = DistributedDataParallel(layer), CKALoss(gather=True)
        loss(model(given["x"][part].mean((2, 3))), given["y"][part]).backward()
        found[name, "ddp"] = (layer.weight.grad, layer.bias.grad, loss.skipped)
    few = CKALoss(gather=True, estimator="unbiased")
    few(given["x"][:rank], given["y"][:rank])
    found["few"] = few.skipped
    try:
        CKALoss(gather=True)(given["x"][:, : 3 + rank], given["y"])
    except DataError as error:
        found["width"] = str(error)
    torch.save(found, folder / f"found{rank}.pt")
    dist.barrier()


def be_rank(rank: int, folder: Path) -> None:
    """Compute, and leave the group."""
    compute(rank, folder)
    gc.collect()  # DDP's cycles hold the group
    dist.destroy_process_group()


def test_two_processes_are_one_with_the_joined_batch(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(9, c, 2, 3, dtype=torch.float64, generator=generator) for c in (6, 4))
    layer = torch.nn.Linear(6, 5, dtype=torch.float64)
    splits = {"unequal": 6, "one below the least": 8, "none": 9}
    given = {"x": x, "y": y, "splits": splits, "layer": layer.state_dict()}
    torch.save(given, tmp_path / "given.pt")
    forks = multiprocessing.get_context("fork")  # of this process, which has imported everything
    running = [forks.Process(target=be_rank, args=(rank, tmp_path)) for rank in range(2)]
    try:
        for process in running:
            process.start()
        for process in running:
            process.join(timeout=120)
            assert process.exitcode == 0
    finally:
        for process in running:
            process.kill()
    ranks = [torch.load(tmp_path / f"found{rank}.pt", weights_only=True) for rank in range(2)]
    for name in splits:
        for view in ("gap", "token", "patch-image"):
            a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
            value = CKALoss(estimator="unbiased", view=view)(a, b)
            value.backward()
            torch.testing.assert_close([rank[name, view][0] for rank in ranks], [value.detach()] * 2)
            for side, grad in ((1, a.grad), (2, b.grad)):
                # a sum over ranks, of which the mean over ranks makes one process's gradient
                torch.testing.assert_close(torch.cat([rank[name, view][side] for rank in ranks]), 2 * grad)
        layer.zero_grad()
        CKALoss()(layer(x.mean((2, 3))), y).backward()
        for rank in ranks:
            torch.testing.assert_close(rank[name, "ddp"][:2], (layer.weight.grad, layer.bias.grad))
            assert rank[name, "ddp"][2] == 0
    for rank in ranks:
        assert rank["few"] == 1
        assert rank["width"] == "features of shapes (9, 3), (9, 4) on ranks 0 to 1; required: one width everywhere"
