"""Several engines behind one address: each age is answered by the first that can, in the order of the plan.

An engine that is in trouble, or that fails before anything of an answer was sent, is stepped in for by the
next. Only when none is left is the client told to come back later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from selves.lineage import Age
from serving.api import Backend, name_engine
from serving.plan import EMBEDDED, Plan
from serving.upstream import Unavailable
from serving.wire import ApiError

log = logging.getLogger(__name__)


class Member(Protocol):
    """One engine of a fleet."""

    name: str
    version: str

    @property
    def kind(self) -> str:
        """What records call it: `embedded` or `vllm`."""
        ...

    @property
    def trouble(self) -> str: ...
    def serves(self, age: Age) -> bool: ...
    async def start(self) -> None: ...
    async def close(self) -> None: ...
    def measures(self) -> Mapping[str, float]: ...
    async def answer(self, path: str, age: Age, body: dict[str, Any], request: Request) -> Response:
        """Answer one POST. Raises Unavailable where another engine may be asked."""
        ...


class EmbeddedMember:
    """The embedded engine as one of several; it has every age that the plan does not keep from it."""

    kind = EMBEDDED
    name = EMBEDDED

    def __init__(self, backend: Backend, plan: Plan) -> None:
        self._backend = backend
        self.version = backend.version
        # an age that was not there, or not whole, when the plan was made is looked at when it is asked for
        self._kept_from_it = {age.address for age in plan.ages if EMBEDDED not in age.engines}

    @property
    def trouble(self) -> str:
        return self._backend.trouble

    def serves(self, age: Age) -> bool:
        return age.card.address not in self._kept_from_it

    async def start(self) -> None:
        await self._backend.start()

    async def close(self) -> None:
        await self._backend.close()

    def measures(self) -> Mapping[str, float]:
        return self._backend.measures()

    async def answer(self, path: str, age: Age, body: dict[str, Any], request: Request) -> Response:
        return await self._backend.answer(path, age, body, request)


class Fleet:
    """A backend made of several."""

    def __init__(self, members: Sequence[Member], plan: Plan) -> None:
        """`members` in the order in which they are preferred."""
        self._members = tuple(members)
        self._left_out = {left.address: left.why for left in plan.left_out}
        self.name = "+".join(dict.fromkeys(member.kind for member in members))
        self.version = ""  # each has its own, see engine_of
        self._failures: dict[str, int] = {member.name: 0 for member in members}

    @property
    def trouble(self) -> str:
        """Why nothing can be answered; empty when some engine can."""
        troubles = [member.trouble for member in self._members]
        return "" if "" in troubles else "; ".join(troubles)

    def health(self) -> Mapping[str, str]:
        """Return engine -> its trouble, empty when it can answer."""
        return {member.name: member.trouble for member in self._members}

    def engine_of(self, age: Age) -> tuple[str, str]:
        """Return name and version of the engine that would answer for an age now."""
        able = self._able(age)
        first = next((member for member in able if not member.trouble), able[0] if able else None)
        return (first.kind, first.version) if first else ("", "")

    async def start(self) -> None:
        await asyncio.gather(*(member.start() for member in self._members))

    async def close(self) -> None:
        await asyncio.gather(*(member.close() for member in self._members))

    def measures(self) -> Mapping[str, float]:
        failures = {
            f'selves_engine_failures_total{{engine="{name}"}}': float(count)
            for name, count in self._failures.items()
        }
        return {k: v for member in self._members for k, v in member.measures().items()} | failures

    async def answer(self, path: str, age: Age, body: dict[str, Any], request: Request) -> Response:
        """Answer one POST. Raises ApiError (503) when no engine can, SelvesError, ClientDisconnect."""
        troubles = []
        for member in self._able(age):
            if member.trouble:
                troubles.append(member.trouble)
                continue
            try:
                response = await member.answer(path, age, body, request)
            except Unavailable as error:
                log.warning("%s: %s", age.card.address, error.problem)
                self._failures[member.name] += 1
                troubles.append(error.problem)
                continue
            except ApiError as error:
                if not troubles or error.body["error"]["code"] != "unsupported_parameter":
                    raise
                # the engine that can do this is not there just now
                troubles.append(str(error))
                continue
            name_engine(response, member.kind, member.version)
            return response
        why = "; ".join(troubles) or self._left_out.get(age.card.address) or "no engine has it"
        message = f"{age.card.address} cannot answer now: {why}"
        raise ApiError(503, message, kind="server_error", code="engine_unavailable")

    def _able(self, age: Age) -> list[Member]:
        return [member for member in self._members if member.serves(age)]
