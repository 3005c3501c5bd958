"""What the commands on Discord have in common: what they work with, who may use them, how they answer."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import discord
from discord import app_commands

from bots.account import Account
from bots.discord_api import words_origin
from bots.room import Room
from bots.rooms import Rooms
from memory.people import Known
from memory.posted import person_at
from memory.store import Store
from selves.cast import Cast, Persona
from selves.errors import SelvesError, UsageError
from serving.voice import Voice

log = logging.getLogger("selves.bots")

Choice = app_commands.Choice[str]
CHOICES = 25
"""Discord shows so many suggestions at most."""
ADMINS = discord.Permissions(manage_guild=True)


@dataclass
class Desk:
    """What the commands work with."""

    cast: Cast
    """As it is now."""
    store: Store
    voice: Voice
    speakers: Mapping[str, Account]
    """The accounts of the selves by name."""
    rooms: Rooms
    registrar: Account

    async def person(self, user: discord.abc.User) -> Known:
        """Return who a user is here."""
        return await self.person_with(user.id)

    async def person_with(self, user_id: int) -> Known:
        """Return who the user with this id is here."""
        return await person_at(self.store, platform(), user_id)

    def room(self, interaction: discord.Interaction) -> Room:
        """Return the room in which a command was used. Raises UsageError where the selves do not live."""
        parent = getattr(interaction.channel, "parent_id", None)
        room = self.rooms.find(interaction.channel_id or 0, parent)
        if room is None:
            where = ", ".join(f"<#{channel}>" for channel in self.rooms.channels) or "no channel yet"
            raise UsageError(f"The selves live in {where}.")
        return room

    def persona(self, name: str) -> Persona:
        """Return a self of the cast that can speak on Discord. Raises UsageError."""
        persona = self.cast.find_persona(name.strip())
        if persona.name not in self.speakers:
            raise UsageError(f"{persona.name} has no account on Discord.")
        return persona

    async def barred(self, interaction: discord.Interaction) -> set[str]:
        """Return the ages that may not be heard where a command was used.

        In a channel that is not marked as age-restricted these are the selves of which the cast file says
        so, and all ages whose own card does.
        """
        channel = getattr(interaction.channel, "parent", None) or interaction.channel
        if getattr(channel, "nsfw", False):
            return set()
        marked = {str(c.address) for c in await self.store.checkpoints() if c.card.age_restricted}
        return marked | {p.address for p in self.cast.persona if p.age_restricted}

    async def suggest_selves(self, _: discord.Interaction, typed: str) -> list[Choice]:
        """Suggest names of selves."""
        return choices(typed, (p.name for p in self.cast.persona))

    async def suggest_ages(self, _: discord.Interaction, typed: str) -> list[Choice]:
        """Suggest ages that are served, the names of the cast among them."""
        return choices(typed, await self.voice.models())


def platform() -> str:
    """Return the name under which people of this server are known in the database."""
    return "selfhosted" if words_origin() == "selfhosted" else "discord"


def choices(typed: str, names: Iterable[str]) -> list[Choice]:
    """Return those of some names that hold what was typed, as suggestions; those that begin with it first."""
    low = typed.casefold().strip()
    fitting = [name for name in dict.fromkeys(names) if low in name.casefold() and len(name) <= 100]
    fitting.sort(key=lambda name: not name.casefold().startswith(low))
    return [app_commands.Choice(name=name, value=name) for name in fitting[:CHOICES]]


def check_admin(interaction: discord.Interaction) -> None:
    """Raise UsageError unless the user may manage the server. The menu is not trusted: it can be changed."""
    if not interaction.permissions.manage_guild:
        raise UsageError("Only people who may manage this server can do that.")


async def tell(
    interaction: discord.Interaction, text: str, *, public: bool = False, view: Any = discord.utils.MISSING
) -> None:
    """Answer a command, in one message."""
    text = text if len(text) <= 2000 else f"{text[:1999]}…"
    if interaction.response.is_done():
        await interaction.followup.send(text, ephemeral=not public, view=view)
    else:
        await interaction.response.send_message(text, ephemeral=not public, view=view)


class Tree(app_commands.CommandTree[discord.Client]):
    """A command that fails says why, to who used it alone."""

    async def on_error(
        self, interaction: discord.Interaction, error: app_commands.AppCommandError, /
    ) -> None:
        """Answer with what is wrong."""
        await explain_failure(interaction, getattr(error, "original", error))


async def explain_failure(interaction: discord.Interaction, error: BaseException) -> None:
    """Tell somebody why what they asked for did not come about."""
    if isinstance(error, app_commands.CheckFailure):
        text = "You may not do that here."
    elif isinstance(error, SelvesError):
        text = " ".join(filter(None, (error.problem, error.fix)))
    else:
        text = "Something went wrong; whoever runs the selves finds more in the log."
    name = getattr(interaction.command, "qualified_name", None) or "a button"
    if not isinstance(error, (UsageError, app_commands.CheckFailure)):
        log.error(
            "%s failed: %s", name, error, exc_info=error if not isinstance(error, SelvesError) else None
        )
    if isinstance(error, discord.HTTPException):
        return
    try:
        await tell(interaction, text)
    except discord.HTTPException as trouble:
        log.warning("%s could not be answered: %s", name, trouble)
