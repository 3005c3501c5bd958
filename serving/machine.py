"""What this machine has: GPUs, memory, cores, a vLLM, free ports. Asked once, at the edge."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from selves.cores import available_cores
from selves.errors import EngineError
from selves.speech import Frozen

DEFAULT_PROGRAM = ".vllm/bin/vllm"
MIB = 2**20
NVIDIA_SMI = "nvidia-smi"
QUERY = ("--query-gpu=index,uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits")
ASK_S = 20.0
"""How long nvidia-smi may take; it wakes sleeping drivers."""
PORTS = 64
"""How many free ports are looked for: more than one machine has engines."""


class Gpu(Frozen):
    """One NVIDIA GPU that this process may use."""

    index: int
    """As nvidia-smi counts, which is the order of the PCI bus."""
    name: str
    total_bytes: int
    free_bytes: int


class Machine(Frozen):
    """What a plan is made for."""

    gpus: tuple[Gpu, ...] = ()
    ram_bytes: int
    """What is available now, without pushing anything else out."""
    cores: tuple[int, ...]
    """Numbers of the logical cores that this process may run on."""
    vllm: str = ""
    """The `vllm` program or the http(s) URL of one that runs elsewhere; empty: there is none."""
    free_ports: tuple[int, ...] = ()
    """Ports on loopback that nobody listens on."""


def probe(vllm_setting: str, port: int, environment: Mapping[str, str] | None = None) -> Machine:
    """Look at this machine. `port` is our own; engines get ports after it.

    A vLLM that is named (SELVES_VLLM or `vllm_setting`) must be there: raises EngineError otherwise.
    """
    env = os.environ if environment is None else environment
    return Machine(
        gpus=visible(read_gpus(_nvidia_smi()), env.get("CUDA_VISIBLE_DEVICES")),
        ram_bytes=available_ram(),
        cores=available_cores(),
        vllm=find_vllm(vllm_setting, env),
        free_ports=tuple(filter(is_free, range(port + 1, min(port + 1 + PORTS, 65536)))),
    )


def is_url(vllm: str) -> bool:
    """Tell whether this names a vLLM elsewhere, rather than a program here."""
    return vllm.startswith(("http://", "https://"))


def find_vllm(setting: str, environment: Mapping[str, str]) -> str:
    """Return the vLLM to use: SELVES_VLLM, else the setting, else .vllm/bin/vllm if it is there, else "".

    Raises EngineError when one is named and is no program.
    """
    named = environment.get("SELVES_VLLM") or setting
    if is_url(named):
        return named.rstrip("/").removesuffix("/v1")
    found = shutil.which(named or DEFAULT_PROGRAM)
    if found is not None:
        return str(Path(found).absolute())
    if named:
        raise EngineError(
            f"there is no vLLM at {named}",
            "build one with `make vllm`, or name yours in [serving] vllm or SELVES_VLLM",
        )
    return ""


def read_gpus(listing: str) -> list[tuple[Gpu, str]]:
    """Read what nvidia-smi prints; returns each GPU with its UUID. Lines that say no memory are left out."""
    gpus = []
    for line in listing.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 5 and cells[0].isdecimal() and cells[3].isdecimal() and cells[4].isdecimal():
            index, uuid, name, total, free = cells
            sizes = {"total_bytes": int(total) * MIB, "free_bytes": int(free) * MIB}
            gpus.append((Gpu(index=int(index), name=name, **sizes), uuid))
    return gpus


def visible(gpus: Iterable[tuple[Gpu, str]], wanted: str | None) -> tuple[Gpu, ...]:
    """Return those GPUs that CUDA_VISIBLE_DEVICES leaves (indices, or beginnings of UUIDs); None: all."""
    if wanted is None:
        return tuple(gpu for gpu, _ in gpus)
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    return tuple(
        gpu
        for gpu, uuid in gpus
        if any(name == str(gpu.index) or (not name.isdecimal() and uuid.startswith(name)) for name in names)
    )


def _nvidia_smi() -> str:
    if shutil.which(NVIDIA_SMI) is None:
        return ""
    try:
        asked = subprocess.run(
            (NVIDIA_SMI, *QUERY), capture_output=True, text=True, timeout=ASK_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(
            f"nvidia-smi does not answer: {error}",
            "see to the driver, or hide the GPUs with CUDA_VISIBLE_DEVICES=",
        ) from error
    return asked.stdout if asked.returncode == 0 else ""


def give_back_memory() -> None:
    """Let the machine have what this process no longer uses; glibc would keep it for later."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # there is another C library here
        ctypes.CDLL(None).malloc_trim(0)


def available_ram() -> int:
    """Return the bytes that can be had without swapping, as far as the system says.

    In a container that is what its control group leaves, if that is less.
    """
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux: what is installed is all that is known
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / f"memory.{name}").read_text("ascii") for name in ("max", "current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no such group, or "max": no limit
        return free


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of loopback."""
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
