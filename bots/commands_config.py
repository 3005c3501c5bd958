"""`/sleep`, `/wake` and `/config`: what only people who manage the server may do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

import discord
from discord import app_commands

from bots import settings
from bots.buttons import Press
from bots.desk import ADMINS, Choice, Desk, check_admin, choices, tell
from bots.privacy import give_notice
from bots.settings import Hearing, PlaceSettings, SelfSettings
from selves.errors import UsageError


async def describe(desk: Desk, place: str) -> str:
    """Return what a place is set to, in words."""
    set_here = await settings.of_place(desk.store, place)
    lines = [f"`{key}`: {_value(value)}" for key, value in set_here.model_dump().items()]
    for persona in desk.cast.persona:
        own = (await settings.of_self(desk.store, place, persona.name)).model_dump(exclude_none=True)
        if own:
            lines.append(f"**{persona.name}**: {', '.join(f'`{k}` {v}' for k, v in own.items())}")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        return ", ".join(value) or "everybody"
    return "as in the cast file" if value is None else str(value)


def values_of(key: str) -> list[str]:
    """Return what a key of a channel may be set to, where that can be listed."""
    if key == "hear":
        return list(get_args(Hearing))
    field = PlaceSettings.model_fields.get(key)
    return ["on", "off"] if field is not None and field.annotation is bool else []


def add_commands(tree: app_commands.CommandTree[Any], desk: Desk, _: dict[str, Press]) -> None:
    """Add the commands. Who may use them is asked here, too: a server may have opened its menu to all."""

    @tree.command(name="sleep", description="Let a self be silent, for some hours or until it is woken")
    @app_commands.rename(name="who")
    @app_commands.describe(name="Who", hours="How long; by default until it is woken")
    @app_commands.guild_only()
    @app_commands.default_permissions(ADMINS)
    async def sleep(
        interaction: discord.Interaction,
        name: str,
        hours: app_commands.Range[float, 0.1, 8760.0] | None = None,
    ) -> None:
        check_admin(interaction)
        persona = desk.cast.find_persona(name.strip())
        until = None if hours is None else desk.store.clock() + timedelta(hours=hours)
        await settings.send_to_sleep(desk.store, persona.name, until)
        end = f"<t:{int(until.timestamp())}:R>" if until else "with `/wake`"
        await tell(interaction, f"{persona.name} sleeps. It wakes {end}.", public=True)

    @tree.command(name="wake", description="Let a self speak again")
    @app_commands.rename(name="who")
    @app_commands.describe(name="Who")
    @app_commands.guild_only()
    @app_commands.default_permissions(ADMINS)
    async def wake(interaction: discord.Interaction, name: str) -> None:
        check_admin(interaction)
        persona = desk.cast.find_persona(name.strip())
        await settings.wake(desk.store, persona.name)
        await tell(interaction, f"{persona.name} is awake.", public=True)

    sleep.autocomplete("name")(desk.suggest_selves)
    wake.autocomplete("name")(desk.suggest_selves)

    group = app_commands.Group(
        name="config",
        description="How the selves behave here",
        guild_only=True,
        default_permissions=ADMINS,
    )

    @group.command(name="show", description="What is set in this channel")
    async def show(interaction: discord.Interaction) -> None:
        check_admin(interaction)
        await tell(interaction, await describe(desk, desk.room(interaction).set_by))

    @group.command(name="channel", description="Set how this channel is listened to")
    @app_commands.describe(key="What", value="On, off, a number or names; nothing sets it back")
    async def channel(interaction: discord.Interaction, key: str, value: str = "") -> None:
        check_admin(interaction)
        room = desk.room(interaction)
        if key == "selves":
            names = [desk.cast.find_persona(n.strip()).name for n in value.split(",") if n.strip()]
            value = ",".join(names)
        await settings.change_place(desk.store, room.set_by, key, value)
        await tell(interaction, await describe(desk, room.set_by))
        if key == "hear":
            await give_notice(desk, interaction.client, room)

    @group.command(name="self", description="Set how one self speaks in this channel")
    @app_commands.rename(name="who")
    @app_commands.describe(name="Who", key="What", value="A number; nothing sets it back")
    async def one_self(interaction: discord.Interaction, name: str, key: str, value: str = "") -> None:
        check_admin(interaction)
        room, persona = desk.room(interaction), desk.cast.find_persona(name.strip())
        await settings.change_self(desk.store, room.set_by, persona.name, key, value)
        await tell(interaction, await describe(desk, room.set_by))

    @group.command(name="open", description="Let the selves live in this channel, too")
    async def open_here(interaction: discord.Interaction) -> None:
        check_admin(interaction)
        if not isinstance(interaction.channel, discord.TextChannel):
            raise UsageError("The selves live in text channels; threads in them are open by themselves.")
        room = await desk.rooms.open_channel(interaction.channel.id)
        await tell(interaction, "The selves live here from now on.")
        await give_notice(desk, interaction.client, room)

    @group.command(name="close", description="Let the selves leave this channel and its threads")
    async def close_here(interaction: discord.Interaction) -> None:
        check_admin(interaction)
        room = desk.room(interaction)
        await desk.rooms.close_channel(room.where.parent or room.where.channel_id)
        await tell(interaction, "The selves have left. What was said here is not read any more.", public=True)

    @channel.autocomplete("key")
    async def suggest_key(_: discord.Interaction, typed: str) -> list[Choice]:
        return choices(typed, PlaceSettings.model_fields)

    @channel.autocomplete("value")
    async def suggest_value(interaction: discord.Interaction, typed: str) -> list[Choice]:
        key = getattr(interaction.namespace, "key", "")
        if key == "selves":
            before, comma, last = typed.rpartition(",")
            found = await desk.suggest_selves(interaction, last)
            return choices("", [f"{before}{comma}{' ' if comma else ''}{choice.value}" for choice in found])
        return choices(typed, values_of(key))

    @one_self.autocomplete("key")
    async def suggest_own_key(_: discord.Interaction, typed: str) -> list[Choice]:
        return choices(typed, SelfSettings.model_fields)

    one_self.autocomplete("name")(desk.suggest_selves)
    tree.add_command(group)
