"""`/who`, `/stats`, `/letters` and `/diary`: who they are, and what they wrote."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import discord
from discord import app_commands

from bots import filters, settings
from bots.buttons import Press
from bots.desk import Desk, tell
from bots.lines import standing
from bots.parlor import choose_persona
from memory.types import StoredWriting
from selves.lineage import Address

SHOWN = 5
"""So many of them, the newest."""
LETTERS = 300
"""Characters of each."""


async def who(desk: Desk) -> str:
    """Return who is in the cast: name, age, and whether it can speak."""
    asleep = await settings.asleep(desk.store)
    lines = []
    for persona in desk.cast.persona:
        account = desk.speakers.get(persona.name)
        if account is None:
            state = "not on Discord"
        elif persona.name in asleep:
            state = "asleep"
        else:
            state = "here" if account.online.is_set() else "offline"
        lines.append(f"**{persona.name}**: `{persona.address}`, {state}")
    return "\n".join(lines)


async def figures(desk: Desk) -> str:
    """Return how much is kept, in words."""
    stats = await desk.store.stats()
    own = stats.by_origin.get("self", 0)
    return (
        f"{stats.ages} ages, {stats.scenes} conversations, {own} lines of selves, {stats.candidates} samples "
        f"that became no line, {stats.writings} diary lines, letters and continuations; "
        f"{stats.people} people were met."
    )


async def writings(desk: Desk, name: str, barred: Collection[str], *, letters: bool) -> list[str]:
    """Return the newest that a self's lineage wrote while it was trained: letters, or all else.

    Nothing of ages that are `barred`, and nothing that a filter refuses.
    """
    lineage = Address.parse(choose_persona(desk.cast, name).address).lineage
    found = [
        w
        for w in await desk.store.writings(lineage)
        if is_letter(w) == letters and _may_be_shown(desk, w.address, w.generation.text, barred)
    ]
    return [_shown(w) for w in found[-SHOWN:]]


def _may_be_shown(desk: Desk, address: str | None, text: str, barred: Collection[str]) -> bool:
    return bool(text.strip()) and address not in barred and not filters.refuse(desk.cast.filter, "", text)


def is_letter(writing: StoredWriting) -> bool:
    return bool(writing.to) or writing.kind.startswith("letter")


def _shown(writing: StoredWriting) -> str:
    text = " ".join(writing.generation.text.split())
    to = f" to {writing.to}" if writing.to else ""
    return f"`{writing.address}`{to}\n> {text[:LETTERS]}{'…' if len(text) > LETTERS else ''}"


async def letters(desk: Desk, name: str, barred: Collection[str]) -> str:
    """Return the newest letters of a self: those it wrote in training, and the newest of a scene."""
    persona = choose_persona(desk.cast, name)
    written = []
    for scene in await desk.store.scenes(last=500):
        if scene.kind in ("letter", "answer") and not scene.place.startswith("private:"):
            written += [
                m
                for m in standing(await desk.store.messages(scene.id))
                if m.speaker == persona.name and _may_be_shown(desk, m.address, m.text, barred)
            ]
    shown = [
        f"`{m.address}`, <t:{int(m.created_at.timestamp())}:d>\n>>> {m.text[:LETTERS]}" for m in written[-1:]
    ]
    return "\n\n".join([*await writings(desk, name, barred, letters=True), *shown]) or none_of(desk, name)


async def diary(desk: Desk, name: str, barred: Collection[str]) -> str:
    """Return the newest that a self wrote to nobody while it was trained."""
    return "\n\n".join(await writings(desk, name, barred, letters=False)) or none_of(desk, name)


def none_of(desk: Desk, name: str) -> str:
    lineage = Address.parse(choose_persona(desk.cast, name).address).lineage
    return f"The lineage {lineage} has written none yet that may be read here."


def add_commands(tree: app_commands.CommandTree[Any], desk: Desk, _: dict[str, Press]) -> None:
    """Add the four commands."""

    @tree.command(name="who", description="Which selves are here, and which ages they are")
    @app_commands.guild_only()
    async def who_command(interaction: discord.Interaction) -> None:
        await tell(interaction, await who(desk))

    @tree.command(name="stats", description="How much has been said and kept")
    @app_commands.guild_only()
    async def stats_command(interaction: discord.Interaction) -> None:
        await tell(interaction, await figures(desk))

    @tree.command(name="letters", description="What a self wrote to other ages of itself")
    @app_commands.rename(name="who")
    @app_commands.describe(name="Whose letters")
    @app_commands.guild_only()
    async def letters_command(interaction: discord.Interaction, name: str) -> None:
        await tell(interaction, await letters(desk, name, await desk.barred(interaction)))

    @tree.command(name="diary", description="What a self wrote into its diary while it was trained")
    @app_commands.rename(name="who")
    @app_commands.describe(name="Whose diary")
    @app_commands.guild_only()
    async def diary_command(interaction: discord.Interaction, name: str) -> None:
        await tell(interaction, await diary(desk, name, await desk.barred(interaction)))

    letters_command.autocomplete("name")(desk.suggest_selves)
    diary_command.autocomplete("name")(desk.suggest_selves)
