"""A vLLM of a fleet: one process, the ages it answers for, its adapters, its turns, its sleep."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from selves.errors import EngineError, SelvesError
from selves.lineage import Age
from serving.api import unless_gone
from serving.facts import AgeFacts, Identity
from serving.plan import EnginePlan
from serving.process import Watched
from serving.upstream import Unavailable, Upstream
from serving.vllm import make_command, make_environment
from serving.walking import Turns

log = logging.getLogger(__name__)

RESET_TRIES = 100
RESET_PAUSE_S = 0.1
"""Its cache cannot be emptied while requests that were given up still hold some of it."""


FAILURES = 3
"""Of so many starts that fail in a row the last is one without adapters, in case it was these. A device that
was busy for a while fails them too, so that is not for good."""

Facts = Callable[[Age], AgeFacts]


class VllmMember:
    """A vLLM process of ours, behind what a fleet wants of an engine."""

    kind = "vllm"

    def __init__(
        self,
        plan: EnginePlan,
        *,
        program: str,
        more: Sequence[str],
        sleep_s: float,
        find: Callable[[str], Age],
        facts: Facts,
        one_at_a_time: asyncio.Lock,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`find` gives the age at an address, `facts` what a plan knows of it. Raises AgeError."""
        self.name = plan.name
        self.version = ""
        self._plan = plan
        self._program = program
        self._more = tuple(more)
        self._environment = os.environ if environment is None else environment
        self._sleep_s = sleep_s if plan.devices else 0
        self._find = find
        self._facts = facts
        self._first = find(plan.ages[0])
        self._upstream = Upstream(plan.url, called=plan.name)
        self._turns: Turns[Age] = Turns(self._reload, Identity.of)
        self._adapters: dict[str, str] = {}
        """Address -> the name under which its newest weights are loaded."""
        self._adapters_line = asyncio.Lock()
        self._door = asyncio.Lock()
        self._users = 0
        self._used_at_s = 0.0
        self._asleep = False
        self._whole = plan
        self._failed = 0
        """How many starts in a row did not come to an end."""
        self._process = Watched(
            plan.name,
            self._upstream.http,
            self._launch,
            when_ready=self._when_ready,
            when_down=self._upstream.interrupt,
            one_at_a_time=one_at_a_time,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def trouble(self) -> str:
        """Why it cannot answer now; empty when it can."""
        return self._process.trouble

    async def start(self) -> None:
        self._tasks.append(asyncio.create_task(self._process.keep()))
        if self._sleep_s:
            self._tasks.append(asyncio.create_task(self._doze()))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._upstream.close()

    def measures(self) -> Mapping[str, float]:
        label = f'{{engine="{self.name}"}}'
        return {
            f"selves_engine_up{label}": float(not self.trouble),
            f"selves_engine_restarts_total{label}": self._process.restarts,
            f"selves_engine_asleep{label}": float(self._asleep),
            f"selves_engine_weight_changes_total{label}": self._turns.changes,
        }

    def serves(self, age: Age) -> bool:
        """Tell whether it can answer for this age, also one that is newer than the plan."""
        of = age.card.adapter_of
        if of is not None:
            fits = self._plan.lora_slots and of == self._plan.ages[0]
            return bool(fits) and self._facts(age).rank <= self._plan.lora_rank and self._base_is_ours(age)
        if not self._plan.walks:
            return Identity.of(age) == Identity.of(self._first)
        return self._facts(age).key == self._facts(self._first).key

    def _base_is_ours(self, age: Age) -> bool:
        facts = self._facts(age)
        base = None if facts.problem else age.base()
        return base is not None and Identity.of(base) == Identity.of(self._first)

    async def answer(self, path: str, age: Age, body: dict[str, Any], request: Request) -> Response:
        """Answer one POST. Raises Unavailable, ClientDisconnect, AgeError where its files are damaged."""
        async with AsyncExitStack() as held:
            await unless_gone(request, held.enter_async_context(self._awake()))
            if age.card.adapter_of is None:
                if path.startswith("/v1/"):  # tokens are counted alike for all ages that take turns
                    await unless_gone(request, held.enter_async_context(self._turns.hold(age)))
                name = self._plan.ages[0]
            else:
                # a client that leaves now must not leave an adapter behind that we do not know of
                loading = asyncio.ensure_future(self._bring_adapter(age))
                name = await unless_gone(request, asyncio.shield(loading))
            return await self._upstream.pass_on(path, {**body, "model": name}, age, request, held)

    async def _launch(self, port: int) -> tuple[list[str], dict[str, str]]:
        self._first = self._find(self._plan.ages[0])
        await asyncio.to_thread(self._first.verify)
        self._plan = self._whole
        if self._failed % FAILURES == FAILURES - 1 and self._whole.lora_slots and not self._whole.adapters:
            log.warning(
                "%s is now started without room for adapters: not every architecture has it", self.name
            )
            self._plan = self._whole.model_copy(update={"lora_slots": 0, "lora_rank": 0})
        self._failed += 1
        sleeps = bool(self._sleep_s)
        command = make_command(
            self._program, self._plan, self._first.folder, port, sleeps=sleeps, more=self._more
        )
        return command, make_environment(self._environment, self._plan, sleeps=sleeps)

    async def _when_ready(self) -> None:
        """Note what is loaded, and load the adapters that the plan knows."""
        answer = await self._ask("GET", "/version")
        self.version = str(answer.get("version", ""))
        # who is without adapters now tries it with them at its next start, once
        self._failed = 0 if self._plan is self._whole else FAILURES - 2
        self._turns.reset(self._first)
        self._adapters, self._asleep = {}, False
        for address in self._plan.adapters:
            try:
                await self._bring_adapter(self._find(address))
            except SelvesError as error:
                log.warning("%s: %s is not loaded: %s", self.name, address, error.problem)

    async def _bring_adapter(self, age: Age) -> str:
        """Return the name of an adapter that is loaded, under one that it never shared with another."""
        name = f"{age.card.address}:{age.card.weights_sha256[:16]}"
        async with self._adapters_line:
            old = self._adapters.get(age.card.address)
            if old != name:
                await asyncio.to_thread(age.verify)
                told = {"lora_name": name, "lora_path": str(age.folder)}
                await self._ask("POST", "/v1/load_lora_adapter", told)
                self._adapters[age.card.address] = name
                log.info("%s has loaded %s", self.name, name)
                if old is not None:
                    await self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": old})
        return name

    async def _reload(self, age: Age) -> None:
        """Put an age's weights in place of others of the same shape. Raises EngineError."""
        await asyncio.to_thread(age.verify)
        told = {"method": "reload_weights", "kwargs": {"weights_path": str(age.folder)}}
        await self._ask("POST", "/collective_rpc", told)
        for _ in range(RESET_TRIES):
            if (await self._ask("POST", "/reset_prefix_cache")).get("success", True):
                log.info("%s has moved on to %s", self.name, age.card.address)
                return
            await asyncio.sleep(RESET_PAUSE_S)
        raise Unavailable(f"{self.name} does not let go of what it cached for other weights")

    @asynccontextmanager
    async def _awake(self) -> AsyncGenerator[None]:
        """Be awake, and not fall asleep, during the block."""
        async with self._door:
            if self._asleep:
                await self._ask("POST", "/wake_up")
                self._asleep = False
            self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._used_at_s = time.monotonic()

    async def _doze(self) -> None:
        """Fall asleep when nobody has asked for long: weights go to the machine's memory."""
        self._used_at_s = time.monotonic()
        while True:
            await asyncio.sleep(min(self._sleep_s, 5.0))
            async with self._door:
                idle_s = time.monotonic() - self._used_at_s
                if self.trouble or self._asleep or self._users or idle_s < self._sleep_s:
                    continue
                with contextlib.suppress(EngineError):
                    await self._ask("POST", "/sleep?level=1")
                    self._asleep = True
                    log.info("%s sleeps until it is asked", self.name)

    async def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask vLLM itself for something; returns its answer if that is a JSON object. Raises Unavailable."""
        return await self._upstream.ask(method, path, body)
