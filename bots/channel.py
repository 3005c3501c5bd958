"""Where lines are posted: the seam that keeps scenes ignorant of terminals and of Discord."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from memory.types import Message
from selves.cast import Persona


class Channel(Protocol):
    """A place where people can read what is said."""

    @property
    def place(self) -> str:
        """Its name in the database: `terminal`, `discord:CHANNEL`, `web`."""
        ...

    async def post(self, message: Message) -> int | None:
        """Show a message and return the platform's id for it, or None where there are no ids.

        The message is kept already. Posting it again after a crash must show nothing twice where the platform
        knows nonces (`message.nonce`). Raises SelvesError when it cannot be posted.
        """
        ...

    def thinking(self, persona: Persona) -> AbstractAsyncContextManager[None]:
        """Show, as long as the block runs, that this self is about to speak."""
        ...

    def halted(self) -> bool:
        """Whether a person has asked for silence here. Asked before every turn and every post."""
        ...
