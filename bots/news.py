"""Who has joined the cast, who is another age now, who has left: told once, where `[discord] news` says.

What was told last stands in the database. A line that a crash may have cut off from that is looked for in the
channel before it is posted, so nothing is told twice; a house that names a channel for the first time tells
nothing of those who are there already.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import aiohttp
import discord

from bots.account import Account, nonce_of, refusal
from memory import states
from memory.store import Store
from selves.cast import Cast
from selves.errors import DiscordError, StoreError

log = logging.getLogger("selves.bots")

NEWS_S = 30
"""How often the cast is compared with what was told of it."""
TOLD = "news:"
BEGUN = "news"
LOOKED_THROUGH = 50
"""Messages of the channel, newest first, in which a line is looked for."""


def news(told: Mapping[str, str], now: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (name, line) for whoever came, changed or went, from name -> address then and now (pure).

    The address of who is not there is empty.
    """
    for name in sorted({*told, *now}):
        before, after = told.get(name, ""), now.get(name, "")
        if before == after:
            continue
        if not before:
            yield name, f"**{name}** has come: `{after}`."
        elif not after:
            yield name, f"**{name}** has gone, and was `{before}`."
        else:
            yield name, f"**{name}** is `{after}` now, and was `{before}`."


async def tell_news(store: Store, cast: Cast, registrar: Account) -> int:
    """Post what was not told yet; return how many lines. What cannot be posted now is told the next time."""
    channel = cast.discord.news
    if not channel:
        return 0
    now = {persona.name: persona.address for persona in cast.persona}
    posted = 0
    try:
        known = await states.find(store, BEGUN)
        told = {key.removeprefix(TOLD): state for key, state in known.items() if key != BEGUN}
        if BEGUN not in known:
            for name, address in now.items():
                await states.put(store, f"{TOLD}{name}", address)
            await states.put(store, BEGUN, True)
            return 0
        for name, line in news({name: state.value for name, state in told.items()}, now):
            since = told[name].at if name in told else ""
            if not await _stands_there(registrar, channel, line):
                await registrar.post(channel, line, nonce=nonce_of(f"{line}{since}"))
                posted += 1
            await states.put(store, f"{TOLD}{name}", now.get(name, ""))
    except (DiscordError, StoreError) as error:
        log.error("news could not be told in channel %d: %s", channel, error)
    return posted


async def _stands_there(registrar: Account, channel: int, line: str) -> bool:
    """Return whether the newest thing that is told of it in the channel is this line."""
    client = await registrar.client()
    subject = line.partition("** ")[0]
    try:
        async for message in client.get_partial_messageable(channel).history(limit=LOOKED_THROUGH):
            if message.author.id == registrar.user_id and message.content.startswith(f"{subject}** "):
                return message.content == line
    except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
        raise refusal(error)(f"the registrar cannot read channel {channel}: {error}") from error
    return False
