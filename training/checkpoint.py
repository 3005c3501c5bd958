"""The newest moment of a training run, so that a run killed at any step goes on as if it had not been.

    home/checkpoints/LINEAGE/.state/
        lock                  held by the one trainer of this lineage
        state.safetensors     weights, optimizer, and Progress as JSON in its header

One file, written whole or not at all. Data order and diary seeds are functions of the step, so there is no
random state to keep.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from selves.errors import TrainingError
from selves.files import disk_error, sweep_partial, write_file
from selves.speech import Frozen
from training.course import Course

if TYPE_CHECKING:  # a look at how far a run is must not import torch
    from torch import Tensor

    from training.gpt import GPT
    from training.optim import Optimizer
    from training.parallel import World

STATE_FOLDER = ".state"
STATE_FILE = "state.safetensors"
LOCK_FILE = "lock"


class Progress(Frozen):
    """How far a run is, and how its arithmetic was done."""

    stage: str
    step: int = 0
    """Steps of this stage that are done."""
    tokens: int = 0
    """Over all stages."""
    loss: float | None = None
    """Smoothed, nats per token."""
    course: Course = Course()
    """How the loss went."""
    elapsed_s: float = 0.0
    """Spent training in this stage, over all of its sittings."""
    precision: str = "float32"
    compiled: bool = False
    threads: int = 0
    """Of each process."""
    processes: int = 1
    micro_tokens: int = 0
    """Read at once by each process, where the recipe does not say."""
    parent: str | None = None
    """The newest age, which the next one comes from."""
    corpus: str = ""
    """Name of the prepared corpus' folder."""
    recipe: dict[str, Any] = Field(default_factory=dict)


@contextmanager
def only_trainer(lineage_folder: Path) -> Iterator[None]:
    """Hold the lineage's lock; sweep what a killed trainer left. Raises TrainingError if another trains it.

    Where nothing is kept to go on from, the folder goes with the lock. The kernel drops the lock with the
    process, however it ends.
    """
    folder = lineage_folder / STATE_FOLDER
    path = folder / LOCK_FILE
    with _locked(path) as file:
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        sweep_partial(lineage_folder)
        sweep_partial(folder)
        try:
            yield
        finally:
            with suppress(OSError):  # there are ages, or another trainer opened the lock just now
                if list(folder.iterdir()) == [path]:
                    path.unlink()
                    folder.rmdir()
                    lineage_folder.rmdir()


def _locked(path: Path) -> IO[str]:
    """Return a file with its lock held, made if need be. Raises TrainingError if another process has it."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        except FileNotFoundError:
            continue  # whoever had it took the folder away just now
        except OSError as error:
            raise disk_error(error, path) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "?"
            file.close()
            raise TrainingError(
                f"{path.parents[1].name} is being trained by process {owner}",
                "wait for it or stop it; another lineage can be trained at the same time",
            ) from error
        # a lock on a file that its last holder took away holds nobody off
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()


def save_state(
    lineage_folder: Path, progress: Progress, model: GPT, optimizer: Optimizer, world: World
) -> None:
    """Replace the state; every process must ask, rank 0 writes. On DiskError the old state stays."""
    from safetensors.torch import save

    from training import parallel

    tensors = {f"model.{n}": parallel.whole(tensor.detach()) for n, tensor in model.state_dict().items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer.state_dict().items()}
    if world.first:
        data = save(
            {n: t.cpu().contiguous() for n, t in tensors.items()}, {"progress": progress.model_dump_json()}
        )
        write_file(lineage_folder / STATE_FOLDER / STATE_FILE, data)


def read_progress(lineage_folder: Path) -> Progress | None:
    """Return how far the kept state is; None if there is none. Raises TrainingError if it is damaged."""
    path = lineage_folder / STATE_FOLDER / STATE_FILE
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:  # the header alone, so that a look does not need torch
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        return Progress.model_validate_json(header["__metadata__"]["progress"])
    except (OSError, ValueError, KeyError, ValidationError) as error:
        raise _damaged(path, error) from error


def load_model(lineage_folder: Path, model: GPT) -> None:
    """Put the kept weights into a model of the same shape. Raises TrainingError if they do not fit."""
    path = lineage_folder / STATE_FOLDER / STATE_FILE
    with _readable(path):
        model.load_state_dict(_part(path, "model."))


def load_optimizer(lineage_folder: Path, optimizer: Optimizer) -> None:
    """Put the kept state into an optimizer; every process must ask. Raises TrainingError if it is damaged."""
    path = lineage_folder / STATE_FOLDER / STATE_FILE
    with _readable(path):
        optimizer.load_state_dict(_part(path, "optimizer."))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise _damaged(path, error) from error


def _part(path: Path, prefix: str) -> dict[str, Tensor]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def _damaged(path: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"the training state {path} cannot be used: {error}",
        "delete it to train from the beginning; ages that are kept stay",
    )
