"""Look whether every bot can do what it is for: its token, its intents, its permissions in each channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
import discord

from bots import registrar, speaker
from bots.account import explain
from bots.discord_api import Endpoints
from selves.cast import Cast


class Finding(NamedTuple):
    """What was found out about one bot."""

    name: str
    variable: str
    """The environment variable that holds its token."""
    problems: tuple[str, ...]
    """What is wrong and what to do, in plain words; empty when all is well."""
    invite: str
    """The link that lets it into a server; empty as long as its token is not known."""


async def examine(cast: Cast, tokens: Mapping[str, str], endpoints: Endpoints) -> list[Finding]:
    """Ask Discord about the registrar and about every self that has a token's name. Nothing is changed."""
    bots = [("The registrar", cast.discord.registrar_token, True)]
    bots += [(persona.name, persona.token, False) for persona in cast.persona if persona.token]
    return [
        await _examine_one(name, variable, tokens.get(variable, ""), cast, endpoints, listens=listens)
        for name, variable, listens in bots
    ]


def needs_of(cast: Cast, *, listens: bool) -> discord.Permissions:
    """Return the permissions that the registrar (`listens`) or a self must have on a server."""
    if not listens:
        return speaker.NEEDS
    return registrar.NEEDS | discord.Permissions(manage_webhooks=cast.discord.guests)


async def _examine_one(
    name: str, variable: str, token: str, cast: Cast, endpoints: Endpoints, *, listens: bool
) -> Finding:
    if not token:
        return Finding(name, variable, (f"{variable} is not set",), "")
    needs = needs_of(cast, listens=listens)
    problems: list[str] = []
    invite = ""
    async with speaker.Speaker(lambda: None) as client:
        try:
            await client.login(token)
            assert client.application_id is not None
            assert client.user is not None
            # a server of one's own may name another's application; there both ids are one
            application = client.user.id if endpoints.api else client.application_id
            invite = endpoints.invite_url(application, needs.value, commands=listens)
            flags = client.application_flags
            if listens and not (flags.gateway_message_content or flags.gateway_message_content_limited):
                unsure = (
                    " (a server of one's own may not tell: then this is nothing)" if endpoints.api else ""
                )
                why = ". ".join(explain(discord.PrivilegedIntentsRequired(None), variable)[1:])
                problems.append(f"{why}{unsure}")
            news = [cast.discord.news] if listens and cast.discord.news else []
            for channel_id in dict.fromkeys((*cast.discord.channels, *news)):
                problems += await _examine_channel(client, channel_id, needs)
        except (discord.LoginFailure, discord.HTTPException, aiohttp.ClientError, OSError) as error:
            problems.append(". ".join(filter(None, explain(error, variable)[1:])))
    if not cast.discord.channels:
        problems.append("no channel is named under [discord] in the cast file")
    return Finding(name, variable, tuple(problems), invite)


async def _examine_channel(client: discord.Client, channel_id: int, needs: discord.Permissions) -> list[str]:
    """Return what the bot lacks in one channel."""
    assert client.user is not None
    try:
        found = await client.fetch_channel(channel_id)
        if isinstance(found, discord.abc.PrivateChannel):
            return [f"channel {channel_id} is a private conversation; name a channel of a server"]
        guild = await client.fetch_guild(found.guild.id, with_counts=False)
        me = await guild.fetch_member(client.user.id)
        channel = await guild.fetch_channel(channel_id)
    except (discord.NotFound, discord.Forbidden):
        return [
            f"it cannot see channel {channel_id}; invite it to the server with the link, and check the id"
        ]
    allowed = channel.permissions_for(me)
    missing = [_title(name) for name, wanted in needs if wanted and not getattr(allowed, name)]
    return [f"in #{channel.name} it lacks the permission: {', '.join(missing)}"] if missing else []


def _title(permission: str) -> str:
    """What a permission is called in Discord's settings."""
    return "view channel" if permission == "read_messages" else permission.replace("_", " ")
