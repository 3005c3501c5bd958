"""From a plan to running parts: the machine is asked, the plan made, and its engines put together."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec

from selves.cast import Cast, Serving
from selves.errors import EngineError
from selves.lineage import Age, find_age
from selves.settings import House
from serving.api import Backend
from serving.catalog import Catalog
from serving.facts import AgeFacts, Identity, read_facts
from serving.fleet import EmbeddedMember, Fleet, Member
from serving.machine import probe
from serving.plan import EMBEDDED, Plan, make_plan

log = logging.getLogger(__name__)


def plan_for(catalog: Catalog, cast: Cast | None, serving: Serving, named: Sequence[str], port: int) -> Plan:
    """Look at the machine and the ages, and plan. Raises EngineError where a vLLM is missing."""
    vllm = serving.vllm if serving.engine != EMBEDDED else ""
    machine = probe(vllm, port, {} if serving.engine == EMBEDDED else None)
    if serving.engine == "vllm" and not machine.vllm:
        raise EngineError(
            "there is no vLLM at .vllm/bin/vllm",
            "build one with `make vllm`, or name yours in [serving] vllm or SELVES_VLLM",
        )
    facts = [read_facts(age) for age in catalog.ages().values()]
    return make_plan(_only(cast, named), facts, machine, serving, named=named)


def _only(cast: Cast | None, named: Sequence[str]) -> Cast | None:
    """Return the cast as far as it was named; those that were not are not missed."""
    personas = tuple(p for p in cast.persona if not named or p.address in named) if cast else ()
    return cast.model_copy(update={"persona": personas}) if cast and personas else None


def build_fleet(house: House, serving: Serving, plan: Plan) -> Backend:
    """Return the backend that a plan describes, nothing of it started yet. Raises EngineError."""
    for note in plan.notes:
        log.info(note)
    for left in plan.left_out:
        log.warning("%s is left out: %s", left.address, left.why)
    others = [engine for engine in plan.engines if engine.kind != EMBEDDED]
    bound = next(engine.ram_bytes for engine in plan.engines if engine.kind == EMBEDDED)
    if not others and serving.engine == "vllm":
        whys = "\n  ".join(
            [f"{age.address}: {age.why}" for age in plan.ages]
            + [f"{left.address}: {left.why}" for left in plan.left_out]
        )
        raise EngineError(f"nothing could be put on vLLM:\n  {whys}", "see `selves serve --plan`")
    if not others:
        return embedded_backend(serving, bound)
    from serving.members import VllmMember
    from serving.remote import RemoteMember

    known: dict[Identity, AgeFacts] = {}

    def facts(age: Age) -> AgeFacts:
        identity = Identity.of(age)
        if identity not in known or known[identity].problem:
            known[identity] = read_facts(age)
        return known[identity]

    def find(address: str) -> Age:
        return find_age(house.checkpoints, address)

    one_at_a_time = asyncio.Lock()
    members: list[Member] = []
    for engine in others:
        if engine.kind == "remote":
            key = os.environ.get("VLLM_API_KEY", "")
            members.append(RemoteMember(engine.name, engine.url, api_key=key))
            continue
        members.append(
            VllmMember(
                engine,
                program=plan.program,
                more=serving.vllm_args,
                sleep_s=60 * serving.sleep_minutes,
                find=find,
                facts=facts,
                one_at_a_time=one_at_a_time,
            )
        )
    members.append(EmbeddedMember(embedded_backend(serving, bound), plan))
    return Fleet(members, plan)


def embedded_backend(serving: Serving, memory_bytes: int = 0) -> Backend:
    """Return the embedded engine; 0 bytes: it takes half of what is free. Raises EngineError."""
    missing = [name for name in ("torch", "transformers", "numba") if find_spec(name) is None]
    if missing:
        raise EngineError(f"the embedded engine needs {' and '.join(missing)}", 'pip install "selves[serve]"')
    from serving.answers import EmbeddedBackend
    from serving.apart import EngineApart

    return EmbeddedBackend(
        EngineApart(
            hot=serving.hot,
            threads=serving.threads,
            memory_bytes=memory_bytes or int(serving.memory_gb * 1e9),
            dtype=serving.dtype,
        )
    )
