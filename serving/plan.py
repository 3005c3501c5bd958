"""Which engine serves which age, on what, and why: decided before anything is started. Pure.

`make_plan` looks at the cast, whose selves should answer at once, at what is known of every age, at the
machine and at `[serving]`. What fits into memory can always be brought in by the embedded engine too, which
steps in while a vLLM starts or has died. What fits nowhere is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor
from typing import Literal

from selves.cast import Cast, Serving
from selves.speech import Frozen
from serving.facts import AgeFacts
from serving.machine import Machine, is_url
from serving.placing import place
from serving.rooms import Draft, Rooms, gigabytes

EMBEDDED = "embedded"
REMOTE = "remote"
RAM_SHARE = 0.8
"""Of the memory that is free now, what the engines may take together."""
NOT_MADE = "it is in the cast and has not been made; train or import it"
EMBEDDED_WINDOW = 2048
"""An age counts as fitting into the embedded engine when one talk of so many tokens does too."""


class EnginePlan(Frozen):
    """One engine: in this process, a vLLM to be started, or one elsewhere. Sizes in bytes."""

    name: str
    kind: Literal["embedded", "vllm", "remote"]
    url: str = ""
    """Where a vLLM listens or will listen."""
    ages: tuple[str, ...] = ()
    """Full models on a vLLM; the first is loaded at the start, others take turns with it."""
    adapters: tuple[str, ...] = ()
    walks: bool = False
    """Whether it changes its weights to move through the ages of one lineage."""
    devices: tuple[int, ...] = ()
    """Numbers of its GPUs; none: it computes on cores."""
    cores: tuple[tuple[int, ...], ...] = ()
    """Without GPUs: the cores of each of its workers."""
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    device_bytes: int = 0
    """What it takes on each of its GPUs, its cache included."""
    device_share: float = 0
    """The same as a share of the largest of its GPUs, rounded down."""
    kv_bytes: int = 0
    """Of each worker: its cache of keys and values."""
    ram_bytes: int = 0
    """What it takes of the machine's own memory."""
    context_tokens: int = 0
    lora_slots: int = 0
    lora_rank: int = 0
    why: str


class AgePlan(Frozen):
    """One age that is served."""

    address: str
    adapter_of: str | None = None
    engines: tuple[str, ...]
    """Names of the engines that can answer for it, the preferred one first."""
    hot: bool
    """Whether it is in memory before somebody asks for it (on an engine that keeps it there)."""
    why: str


class LeftOut(Frozen):
    """One age that is not served."""

    address: str
    why: str


