"""The double holds up: real discord.py clients live on it, and its answers are what Discord documents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import discord
import pytest
from discord import app_commands
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from bots.discord_api import Endpoints, pointed_at
from tests.discord_double.server import Bot, Double

OPENAPI = Path(__file__).parents[2].parent / "shared" / "discord-openapi.json"
GUESTS = discord.Intents(guilds=True, guild_messages=True, guild_reactions=True, guild_typing=True)
LISTENER = discord.Intents(guilds=True, guild_messages=True, message_content=True, guild_reactions=True)


class Recorder(discord.Client):
    """A client that notes what happens to it."""

    def __init__(self, double: Double, intents: discord.Intents) -> None:
        super().__init__(
            intents=intents,
            max_messages=None,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            guild_ready_timeout=0.05,
        )
        self.heard: list[discord.Message] = []
        self.events: list[str] = []
        self._double = double
        self.tree = app_commands.CommandTree(self)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """No five seconds of waiting here."""

    async def on_message(self, message: discord.Message) -> None:
        self.heard.append(message)
        self._double.look_again()

    def note(self, event: str) -> None:
        self.events.append(event)
        self._double.look_again()

    async def on_resumed(self) -> None:
        self.note("resumed")

    async def on_ready(self) -> None:
        self.note("ready")

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        self.note(f"edited {payload.message.content}")

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        self.note(f"deleted {payload.message_id}")

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        self.note(f"deleted {len(payload.message_ids)}")

    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        self.note(f"reaction {payload.emoji}")

    async def on_raw_reaction_remove(self, payload: discord.RawReactionActionEvent) -> None:
        self.note(f"reaction gone {payload.emoji}")

    async def on_typing(self, channel: Any, user: Any, when: Any) -> None:
        self.note("typing")


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    async with Double() as server:
        with pointed_at(Endpoints.from_environment(server.environment)):
            yield server


@asynccontextmanager
async def online(double: Double, bot: Bot, intents: discord.Intents = GUESTS) -> AsyncIterator[Recorder]:
    client = Recorder(double, intents)
    async with client:
        task = asyncio.create_task(client.start(bot.token))
        task.add_done_callback(lambda _: double.look_again())
        await double.until(lambda: "ready" in client.events or task.done())
        if task.done():
            await task
        yield client
    await asyncio.wait([task])


async def test_two_bots_and_a_human_hear_each_other(double: Double) -> None:
    ear, mouth = double.add_bot("Ear", message_content=True), double.add_bot("Mouth")
    anna, room = double.add_human("Anna"), double.add_channel("parlor")
    async with online(double, ear, LISTENER) as listener, online(double, mouth) as speaker:
        said = anna.post(room, f"hello {double.mention(mouth)}")
        await double.until(lambda: listener.heard)
        await double.until(lambda: speaker.heard)
        reply = await speaker.get_partial_messageable(room.id).send(
            "hi", reference=discord.MessageReference(message_id=said.id, channel_id=room.id), nonce="n-1"
        )
        again = await speaker.get_partial_messageable(room.id).send("hi", nonce="n-1")
        await double.until(lambda: len(listener.heard) == 2)
    assert again.id == reply.id
    assert [m.content for m in double.messages(room)] == [said.content, "hi"]
    assert listener.heard[1].reference is not None
    assert listener.heard[1].author.bot


async def test_content_is_hidden_without_the_intent_unless_one_is_mentioned(double: Double) -> None:
    bot = double.add_bot("Mouth")
    anna, room = double.add_human("Anna"), double.add_channel("parlor")
    async with online(double, bot) as client:
        anna.post(room, "among ourselves")
        anna.post(room, f"to you, {double.mention(bot)}")
        await double.until(lambda: len(client.heard) == 2)
    assert [m.content for m in client.heard] == ["", f"to you, {double.mention(bot)}"]


async def test_an_intent_that_is_not_switched_on_is_refused(double: Double) -> None:
    bot = double.add_bot("Ear")
    with pytest.raises(discord.PrivilegedIntentsRequired):
        async with online(double, bot, LISTENER):
            pass


async def test_a_wrong_token_is_refused(double: Double) -> None:
    client = Recorder(double, GUESTS)
    async with client:
        with pytest.raises(discord.LoginFailure):
            await client.start("wrong")


async def test_edits_deletions_reactions_and_typing_arrive(double: Double) -> None:
    bot = double.add_bot("Ear", message_content=True)
    anna, room = double.add_human("Anna"), double.add_channel("parlor")
    first, second, third = (anna.post(room, text) for text in ("one", "two", "three"))
    async with online(double, bot, LISTENER | discord.Intents(guild_typing=True)) as client:
        anna.edit(first, "one, corrected")
        anna.react(first, "✋")
        anna.unreact(first, "✋")
        anna.type(room)
        anna.delete(first)
        anna.delete(second, third)
        await double.until(lambda: "deleted 2" in client.events)
    assert client.events == [
        "ready",
        "edited one, corrected",
        "reaction ✋",
        "reaction gone ✋",
        "typing",
        f"deleted {first.id}",
        "deleted 2",
    ]


async def test_history_pages_forward_and_backward(double: Double) -> None:
    bot, anna, room = double.add_bot("Ear"), double.add_human("Anna"), double.add_channel("parlor")
    posted = [anna.post(room, str(n)) for n in range(250)]
    client = Recorder(double, GUESTS)
    async with client:
        await client.login(bot.token)
        channel = client.get_partial_messageable(room.id)
        newest = [m.content async for m in channel.history(limit=120)]
        after = [m.content async for m in channel.history(limit=None, after=discord.Object(posted[9].id))]
    assert newest == [str(n) for n in range(249, 129, -1)]
    assert after == [str(n) for n in range(10, 250)]


@pytest.mark.parametrize("how", ["drop", "op 7", "op 9", "close 4000", "close 1001"])
async def test_a_cut_off_session_resumes_and_gets_what_it_missed(double: Double, how: str) -> None:
    bot = double.add_bot("Ear", message_content=True)
    anna, room = double.add_human("Anna"), double.add_channel("parlor")
    async with online(double, bot, LISTENER) as client:
        match how:
            case "drop":
                double.drop(bot)
            case "op 7":
                double.reconnect(bot)
            case "op 9":
                double.invalidate(bot, resumable=True)
            case _:
                double.close(bot, int(how.removeprefix("close ")))
        anna.post(room, "while you were away")
        await double.until(lambda: "resumed" in client.events)
    assert [m.content for m in client.heard] == ["while you were away"]
    assert double.gateway.resumes == 1


async def test_a_lost_session_cannot_resume_and_misses_what_was_said(double: Double) -> None:
    bot = double.add_bot("Ear", message_content=True)
    anna, room = double.add_human("Anna"), double.add_channel("parlor")
    async with online(double, bot, LISTENER) as client:
        double.forget(bot)
        anna.post(room, "while you were away")
        await double.until(lambda: client.events == ["ready", "ready"])
    assert client.heard == []
    assert double.gateway.refused_resumes == 1


async def test_rate_limits_and_server_errors_are_waited_out(double: Double) -> None:
    bot, room = double.add_bot("Mouth"), double.add_channel("parlor")
    double.fail("POST", r"/channels/\d+/messages", status=502, applied=True)
    double.fail("POST", r"/channels/\d+/messages", status=429, retry_after_s=0.01, times=2)
    double.limit("POST", r"/channels/\d+/typing", 2, 0.2)
    client = Recorder(double, GUESTS)
    async with client:
        await client.login(bot.token)
        channel = client.get_partial_messageable(room.id)
        await channel.send("once", nonce="n-1")
        for _ in range(3):
            await channel._state.http.send_typing(room.id)
    assert [m.content for m in double.messages(room)] == ["once"]
    statuses = [r.status for r in double.requests("POST", "/messages")]
    assert statuses == [502, 429, 429, 200]
    assert {r.status for r in double.requests("POST", "/typing")} == {204}


async def test_a_slash_command_is_registered_completed_used_and_answered(double: Double) -> None:
    bot = double.add_bot("Clerk")
    anna, room = double.add_human("Anna"), double.add_channel("parlor")
    client = Recorder(double, GUESTS)

    @client.tree.command(name="scene", description="play a scene")
    async def scene(interaction: discord.Interaction, name: str) -> None:
        await interaction.response.defer(ephemeral=True)
        await interaction.followup.send(f"playing {name}")
        await interaction.followup.send("more", ephemeral=True)

    @scene.autocomplete("name")
    async def names(interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return [app_commands.Choice(name=n, value=n) for n in ("first", "second") if n.startswith(typed)]

    async with client:
        task = asyncio.create_task(client.start(bot.token))
        await double.until(lambda: "ready" in client.events)
        await client.tree.sync()
        assert [c.name for c in await client.tree.fetch_commands()] == ["scene"]
        suggestion = anna.complete(bot, room, "scene", "name", "se")
        await double.until(lambda: suggestion.callback)
        used = anna.invoke(bot, room, "scene", name="second")
        await double.until(lambda: len(used.answers) == 2)
    await asyncio.wait([task])
    assert suggestion.choices == ["second"]
    assert used.answers == ["playing second", "more"]
    assert double.messages(room) == []


# ---------------------------------------------------------------- Discord's own description of itself


@pytest.mark.skipif(not OPENAPI.exists(), reason="needs Discord's OpenAPI document beside the checkout")
async def test_answers_are_what_discords_openapi_document_says(double: Double) -> None:
    document = json.loads(OPENAPI.read_text("utf-8"))
    registry = Registry().with_resource("urn:discord", Resource(document, DRAFT202012))
    bot, anna, room = double.add_bot("Ear"), double.add_human("Anna"), double.add_channel("parlor")
    hello = anna.post(room, f"hello {double.mention(bot)}")
    anna.react(hello, "👍")
    command = {"name": "who", "description": "who is here", "options": []}
    guild, messages = double.world.guild_id, f"/channels/{room.id}/messages"
    requests: list[tuple[str, str, str, Any]] = [
        ("GET", "/users/@me", "/users/@me", None),
        ("GET", "/users/@me/guilds", "/users/@me/guilds", None),
        ("GET", "/oauth2/applications/@me", "/oauth2/applications/@me", None),
        ("GET", "/gateway", "/gateway", None),
        ("GET", "/gateway/bot", "/gateway/bot", None),
        ("GET", "/guilds/{guild_id}", f"/guilds/{guild}", None),
        ("GET", "/guilds/{guild_id}/roles", f"/guilds/{guild}/roles", None),
        ("GET", "/guilds/{guild_id}/members/{user_id}", f"/guilds/{guild}/members/{bot.id}", None),
        ("GET", "/channels/{channel_id}", f"/channels/{room.id}", None),
        ("POST", "/channels/{channel_id}/messages", messages, {"content": "hi", "nonce": "1"}),
        (
            "POST",
            "/channels/{channel_id}/messages",
            messages,
            {"content": "a reply", "message_reference": {"message_id": str(hello.id)}},
        ),
        ("GET", "/channels/{channel_id}/messages", messages, None),
        ("GET", "/channels/{channel_id}/messages/{message_id}", f"{messages}/{hello.id}", None),
        ("PUT", "/applications/{application_id}/commands", f"/applications/{bot.id}/commands", [command]),
        ("GET", "/applications/{application_id}/commands", f"/applications/{bot.id}/commands", None),
    ]
    headers = {"Authorization": f"Bot {bot.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def check(method: str, template: str, path: str, body: Any) -> None:
            data = None if body is None else json.dumps(body)
            content_type = {} if body is None else {"Content-Type": "application/json"}
            address = double.environment["SELVES_DISCORD_API"] + path
            async with session.request(method, address, data=data, headers=content_type) as answer:
                assert answer.status == 200, await answer.text()
                assert answer.headers["Content-Type"] == "application/json"
                value = await answer.json()
            described = document["paths"][template][method.lower()]["responses"]["200"]
            [media] = described["content"].values()
            schema = json.loads(json.dumps(media["schema"]).replace('"#/', '"urn:discord#/'))
            errors = Draft202012Validator(schema, registry=registry).iter_errors(value)
            problems = [f"{'.'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in errors]
            assert not problems, f"{method} {template}: {problems}"

        for request in requests:
            await check(*request)
        used = anna.invoke(bot, room, "who")
        webhook = f"/webhooks/{bot.id}/{used.token}"
        await check(
            "POST",
            "/interactions/{interaction_id}/{interaction_token}/callback",
            f"/interactions/{used.id}/{used.token}/callback?with_response=true",
            {"type": 4, "data": {"content": "Ember", "flags": 64}},
        )
        await check(
            "POST", "/webhooks/{webhook_id}/{webhook_token}", f"{webhook}?wait=true", {"content": "and"}
        )
        await check(
            "GET",
            "/webhooks/{webhook_id}/{webhook_token}/messages/@original",
            f"{webhook}/messages/@original",
            None,
        )
