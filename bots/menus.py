"""The context menu of a self's message: another answer, more of it, a fork, what produced it, a report."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands

from bots.answering import Ask
from bots.desk import Desk, platform, tell
from bots.room import Room
from memory import feedback
from memory.posted import message_at
from memory.types import Message, Provenance
from selves.errors import UsageError

SHOWN = 5
"""So many of the samples that were not posted."""


async def line_of(desk: Desk, message: discord.Message) -> Message:
    """Return what a self said in a message. Raises UsageError when it is none of theirs."""
    found = await message_at(desk.store, message.id)
    if found is None or found.generation_id is None:
        raise UsageError("That is for messages of selves that are kept here.")
    return found


async def ask_again(desk: Desk, room: Room, line: Message) -> None:
    """Let the self answer once more what this line answers."""
    if line.reply_to is None:
        raise UsageError("That line answers nobody. `Go on` makes its self say more.")
    room.ask(Ask(desk.persona(line.speaker), await desk.store.message(line.reply_to), 0, 0, "again", line))


async def go_on(desk: Desk, room: Room, line: Message) -> None:
    """Let the self say more after this line."""
    room.ask(Ask(desk.persona(line.speaker), line, 0, 0, "more"))


async def fork(desk: Desk, room: Room, message: discord.Message, line: Message) -> discord.Thread:
    """Begin a thread at a line, in which it goes on from there as if nothing had been said since."""
    if room.where.parent or room.where.private:
        raise UsageError("A thread cannot be forked on Discord; fork in the channel itself.")
    thread = await message.create_thread(name=f"From here with {line.speaker}"[:90], reason="fork")
    desk.rooms.open_thread(thread.id, parent=room.where.channel_id, begins_at=message.id, to=line.speaker)
    return thread


def describe(found: Provenance) -> str:
    """Return what produced a message, in words. What people said is not shown."""
    made = found.generation
    assert made is not None
    seconds, tokens = made.duration_s, len(made.token_ids)
    lines = [
        f"**{found.message.speaker}** at `{made.address}`, weights `{made.weights_sha256[:16]}`",
        f"engine {made.engine} {made.engine_version}, {made.form}",
        f"seed {made.sampling.seed}, temperature {made.sampling.temperature}, top-p {made.sampling.top_p}, "
        f"repetition penalty {made.sampling.repetition_penalty}, at most {made.sampling.max_tokens} tokens",
        f"{tokens} tokens in {seconds:.2f} s, ended by {made.finish_reason}"
        + (f", {made.mean_logprob:.2f} nats a token" if made.mean_logprob is not None else ""),
        f"It had read {len(made.prompt_message_ids)} lines"
        + (", some of people." if made.prompt_has_human else ", none of people."),
    ]
    if made.text.strip() != found.message.text.strip():
        lines.append(f"As it was drawn: {made.text.strip()[:300]}")
    for sibling in found.siblings[:SHOWN]:
        lines.append(f"not posted: {sibling.error or sibling.text.strip()[:200] or 'nothing'}")
    lines.append(f"`selves memory show {found.message.id}` tells all, `selves memory repeat` says it again.")
    return "\n".join(lines)


def add_commands(tree: app_commands.CommandTree[Any], desk: Desk) -> None:
    """Add the five entries, which are as many as Discord allows."""

    @tree.context_menu(name="Another answer")
    @app_commands.guild_only()
    async def another(interaction: discord.Interaction, message: discord.Message) -> None:
        line = await line_of(desk, message)
        await ask_again(desk, desk.room(interaction), line)
        await tell(interaction, f"{line.speaker} thinks again.")

    @tree.context_menu(name="Go on")
    @app_commands.guild_only()
    async def more(interaction: discord.Interaction, message: discord.Message) -> None:
        line = await line_of(desk, message)
        await go_on(desk, desk.room(interaction), line)
        await tell(interaction, f"{line.speaker} goes on.")

    @tree.context_menu(name="Fork from here")
    @app_commands.guild_only()
    async def fork_here(interaction: discord.Interaction, message: discord.Message) -> None:
        line = await line_of(desk, message)
        thread = await fork(desk, desk.room(interaction), message, line)
        await tell(interaction, f"It goes on in {thread.mention}.")

    @tree.context_menu(name="What produced this")
    @app_commands.guild_only()
    async def produced(interaction: discord.Interaction, message: discord.Message) -> None:
        desk.room(interaction)
        line = await line_of(desk, message)
        await tell(interaction, describe(await desk.store.provenance(line.id)))

    @tree.context_menu(name="Report")
    @app_commands.guild_only()
    async def report(interaction: discord.Interaction, message: discord.Message) -> None:
        line, person = await line_of(desk, message), await desk.person(interaction.user)
        assert line.generation_id is not None
        await feedback.keep(
            desk.store,
            "reported",
            line.generation_id,
            person_id=person.id,
            via=platform(),
            key=f"{person.id}:reported:{line.generation_id}",
        )
        await tell(interaction, "Reported. It will never be an example for the next selves.")
