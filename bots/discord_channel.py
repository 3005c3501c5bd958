"""A Discord channel as a place where scenes happen: each line through its self's own account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

from bots.account import Account
from memory.store import Store
from memory.types import Message
from selves.cast import Persona, SceneSpec
from selves.errors import DiscordError

NONCE_REMEMBERED = timedelta(seconds=60)
"""Discord knows a nonce for "a few minutes". What is older is looked for before it is posted again."""
CLOCKS_DIFFER = timedelta(seconds=30)


def place_of(channel_id: int) -> str:
    """The name of a Discord channel in the database."""
    return f"discord:{channel_id}"


class DiscordChannel:
    """Satisfies `bots.channel.Channel`. Lines of the operator are posted by the registrar."""

    def __init__(
        self,
        channel_id: int,
        store: Store,
        speakers: Mapping[str, Account],
        registrar: Account,
        is_halted: Callable[[], bool],
        *,
        place: str = "",
    ) -> None:
        self.channel_id = channel_id
        self._place = place or place_of(channel_id)
        self._store = store
        self._speakers = speakers
        self._registrar = registrar
        self._is_halted = is_halted

    @property
    def place(self) -> str:
        return self._place

    async def post(self, message: Message, answered: Message | None = None) -> int:
        """Post a kept message and return Discord's id for it; posting it again posts nothing twice.

        `answered` is what it replies to, if that is at hand. Raises DiscordError.
        """
        account = self._registrar if message.address is None else self._account(message.speaker)
        if datetime.now(UTC) - message.created_at > NONCE_REMEMBERED:
            since = message.created_at - CLOCKS_DIFFER
            found = await account.find_posted(self.channel_id, message.text, since)
            if found is not None:
                return found
        reply_to = None
        if message.reply_to is not None:
            reply_to = (answered or await self._store.message(message.reply_to)).platform_id
        return await account.post(self.channel_id, message.text, nonce=message.nonce, reply_to=reply_to)

    def can_post(self, message: Message) -> bool:
        """Whether the account that a message needs is logged in."""
        account = self._registrar if message.address is None else self._speakers.get(message.speaker)
        return account is not None and account.online.is_set()

    def thinking(self, persona: Persona) -> AbstractAsyncContextManager[None]:
        """Show that a self is typing."""
        return self._account(persona.name).typing(self.channel_id)

    def halted(self) -> bool:
        """Whether somebody raised a hand (✋) or used /halt."""
        return self._is_halted()

    def check_cast(self, spec: SceneSpec) -> None:
        """Raise DiscordError when somebody in a scene's cast cannot speak here."""
        problems = [self._why_silent(name) for name in spec.cast]
        if any(problems):
            raise DiscordError(
                f"scene {spec.name!r} cannot be played here: {'; '.join(filter(None, problems))}"
            )

    def _why_silent(self, name: str) -> str:
        if name not in self._speakers:
            return f"{name} has no account on Discord"
        problem = self._speakers[name].problem
        return f"{name} is offline ({problem})" if problem else ""

    def _account(self, name: str) -> Account:
        if name not in self._speakers:
            raise DiscordError(
                f"{name} has no account on Discord", "put the name of its token's variable into the cast file"
            )
        return self._speakers[name]
