"""One run over several processes: DDP, or FSDP2 where a model is too large for each to hold it whole.

Processes are started by torchrun (`selves train run RECIPE --processes 2` does it on one machine) and find
each other through its environment variables. Every process computes its rows of each batch; the sum of
gradients is that of one process. Rank 0 alone writes files and speaks. A single process needs none of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, NamedTuple, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from selves.errors import SelvesError, TrainingError
from training.gpt import GPT

How = Literal["auto", "ddp", "fsdp"]
WHOLE_UP_TO = 1_500_000_000
"""Parameters up to which `auto` lets every process hold the whole model: 16 bytes each with gradients and
Adam's state, Muon's being shared out."""
PATIENCE = timedelta(days=2)
"""How long processes wait for rank 0 while it prepares the text, or measures and writes an age."""


class World(NamedTuple):
    """Who this process is among its fellows."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        return self.rank == 0


@contextmanager
def joined() -> Iterator[World]:
    """Be part of what torchrun started, until the block ends; alone without it.

    An error of ours, or the loss of another process, is told and ends this process.
    """
    cuda = torch.cuda.is_available()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 and "RANK" not in os.environ:
        yield World(device=torch.device("cuda" if cuda else "cpu"))
        return
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield World(rank, size, device)
    except SelvesError as error:
        _leave(error)
    except KeyboardInterrupt:
        _leave(TrainingError("interrupted", "the same command goes on from there"))
    except RuntimeError as error:  # the first to fail has said why; the others lose their connection to it
        _leave(TrainingError(f"process {rank} of {size} cannot go on: {error}"))
    dist.destroy_process_group()


def _leave(error: SelvesError) -> NoReturn:
    """Say why and end this process at once; torchrun then ends the others.

    In the usual way out, objects that are taken apart may wait for processes that wait for this one.
    """
    print(f"selves: {error}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)


def sharded(model: GPT, world: World, how: How) -> bool:
    """Return whether each process is to hold but a part of the model (FSDP2)."""
    large = sum(parameter.numel() for parameter in model.parameters()) > WHOLE_UP_TO
    return world.size > 1 and (how == "fsdp" or (how == "auto" and large))


def wrap(module: nn.Module, model: GPT, world: World, how: How) -> nn.Module:
    """Return what computes the loss when called, and shares gradients in its backward pass.

    `module` is the model or the compiled one.
    """
    if world.size == 1:
        return module
    if sharded(model, world, how):
        mesh = init_device_mesh(world.device.type, (world.size,))
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        return model
    devices = None if world.device.index is None else [world.device.index]
    return DistributedDataParallel(module, device_ids=devices)


@contextmanager
def shared_at_end(module: nn.Module, *, last: bool) -> Iterator[None]:
    """Within the block, gradients are summed over processes only if it is the `last` of a step's parts."""
    if isinstance(module, DistributedDataParallel) and not last:
        with module.no_sync():
            yield
        return
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(last)
    yield


def share(rows: Tensor, world: World) -> Tensor:
    """Return this process's rows of a batch (B, ...)."""
    return rows[world.rank :: world.size]


def check_shares(rows: int, world: World) -> None:
    """Raise TrainingError if a step's rows, of whole contexts, cannot be shared evenly."""
    if rows % world.size:
        raise TrainingError(
            f"a step's {rows} rows cannot be shared evenly by {world.size} processes",
            "choose batch_tokens so that its rows of whole contexts are a multiple of the processes",
        )


def total(values: Tensor, world: World) -> Tensor:
    """Return the sum of a small tensor over all processes."""
    if world.size > 1:
        values = values.to(world.device)
        dist.all_reduce(values)
    return values


def least(value: int, world: World) -> int:
    """Return the smallest of what the processes hold."""
    if world.size == 1:
        return value
    box = torch.tensor(value, device=world.device)
    dist.all_reduce(box, dist.ReduceOp.MIN)
    return int(box)


def told(value: Any, world: World) -> Any:
    """Return what rank 0 holds."""
    if world.size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def in_turn(world: World) -> Iterator[None]:
    """Let rank 0 pass through the block first; then the others find what it made."""
    if not world.first:
        wait(world)
    yield
    if world.first:
        wait(world)


def wait(world: World) -> None:
    """Return when every process is here."""
    if world.size > 1:
        dist.barrier()


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor in full; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part(tensor: Tensor) -> Tensor:
    """Return the part of a parameter or gradient that this process holds, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def part_of(full: Tensor, like: Tensor) -> Tensor:
    """Return this process's part of a full tensor that is laid out as `like`."""
    if not isinstance(like, DTensor):
        return full
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements).to_local()


def whole_of(local: Tensor, like: Tensor) -> Tensor:
    """Return in full what is laid out as `like` and of which this process holds `local`."""
    if not isinstance(like, DTensor):
        return local
    laid = DTensor.from_local(
        local, like.device_mesh, like.placements, shape=like.shape, stride=like.stride(), run_check=False
    )
    return laid.full_tensor()


def gathered(mine: Tensor, world: World) -> Tensor:
    """Return (n * size, ...) from every process's (n, ...), in order of rank."""
    if world.size == 1:
        return mine
    together = mine.new_empty((len(mine) * world.size, *mine.shape[1:]))
    dist.all_gather_into_tensor(together, mine.contiguous())
    return together
