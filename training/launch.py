"""Starting one command in several processes of this machine, which find each other (training/parallel.py)."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from selves.cli import count

if TYPE_CHECKING:  # --help must not import torch
    from training.parallel import World


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --processes, --parallel and --threads to a command."""
    parser.add_argument("--processes", type=count, metavar="N", help="train in N processes, one per GPU")
    parser.add_argument(
        "--parallel",
        choices=("auto", "ddp", "fsdp"),
        default="auto",
        help="each process holds the model (ddp) or a part of it (fsdp; auto: above 1.5 B parameters)",
    )
    parser.add_argument("--threads", type=count, metavar="N", help="CPU threads (default: all cores)")


def under_torchrun(processes: int, command: Sequence[str]) -> int:
    """Run `selves COMMAND` in several processes on this machine; return 0 or what the first to fail did."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    try:
        run(parse_args(["--standalone", f"--nproc-per-node={processes}", "-m", "selves", *command]))
    except ChildFailedError as error:  # what went wrong they have said themselves
        return error.get_first_failure()[1].exitcode
    except SignalException as error:
        return 128 + error.sigval
    return 0


def is_launched() -> bool:
    """Whether this is one of the processes that torchrun started."""
    return "RANK" in os.environ


def ended() -> int:
    """Return 0; where torchrun started this process, end it at once instead, successfully.

    In the usual way out, gloo's threads may still let go of tensors while the interpreter is taken apart, and
    abort a process that has done all it had to (github.com/pytorch/pytorch/pull/179291).
    """
    if is_launched():
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def threads(world: World) -> int:
    """Return how many threads a process gets: the cores of this machine shared among those that run on it."""
    from training.base import default_threads

    return max(1, default_threads() // int(os.environ.get("LOCAL_WORLD_SIZE", world.size)))
