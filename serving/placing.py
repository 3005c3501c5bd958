"""Which ages get a vLLM process, which share one, which adapters go where. The deciding part of a plan; pure.

Full models that are wanted at once get a process each as long as there is room. LoRA adapters go on the
process of their base. Where no further process has room, ages that differ in nothing but their weights take
turns on one: it reloads them, which takes a few seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selves.cast import Serving
from serving.facts import AgeFacts
from serving.rooms import Draft, Rooms

EMBEDDED_ONLY = {
    "selves_nanochat": "a nanochat of 2026, whose value embeddings and smear vLLM does not have",
    "lfm2": "an LFM2, whose short convolutions vLLM was seen to compute differently",
}
"""Model types that vLLM does not know or does not get right, and what they are."""
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM can be told to expect at most."""


def place(known: Mapping[str, AgeFacts], hot: Sequence[str], rooms: Rooms) -> dict[str, str]:
    """Give vLLM processes their room, and say of ages that got less than wished why."""
    whys = {address: why for address, age in known.items() if (why := why_not_vllm(age))}
    hosts: dict[str, Draft] = {}
    bases = dict.fromkeys(known[address].adapter_of or address for address in hot)
    for address in bases:
        if address in whys or address not in known:
            continue
        draft = rooms.take(known[address], _rank(address, known, rooms.serving))
        if isinstance(draft, str):
            host = _host_for(known[address], rooms.drafts, known)
            whys[address] = f"takes turns with {host.ages[0]}: {draft}" if host else draft
            if host is None:
                continue
            host.walks, draft = True, host
        draft.ages.append(address)
        hosts[address] = draft
    _fill_rest(known, [age for address, age in known.items() if address not in hosts], rooms, whys)
    _add_adapters(known, hosts, rooms.serving, whys)
    return whys


def _host_for(age: AgeFacts, drafts: Sequence[Draft], known: Mapping[str, AgeFacts]) -> Draft | None:
    """Return a process whose weights can be changed for these; none that adapters need as it is."""
    bases = {other.adapter_of for other in known.values()}
    return next((d for d in drafts if d.facts.key == age.key and not bases.intersection(d.ages)), None)


def _fill_rest(
    known: Mapping[str, AgeFacts], rest: Sequence[AgeFacts], rooms: Rooms, whys: dict[str, str]
) -> None:
    """On GPUs with room left: one more process for the other ages of each lineage, which take turns on it."""
    groups: dict[tuple[str, str], list[str]] = {}
    for age in rest if rooms.gpus else ():
        if age.adapter_of is None and age.address not in whys:
            groups.setdefault((age.lineage, age.key), []).append(age.address)
    for addresses in groups.values():
        newest_first = addresses[::-1]
        draft = rooms.take(known[newest_first[0]], 0)
        if isinstance(draft, Draft):
            draft.walks = True
            draft.ages += newest_first


def _add_adapters(
    known: Mapping[str, AgeFacts], hosts: Mapping[str, Draft], serving: Serving, whys: dict[str, str]
) -> None:
    for address, age in known.items():
        if age.adapter_of is None or address in whys:
            continue
        host = hosts.get(age.adapter_of)
        if not serving.lora_slots:
            whys[address] = "[serving] lora_slots = 0 leaves adapters to the embedded engine"
        elif host is None:
            whys[address] = f"{age.adapter_of}, which it goes on, is not kept on a vLLM"
        elif host.walks:
            whys[address] = f"{age.adapter_of}, which it goes on, takes turns on its vLLM"
        else:
            host.adapters.append(address)


def _rank(base: str, known: Mapping[str, AgeFacts], serving: Serving) -> int:
    """Return the rank that a vLLM has to expect on this base, as vLLM can be told it."""
    ranks = [age.rank for age in known.values() if age.adapter_of == base and age.rank <= LORA_RANKS[-1]]
    return next(rank for rank in LORA_RANKS if rank >= max(serving.lora_rank, *ranks, 0))


def why_not_vllm(age: AgeFacts) -> str:
    """Say why vLLM cannot serve an age, "" if it can."""
    if age.model_type in EMBEDDED_ONLY:
        return f"vLLM cannot serve it: it is {EMBEDDED_ONLY[age.model_type]}"
    if age.rank > LORA_RANKS[-1]:
        return f"vLLM takes adapters up to rank {LORA_RANKS[-1]}, and its rank is {age.rank}"
    return age.problem
