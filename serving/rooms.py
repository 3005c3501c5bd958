"""How much a vLLM process takes, and which devices or cores have room for it. The arithmetic under a plan.

On GPUs the cache of keys and values is given in bytes rather than left to vLLM's profiling, which is the
standing complaint where several processes share a device. Every process first gets what one conversation that
fills the window needs; what is left of a device is then shared among the caches of those that live on it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from selves.cast import Serving
from serving.facts import AgeFacts
from serving.machine import Machine

GIB = 2**30
CPU_PROCESS_BYTES = 29 * GIB // 10
"""Of one vLLM process on a CPU beside weights and cache, as measured for a tiny model with vLLM 0.32."""
GPU_PROCESS_BYTES = 2 * GIB
"""An allowance for CUDA's context, activations and graphs of one vLLM worker; not measured by us."""
GPU_HOST_BYTES = 3 * GIB
"""What each worker of a vLLM on GPUs takes of the machine's own memory; the same allowance as on a CPU."""
GPU_KEPT_FREE = 0.06
"""Share of each GPU that plans leave alone."""
LEAST_CACHE_BYTES = 64 * 2**20
FULL_WINDOWS = 32
"""More conversations that fill the window than this get no further cache."""


class Split(NamedTuple):
    """How one model is spread over devices."""

    tensor: int = 1
    pipeline: int = 1
    data: int = 1

    @property
    def workers(self) -> int:
        return self.tensor * self.pipeline * self.data


class Need(NamedTuple):
    """What each worker of a vLLM takes, in bytes."""

    fixed: int
    """Weights, adapters and the process itself."""
    window: int
    """The cache of one conversation that fills the window."""

    @property
    def least_cache(self) -> int:
        """With less, a vLLM is not started."""
        return max(LEAST_CACHE_BYTES, self.window)


@dataclass
class Draft:
    """One vLLM process while the plan is being made."""

    facts: AgeFacts
    """Of the full model that it starts with."""
    split: Split
    need: Need
    gpus: tuple[int, ...]
    rank: int
    """Up to which adapters fit; 0: no adapters."""
    slots: int
    cache: int
    """Of each worker, in bytes."""
    ages: list[str] = field(default_factory=list)
    adapters: list[str] = field(default_factory=list)
    cores: tuple[tuple[int, ...], ...] = ()
    """Of each worker, where there are no GPUs."""
    walks: bool = False

    @property
    def device_bytes(self) -> int:
        """What it takes on each of its GPUs."""
        return self.need.fixed + self.cache if self.gpus else 0

    @property
    def ram(self) -> int:
        """What it takes of the machine's own memory."""
        worker = GPU_HOST_BYTES if self.gpus else self.need.fixed + self.cache
        return worker * self.split.workers