class Plan(Frozen):
    """The whole of it."""

    program: str
    """The `vllm` that is started, if any is."""
    engines: tuple[EnginePlan, ...]
    ages: tuple[AgePlan, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    """What holds for the plan as a whole."""


def make_plan(
    cast: Cast | None,
    ages: Sequence[AgeFacts],
    machine: Machine,
    serving: Serving,
    *,
    named: Sequence[str] = (),
) -> Plan:
    """Decide. `ages` are in order of life, and all of them may be asked for; `named` are wanted at once."""
    known = {age.address: age for age in ages}
    hot = choose_hot(cast, ages, named)
    here, note = choose_vllm(machine, serving)
    rooms = Rooms.of(machine, serving, ram=int(machine.ram_bytes * RAM_SHARE))
    whys = place(known, hot, rooms) if here else {}
    rooms.finish()
    ports = machine.free_ports[: len(rooms.drafts)]
    pairs = zip(rooms.drafts, ports, strict=True)
    engines = [_vllm_plan(number, *pair, machine) for number, pair in enumerate(pairs, 1)]
    if not here and is_url(machine.vllm) and serving.engine != EMBEDDED:
        engines.append(_remote_plan(machine.vllm))
    bound = embedded_bound(machine, rooms.ram, serving)
    engines.append(_embedded_plan(bound, serving))
    placed: list[AgePlan] = []
    left_out: list[LeftOut] = []
    for age in ages:
        problem = age.problem or why_not_embedded(age, known, bound)
        on = [] if age.problem else [e for e in engines if _may_answer(e, age, problem)]
        if not on:
            reasons = dict.fromkeys(filter(None, (whys.get(age.address), problem)))
            left_out.append(LeftOut(address=age.address, why="; ".join(reasons)))
            continue
        placed.append(
            AgePlan(
                address=age.address,
                adapter_of=age.adapter_of,
                engines=tuple(engine.name for engine in on),
                hot=age.address in hot and age.address in (*on[0].ages[:1], *on[0].adapters),
                why=whys.get(age.address) or _reason(age, on[0], hot),
            )
        )
    left_out += [LeftOut(address=address, why=NOT_MADE) for address in _strangers(cast, known)]
    return Plan(
        program=machine.vllm if here else "",
        engines=tuple(engines),
        ages=tuple(placed),
        left_out=tuple(left_out),
        notes=(note,),
    )


def choose_hot(cast: Cast | None, ages: Sequence[AgeFacts], named: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the addresses that should answer at once, no adapter's base among them for its sake.

    Those are what was named and the cast's; if there are none of either, the newest age of each lineage.
    """
    known = {age.address for age in ages}
    wanted = [*named, *(persona.address for persona in (cast.persona if cast else ()))]
    present = tuple(address for address in dict.fromkeys(wanted) if address in known)
    return present or tuple({age.lineage: age.address for age in ages}.values())


def _may_answer(engine: EnginePlan, age: AgeFacts, not_embedded: str) -> bool:
    match engine.kind:
        case "vllm":
            return age.address in engine.ages or age.address in engine.adapters
        case "remote":
            return True
        case "embedded":
            return not not_embedded


def choose_vllm(machine: Machine, serving: Serving) -> tuple[bool, str]:
    """Tell whether to start vLLM here, and why or why not."""
    if serving.engine == "embedded":
        return False, "everything is on the embedded engine, as asked"
    if is_url(machine.vllm):
        return (
            False,
            f"a vLLM runs at {machine.vllm}; it gets the ages that it lists, and none is started here",
        )
    if not machine.vllm:
        return False, "everything is on the embedded engine: no vLLM was found (`make vllm` builds one)"
    if serving.engine == "auto" and not machine.gpus:
        return False, (
            "everything is on the embedded engine: without a GPU a vLLM takes half a minute and 3 GB to "
            "start; `--engine vllm` starts it all the same"
        )
    return True, f"vLLM is {machine.vllm}, on {len(machine.gpus) or 'no'} GPU{'s' * (len(machine.gpus) != 1)}"


def why_not_embedded(age: AgeFacts, known: Mapping[str, AgeFacts], bound: int) -> str:
    """Say why the embedded engine cannot bring an age in within `bound` bytes, "" if it can."""
    base = known.get(age.adapter_of or "")
    tokens = min(age.context_tokens, EMBEDDED_WINDOW)
    size = age.stored_bytes + (base.stored_bytes if base else 0) + 4 * age.kv_values * tokens
    if size <= bound:
        return ""
    return f"it takes {gigabytes(size)} of memory, and the embedded engine has {gigabytes(bound)}"


def embedded_bound(machine: Machine, left: int, serving: Serving) -> int:
    """Return how many bytes the embedded engine may fill when vLLM leaves `left` of the machine's memory."""
    return int(serving.memory_gb * 1e9) or max(0, min(left, machine.ram_bytes // 2))


def _strangers(cast: Cast | None, known: Mapping[str, AgeFacts]) -> list[str]:
    return [p.address for p in cast.persona if p.address not in known] if cast else []


def _vllm_plan(number: int, draft: Draft, port: int, machine: Machine) -> EnginePlan:
    lora = draft.rank > 0 and not draft.walks
    largest = max((gpu.total_bytes for gpu in machine.gpus if gpu.index in draft.gpus), default=0)
    return EnginePlan(
        name=f"vllm-{number}",
        kind="vllm",
        url=f"http://127.0.0.1:{port}",
        ages=tuple(draft.ages),
        adapters=tuple(draft.adapters),
        walks=draft.walks,
        devices=draft.gpus,
        cores=draft.cores,
        tensor_parallel=draft.split.tensor,
        pipeline_parallel=draft.split.pipeline,
        data_parallel=draft.split.data,
        device_bytes=draft.device_bytes,
        device_share=floor(1000 * draft.device_bytes / largest) / 1000 if draft.gpus else 0,
        kv_bytes=draft.cache,
        ram_bytes=draft.ram,
        context_tokens=draft.facts.context_tokens,
        lora_slots=draft.slots if lora else 0,
        lora_rank=draft.rank if lora else 0,
        why=_words(draft),
    )


def _words(draft: Draft) -> str:
    if draft.gpus:
        on = "its GPU" if len(draft.gpus) == 1 else f"each of {len(draft.gpus)} GPUs"
        room = f"{gigabytes(draft.device_bytes)} on {on}"
    else:
        room = f"{gigabytes(draft.ram)} of memory"
    windows = draft.cache // max(1, draft.need.window)
    cache = f"{windows:,} full window{'s' * (windows != 1)}"
    return f"takes {room}, of which {gigabytes(draft.cache)} are its cache, for {cache}"


def _remote_plan(url: str) -> EnginePlan:
    why = "runs elsewhere; whichever of the ages below it lists are asked of it"
    return EnginePlan(name=REMOTE, kind="remote", url=url, why=why)


def _embedded_plan(bound: int, serving: Serving) -> EnginePlan:
    limit = f", at most {serving.hot} at a time" if serving.hot else ""
    why = f"brings ages in when somebody asks, in up to {gigabytes(bound)} of memory{limit}"
    return EnginePlan(name=EMBEDDED, kind="embedded", ram_bytes=bound, why=why)


def _reason(age: AgeFacts, first: EnginePlan, hot: Sequence[str]) -> str:
    wanted = "wanted at once" if age.address in hot else ""
    match first.kind:
        case "remote":
            return "if it is listed there; brought in here otherwise"
        case "embedded":
            return "brought in when somebody asks"
        case _ if age.adapter_of is not None:
            return f"an adapter on {age.adapter_of}, " + (
                "loaded at once" if wanted else "loaded when asked for"
            )
        case _ if first.walks:
            return "takes turns with the other ages of its lineage"
        case _:
            return wanted or "its adapters need it"
