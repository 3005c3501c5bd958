"""Commands and buttons as one person after another uses them, on a simulated Discord that is strict about
what it is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import discord
import pytest
import simcord

from bots import settings
from bots.account import Account
from bots.desk import Desk
from bots.registrar import Registrar
from bots.room import Room
from bots.rooms import Rooms
from bots.speaker import Speaker
from memory import feedback
from memory.consent import ledger_of
from memory.rows import HUMAN_TEXT_KEPT
from memory.store import Store
from selves.cast import Cast, Filter, SceneSpec
from serving.prompt import Line
from serving.voice import Voice

HOUSE = Path(__file__).parents[2]
CAST = {
    "discord": {"notice": False},
    "persona": [
        {
            "name": "Ember",
            "address": "tiny@chat-000008",
            "token": "TOKEN_EMBER",
            "sampling": {"max_tokens": 12},
        },
        {"name": "Spark", "address": "tiny@base-000000"},
    ],
    "scene": [{"name": "meeting", "cast": ["Ember", "Spark"]}],
}


@dataclass
class Server:
    """A server with one channel where the selves live, and two people."""

    env: simcord.Env
    desk: Desk
    channel: simcord.ChannelHandle
    anna: simcord.MemberActor
    boss: simcord.MemberActor
    """May manage the server."""


@pytest.fixture
async def desk(store: Store, voice: Voice) -> Desk:
    cast = Cast.model_validate(CAST)
    registrar = Account("The registrar", "TOKEN_REGISTRAR", "", lambda: Speaker(lambda: None))
    ember = Account("Ember", "TOKEN_EMBER", "", lambda: Speaker(lambda: None))
    speakers = {"Ember": ember}

    def make(where: object) -> Room:
        return Room(where, cast=cast, store=store, voice=voice, speakers=speakers, registrar=registrar)  # type: ignore[arg-type]

    return Desk(cast, store, voice, speakers, Rooms(store, (), make), registrar)


@asynccontextmanager
async def opened(desk: Desk) -> AsyncIterator[Server]:
    async with simcord.run(Registrar(desk, lambda: None, 0.02), settle_timeout=60, check_errors=False) as env:
        guild = env.create_guild()
        channel = guild.create_text_channel("parlor")
        admins = guild.create_role("Admins", permissions=discord.Permissions(manage_guild=True))
        anna = guild.add_member(env.create_user("anna"))
        boss = guild.add_member(env.create_user("boss"), roles=[admins])
        await desk.rooms.open_channel(channel.id)
        yield Server(env, desk, channel, anna, boss)


def texts(parts: Sequence[Any]) -> list[str]:
    """All that the parts of a message say, and those within them."""
    found: list[str] = []
    for part in parts:
        found += [part.content] if isinstance(part, discord.TextDisplay) else []
        found += [part.label or ""] if isinstance(part, discord.Button) else []
        found += texts(getattr(part, "children", ()))
    return found


def told(result: Any) -> str:
    """What whoever used a command was told, at once or later."""
    return " ".join(m.content for m in (result.response, *result.followups) if m is not None)


def refuse_all(_text: str, _speaker: str) -> str:
    """A filter that nothing passes."""
    return "not today"


def shown(server: Server) -> list[str]:
    """What the newest message in the channel says."""
    message = server.channel.last_message
    assert message is not None
    return texts(message.components)


async def test_several_ages_answer_the_same_and_the_asker_votes_blind(desk: Desk) -> None:
    async with opened(desk) as server:
        await server.anna.slash(server.channel, "ask-ages", prompt="How are you?", count=3)
        assert "tiny@" not in " ".join(shown(server))
        assert [t for t in shown(server) if t.endswith(" is best")] == ["A is best", "B is best", "C is best"]
        await server.boss.click(server.channel.last_message, label="B is best")
        assert "tiny@" not in " ".join(shown(server))
        await server.anna.click(server.channel.last_message, label="A is best")
        assert sum("tiny@" in text for text in shown(server)) == 3
        assert not [t for t in shown(server) if t.endswith(" is best")]
        ratings = await feedback.rate(desk.store)
        assert (ratings.votes, ratings.voters, ratings.blind) == (4, 2, 4)
        [scene] = await desk.store.scenes(name="ask-ages")
        asked, *answers = await desk.store.messages(scene.id)
        assert (asked.origin, asked.text, asked.speaker) == ("interaction", "How are you?", "guest-1")
        assert {m.status for m in answers} == {"posted"}


async def test_the_five_switches_are_off_until_somebody_moves_them(desk: Desk) -> None:
    async with opened(desk) as server:
        used = await server.anna.slash(server.channel, "consent")
        assert used.ephemeral
        assert "rule 21" in used.response.content
        await server.anna.click(used.response, label="context")
        await server.anna.click(used.response, label="store")
        await server.anna.click(used.response, label="store")
        with pytest.raises(simcord.SetupError):
            await server.anna.click(used.response, label="train")
        person = await desk.person_with(server.anna.id)
        said = [(line.purpose, line.granted) for line in await ledger_of(desk.store, person.id)]
        assert said == [("context", True), ("store", True), ("store", False)]


async def test_who_asks_to_be_forgotten_is_shown_all_and_then_forgotten(desk: Desk) -> None:
    async with opened(desk) as server:
        await server.anna.slash(server.channel, "ask-ages", prompt="My cat is called Ottokar", count=2)
        used = await server.anna.slash(server.channel, "privacy export")
        [file] = used.response.attachments
        kept = json.loads(await file.read())
        assert [m["text"] for m in kept["messages"]] == ["My cat is called Ottokar"]
        asked = await server.anna.slash(server.channel, "privacy forget")
        gone = await server.anna.click(asked.response, label="Erase what is kept of me")
        assert gone.response.content.startswith("Forgotten: 1 messages")
        [scene] = await desk.store.scenes(name="ask-ages")
        assert (await desk.store.messages(scene.id))[0].text == ""
        assert (await desk.person_with(server.anna.id)).pseudonym == "guest-2"


async def test_only_who_manages_the_server_may_set_things(desk: Desk) -> None:
    async with opened(desk) as server:
        with pytest.raises(simcord.SetupError):
            await server.anna.slash(server.channel, "config channel", key="stream", value="on")
        with pytest.raises(simcord.SetupError):
            await server.anna.slash(server.channel, "sleep", who="Ember")
        told = await server.boss.slash(server.channel, "config channel", key="stream", value="on")
        assert "`stream`: on" in told.response.content
        wrong = await server.boss.slash(server.channel, "config channel", key="lines", value="many")
        assert "lines cannot be 'many'" in wrong.response.content
        told = await server.boss.slash(
            server.channel, "config self", who="ember", key="temperature", value="0.5"
        )
        assert "**Ember**: `temperature` 0.5" in told.response.content
        place = f"discord:{server.channel.id}"
        assert (await settings.of_place(desk.store, place)).stream
        await server.boss.slash(server.channel, "sleep", who="Ember", hours=2.0)
        assert await settings.asleep(desk.store) == {"Ember"}
        await server.boss.slash(server.channel, "wake", who="Ember")
        assert await settings.asleep(desk.store) == set()


async def test_a_channel_is_opened_and_closed_by_who_manages_it(desk: Desk) -> None:
    async with opened(desk) as server:
        other = server.env.guild.create_text_channel("other")
        refused = await server.anna.slash(other, "halt")
        assert f"<#{server.channel.id}>" in refused.response.content
        await server.boss.slash(other, "config open")
        assert other.id in desk.rooms
        assert other.last_message is not None
        assert "Selves live in this channel" in other.last_message.content
        await server.boss.slash(other, "config close")
        assert other.id not in desk.rooms


async def test_what_is_suggested_follows_what_is_typed(desk: Desk) -> None:
    async with opened(desk) as server:

        async def suggested(command: str, option: str, typed: str) -> list[str]:
            found = await server.anna.autocomplete(server.channel, command, option, typed)
            return [choice["value"] for choice in found]

        assert await suggested("diary", "who", "em") == ["Ember"]
        assert await suggested("letters", "who", "") == ["Ember", "Spark"]
        assert "tiny@base-000016" in await suggested("ask-ages", "ages", "tiny@base")
        assert await suggested("ask-ages", "ages", "Ember, tiny@chat") == ["Ember, tiny@chat-000008"]
        for key, typed, values in (
            ("hear", "", ["all", "consenting"]),
            ("stream", "o", ["on", "off"]),
            ("selves", "Ember, sp", ["Ember, Spark"]),
            ("lines", "", []),
        ):
            found = await server.boss.autocomplete(server.channel, "config channel", "value", typed, key=key)
            assert [choice["value"] for choice in found] == values


async def test_they_tell_who_they_are_and_what_they_wrote(desk: Desk) -> None:
    async with opened(desk) as server:
        who = await server.anna.slash(server.channel, "who")
        assert "**Spark**: `tiny@base-000000`, not on Discord" in who.response.content
        assert "0 ages" in (await server.anna.slash(server.channel, "stats")).response.content
        diary = await server.anna.slash(server.channel, "diary", who="Ember")
        assert "has written none" in diary.response.content
        letters = await server.anna.slash(server.channel, "letters", who="Ember")
        assert "has written none" in letters.response.content


async def test_ages_for_adults_are_neither_asked_nor_shown_in_an_open_channel(desk: Desk) -> None:
    cast = desk.cast.model_dump()
    cast["persona"][0]["age_restricted"] = True
    desk.cast = Cast.model_validate(cast)
    async with opened(desk) as server:
        refused = await server.anna.slash(
            server.channel, "ask-ages", prompt="How are you?", ages="Ember, Spark"
        )
        assert "Nobody answers to tiny@chat-000008 in this channel." in told(refused)
        await server.anna.slash(server.channel, "ask-ages", prompt="How are you?", lineage="tiny", count=2)
        [scene] = await desk.store.scenes(name="ask-ages")
        assert "tiny@chat-000008" not in {sample.address for sample in await desk.store.generations(scene.id)}


async def test_what_a_filter_refuses_is_no_answer_and_no_ballot(desk: Desk) -> None:
    desk.cast = desk.cast.model_copy(update={"filter": Filter(function=f"{__name__}:refuse_all")})
    async with opened(desk) as server:
        refused = await server.anna.slash(server.channel, "ask-ages", prompt="How are you?", count=2)
        assert "Too few of them gave an answer" in told(refused)
        [scene] = await desk.store.scenes(name="ask-ages")
        [question] = await desk.store.messages(scene.id)
        assert question.human
        assert len(await desk.store.generations(scene.id)) == 2


async def test_two_samples_are_voted_on_blind_and_each_pair_once(desk: Desk) -> None:
    ember = desk.cast.find_persona("Ember")
    scene = await desk.store.begin_scene(desk.cast.find_scene("meeting"), place="terminal")
    prompt, sampling = await desk.voice.compose(ember, [Line("Host", "How are you today?")])
    wild = [sampling.model_copy(update={"seed": seed, "temperature": 2}) for seed in (1, 2)]
    drawn = [await desk.voice.say(ember.address, prompt, each) for each in wild]
    assert drawn[0].text.strip() != drawn[1].text.strip() != ""
    await desk.store.keep_turn(scene.id, speaker="Ember", utterances=drawn, chosen=0)
    async with opened(desk) as server:
        none = await server.anna.slash(server.channel, "vote", lineage="nobody")
        assert "nothing to vote on" in none.response.content
        used = await server.anna.slash(server.channel, "vote", lineage="tiny")
        assert used.ephemeral
        assert "How are you today?" in used.response.content
        assert "Ember" not in used.response.content
        assert "tiny" not in used.response.content
        voted = await server.anna.click(used.response, label="The first")
        assert voted.acknowledged
        again = await server.anna.slash(server.channel, "vote")
        assert "nothing to vote on" in again.response.content
    async with desk.store.reading() as session:
        [vote] = await feedback.find_opinions(session, ["vote"])
    assert (vote.value, vote.shown_first) == ("first", vote.generation_id)


async def test_a_letter_of_a_self_is_shown(desk: Desk) -> None:
    ember = desk.cast.find_persona("Ember")
    spec = SceneSpec(name="onward", kind="letter", cast=("Ember",), to="future")
    scene = await desk.store.begin_scene(spec, place="terminal")
    utterance = await desk.voice.say(ember.address, *await desk.voice.compose(ember, [Line("Host", "Hi!")]))
    text = "Dear Ember, I am well."
    await desk.store.keep_turn(scene.id, speaker="Ember", utterances=[utterance], chosen=0, text=text)
    async with opened(desk) as server:
        letters = await server.anna.slash(server.channel, "letters", who="Ember")
        assert letters.response.content.startswith("`tiny@chat-000008`, <t:")
        assert letters.response.content.endswith(text)
        others = await server.anna.slash(server.channel, "letters", who="Spark")
        assert "has written none" in others.response.content
        grown_up = desk.cast.model_dump()
        grown_up["persona"][0]["age_restricted"] = True
        desk.cast = Cast.model_validate(grown_up)
        closed = await server.anna.slash(server.channel, "letters", who="Ember")
        assert "none yet that may be read here" in closed.response.content


async def test_the_templates_of_policies_name_what_there_is(desk: Desk) -> None:
    registrar = Registrar(desk, lambda: None, 0.02)
    commands = {command.qualified_name for command in registrar.tree.walk_commands()}
    for name in ("PRIVACY.md", "TERMS.md"):
        text = (HOUSE / name).read_text("utf-8")
        named = set(re.findall(r"`/([a-z -]+)`", text))
        assert named <= commands, named - commands
        assert "🚩" in text
    assert f"{HUMAN_TEXT_KEPT.days} days" in (HOUSE / "PRIVACY.md").read_text("utf-8")


async def test_buttons_work_after_a_restart(desk: Desk) -> None:
    async with opened(desk) as server:
        used = await server.anna.slash(server.channel, "consent")
        await server.env.restart_bot(Registrar(desk, lambda: None, 0.02))
        pressed = await server.anna.click(used.response, label="diary")
        assert pressed.acknowledged
        person = await desk.person_with(server.anna.id)
        assert [line.purpose for line in await ledger_of(desk.store, person.id)] == ["diary"]