@dataclass
class Rooms:
    """What is left of a machine. Taking room changes it; give it away after the plan is made."""

    serving: Serving
    ram: int
    gpus: dict[int, int]
    """GPU -> bytes that are left."""
    cores: tuple[int, ...]
    processes: int
    """How many more can be started: each needs a port."""
    workers: int
    """Without GPUs: how many more can have cores of their own."""
    drafts: list[Draft] = field(default_factory=list)

    @classmethod
    def of(cls, machine: Machine, serving: Serving, *, ram: int) -> Rooms:
        kept = {gpu.index: int(gpu.free_bytes - GPU_KEPT_FREE * gpu.total_bytes) for gpu in machine.gpus}
        gpus = {index: left for index, left in kept.items() if left > 0}
        return cls(
            serving=serving,
            ram=ram,
            gpus=gpus,
            cores=machine.cores,
            processes=len(machine.free_ports),
            workers=max(1, len(machine.cores) // 2),
        )

    def take(self, facts: AgeFacts, rank: int) -> Draft | str:
        """Take room for one process that serves this full model, or say why there is none."""
        if not self.processes:
            return "there is no free port for a further vLLM"
        draft = self._take_gpus(facts, rank) if self.gpus else self._take_cores(facts, rank)
        if isinstance(draft, Draft):
            self.processes -= 1
            self.ram -= draft.ram
            self.drafts.append(draft)
        return draft

    def _take_gpus(self, facts: AgeFacts, rank: int) -> Draft | str:
        slots = self.serving.lora_slots if rank else 0
        why = ""
        for split in splits(facts, len(self.gpus), self.serving):
            need = gpu_need(facts, split, rank * slots)
            least = need.fixed + need.least_cache
            roomiest = sorted(self.gpus, key=lambda gpu: (-self.gpus[gpu], gpu))[: split.workers]
            least_left = min(self.gpus[gpu] for gpu in roomiest)
            if least_left < least:
                on = "a GPU" if split.workers == 1 else f"each of {split.workers} GPUs"
                why = f"it needs {gigabytes(least)} on {on}, where {gigabytes(max(0, least_left))} are left"
                continue
            if self.ram < GPU_HOST_BYTES * split.workers:
                return f"vLLM needs {gigabytes(GPU_HOST_BYTES)} of memory per GPU beside it"
            for gpu in roomiest:
                self.gpus[gpu] -= least
            return Draft(facts, split, need, tuple(sorted(roomiest)), rank, slots, need.least_cache)
        return why or f"[serving] asks for more GPUs than the {len(self.gpus)} there are"

    def _take_cores(self, facts: AgeFacts, rank: int) -> Draft | str:
        serving = self.serving
        slots = serving.lora_slots if rank else 0
        split = Split(serving.tensor_parallel or 1, serving.pipeline_parallel or 1, serving.data_parallel)
        if split.workers > self.workers:
            return f"the other cores are taken: {len(self.cores)} are too few for a further vLLM"
        need = cpu_need(facts, split, rank * slots)
        # vLLM wants to be told whole GiB here
        draft = Draft(facts, split, need, (), rank, slots, GIB * math.ceil(need.least_cache / GIB))
        if draft.ram > self.ram:
            return f"it needs {gigabytes(draft.ram)} of memory on vLLM, and {gigabytes(self.ram)} are left"
        self.workers -= split.workers
        return draft

    def finish(self) -> None:
        """Share what is left among those that were taken in: memory of GPUs to caches, or cores."""
        if self.gpus:
            living = Counter(gpu for draft in self.drafts for gpu in draft.gpus)
            shares = {gpu: self.gpus[gpu] // count for gpu, count in living.items()}
            for draft in self.drafts:
                more = min(shares[gpu] for gpu in draft.gpus)
                more = min(more, max(0, FULL_WINDOWS * draft.need.window - draft.cache))
                draft.cache += more
                for gpu in draft.gpus:
                    self.gpus[gpu] -= more
            return
        groups = deal(self.cores, sum(draft.split.workers for draft in self.drafts))
        for draft in self.drafts:
            draft.cores, groups = tuple(groups[: draft.split.workers]), groups[draft.split.workers :]


def splits(facts: AgeFacts, devices: int, serving: Serving) -> Iterator[Split]:
    """Yield the ways to spread a model over at most `devices` devices, the fewest first.

    Layers are cut (tensor parallel) where the heads divide evenly, as vLLM demands; else whole layers are
    dealt out (pipeline parallel).
    """
    if serving.tensor_parallel or serving.pipeline_parallel:
        ways = [Split(serving.tensor_parallel or 1, serving.pipeline_parallel or 1, serving.data_parallel)]
    else:
        ways = [
            Split(count, 1, serving.data_parallel)
            if _heads_divide(facts, count)
            else Split(1, count, serving.data_parallel)
            for count in range(1, devices + 1)
            if _heads_divide(facts, count) or count <= facts.layers
        ]
    yield from (way for way in ways if way.workers <= devices)


def _heads_divide(facts: AgeFacts, count: int) -> bool:
    if count == 1:
        return True
    heads, kv_heads = facts.heads, facts.kv_heads
    return (
        bool(heads and kv_heads) and heads % count == 0 and (kv_heads % count == 0 or count % kv_heads == 0)
    )


def gpu_need(facts: AgeFacts, split: Split, ranks: int) -> Need:
    """Return what each worker takes on its GPU, where weights and cache have two bytes a number."""
    weights = math.ceil(2 * facts.parameters / (split.tensor * split.pipeline))
    return Need(GPU_PROCESS_BYTES + weights + _adapters(facts, split, ranks, 2), _window(facts, split, 2))


def cpu_need(facts: AgeFacts, split: Split, ranks: int) -> Need:
    """Return what each worker takes of memory, where weights and cache are float32."""
    weights = math.ceil(4 * facts.parameters / (split.tensor * split.pipeline))
    return Need(CPU_PROCESS_BYTES + weights + _adapters(facts, split, ranks, 4), _window(facts, split, 4))


def _window(facts: AgeFacts, split: Split, itemsize: int) -> int:
    layers = math.ceil(facts.layers / split.pipeline)
    heads = math.ceil(facts.kv_heads / split.tensor)
    # vLLM hands out whole blocks of tokens and keeps one for itself
    tokens = facts.context_tokens + 256
    return 2 * itemsize * layers * heads * facts.head_dim * tokens


def _adapters(facts: AgeFacts, split: Split, ranks: int, itemsize: int) -> int:
    """Return the bytes of adapters whose ranks add up to `ranks`.

    They are pairs on the seven matrices of a layer, the widest four times the hidden size.
    """
    layers = math.ceil(facts.layers / split.pipeline)
    return ranks * itemsize * layers * 23 * facts.hidden


def deal(cores: tuple[int, ...], groups: int) -> list[tuple[int, ...]]:
    """Deal cores out to groups, no core twice; where there are enough, the first stays free for ourselves."""
    free = cores[1:] if len(cores) > groups else cores
    bounds = [len(free) * n // max(1, groups) for n in range(groups + 1)]
    return [free[start:end] for start, end in pairwise(bounds)]


def gigabytes(size: int) -> str:
    """Return `1.2 GB`."""
    return f"{size / 1e9:.1f} GB"
