"""Private conversations, threads and forks; what is heard of whom; answers that are seen growing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots import settings, streaming
from bots.room import ASLEEP
from memory import feedback, states
from memory.consent import allow
from memory.posted import message_at, person_at
from memory.store import open_store
from tests.bots.discord_house import DiscordHouse, end_when_seen, eventually, open_house


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        yield opened


async def test_who_writes_to_a_self_in_private_is_answered_by_it_there(house: DiscordHouse) -> None:
    private = house.anna.private(house.selves["Ember"])
    async with house.awake() as awake:
        house.anna.post(private, "are you there?")
        [_, answer] = await house.double.until(
            lambda: len(private.messages) == 2 and [*private.messages.values()]
        )

        async def kept() -> bool:
            return len(awake.fleet.rooms) == 2 and not await awake.store.unposted()

        await eventually(kept)
        [scene] = [s for s in await awake.store.scenes() if s.place.startswith("private:")]
        asked, said = await awake.store.messages(scene.id)
    assert answer.author is house.selves["Ember"].user
    assert (asked.speaker, said.speaker, said.platform_id) == ("guest-1", "Ember", answer.id)
    assert str(private.id) not in scene.place
    assert house.said() == []
    # what is said while nobody listens is found when the conversation goes on
    house.anna.post(private, "good night")
    async with house.awake() as awake:
        house.anna.post(private, "are you asleep?")
        await house.double.until(lambda: [*private.messages.values()][-1].author.bot)

        async def heard() -> bool:
            return [m.text for m in await awake.store.messages(scene.id) if m.human][1:] == [
                "good night",
                "are you asleep?",
            ]

        await eventually(heard)


async def test_a_thread_at_what_a_self_said_goes_on_from_there(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        house.anna.post(house.room, f"{house.double.mention(house.selves['Ember'])} hello")
        [first] = await house.until_said(1)
        await awake.settled()
        house.anna.post(house.room, "this is said elsewhere")
        thread = house.anna.begin_thread(house.room, "aside", first)
        house.anna.post(thread, "go on, please")
        await house.double.until(lambda: len(thread.messages) == 2)

        async def settled() -> bool:
            return not await awake.store.unposted()

        await eventually(settled)
        answer = await message_at(awake.store, max(thread.messages))
        assert answer is not None
        made = (await awake.store.provenance(answer.id)).generation
        scene = await awake.store.scene(answer.scene_id)
        said = await message_at(awake.store, first.id)
    assert said is not None
    assert scene.from_message_id == said.id
    assert made is not None
    assert made.prompt is not None
    read = made.prompt.text or " ".join(m.content for m in made.prompt.messages)
    assert "hello" in read
    assert "go on, please" in read
    assert "elsewhere" not in read


async def test_a_talk_in_a_thread_needs_no_name(house: DiscordHouse) -> None:
    async with house.awake():
        used = house.anna.invoke(house.registrar, house.room, "talk", who="Spark")
        await house.double.until(lambda: used.answers)
        [thread] = [c for c in house.double.world.channels.values() if c.parent is house.room]
    assert used.answers == [f"Spark listens in <#{thread.id}>."]
    async with house.awake():
        house.anna.post(thread, "what do you see?")
        [_, answer] = await house.double.until(
            lambda: len(thread.messages) == 2 and [*thread.messages.values()]
        )
    assert answer.author is house.selves["Spark"].user


async def test_of_people_who_did_not_agree_only_what_they_say_to_a_self_is_kept(house: DiscordHouse) -> None:
    house.extra = {"discord": {**house.cast().discord.model_dump(), "hear": "consenting"}}
    berta = house.double.add_human("Berta")
    ember = house.double.mention(house.selves["Ember"])
    async with house.awake() as awake:
        person = await person_at(awake.store, "selfhosted", berta.user.id)
        await allow(awake.store, person.id, "context", granted=True, notice="test", via="test")
        house.anna.post(house.room, "nobody's business")
        berta.post(house.room, "you may hear this")
        house.anna.post(house.room, f"{ember} hello")
        [answer] = await house.until_said(1)
        house.anna.post(house.room, "and this is to you", reply_to=answer)
        await house.until_said(2)
        texts = [m.text for m in await awake.settled() if m.human]
        assert texts == ["you may hear this", "@Ember hello", "and this is to you"]
        # who refuses is not heard where all others are
        await settings.change_place(awake.store, house.place, "hear", "all")
        await allow(awake.store, person.id, "context", granted=False, notice="test", via="test")
        berta.post(house.room, "not any more")
        house.anna.post(house.room, "but this")

        async def heard() -> bool:
            return [m.text for m in await awake.kept() if m.human][3:] == ["but this"]

        await eventually(heard)


async def test_what_is_kept_of_one_is_shown_and_erased_in_a_private_message(house: DiscordHouse) -> None:
    private = house.anna.private(house.registrar)
    async with house.awake() as awake:
        house.anna.post(house.room, f"{house.double.mention(house.selves['Ember'])} I like tea")
        await house.until_said(1)
        await awake.settled()
        shown = house.anna.invoke(house.registrar, private, "privacy show")
        await house.double.until(lambda: shown.answers)
        switches = house.anna.invoke(house.registrar, private, "consent")
        await house.double.until(lambda: switches.answers)
        asked = house.anna.invoke(house.registrar, private, "privacy forget")
        await house.double.until(lambda: asked.original)
        assert asked.original is not None
        house.anna.press(house.registrar, asked.original, "Erase what is kept of me")

        async def forgotten() -> bool:
            return [m.text for m in await awake.kept() if m.human] == [""]

        await eventually(forgotten)
    assert "What is kept" in shown.answers[0]
    assert "You are **guest-1**" in switches.answers[0]


async def test_the_registrar_tells_once_what_is_heard(house: DiscordHouse) -> None:
    house.extra = {"discord": {**house.cast().discord.model_dump(), "notice": True}}
    for _ in range(2):
        async with house.awake() as awake:
            await house.double.until(lambda: house.room.messages)
            await awake.until_caught_up()
            house.anna.post(house.room, f"{house.double.mention(house.selves['Ember'])} hello")
            await house.double.until(lambda: [*house.room.messages.values()][-1].author.bot)
    notices = [m for m in house.room.messages.values() if m.author is house.registrar.user]
    assert len(notices) == 1
    assert "Selves live in this channel" in notices[0].content


async def test_attached_text_is_read_and_other_files_are_not(house: DiscordHouse) -> None:
    files = {"poem.txt": b"the ember glows", "picture.png": b"\x89PNG\0\0"}
    async with house.awake() as awake:
        house.anna.post(house.room, f"{house.double.mention(house.selves['Ember'])} read this", files=files)
        await house.until_said(1)
        heard, _ = await awake.settled()
    assert heard.text == "@Ember read this\n[poem.txt]\nthe ember glows"


async def test_a_self_that_sleeps_shows_it_and_says_nothing(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        await settings.send_to_sleep(awake.store, "Ember", None)
        asked = house.anna.post(house.room, f"{house.double.mention(house.selves['Ember'])} hello")
        await house.double.until(lambda: asked.reactions)
        house.anna.post(house.room, f"{house.double.mention(house.selves['Spark'])} hello")
        await house.until_said(1)
        await awake.settled()
    assert list(asked.reactions) == [ASLEEP]
    assert [m.author.name for m in house.said()] == ["Spark"]


# ---------------------------------------------------------------- the menu of a message


async def test_another_answer_more_of_it_and_what_produced_it(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        house.anna.post(house.room, f"{house.double.mention(house.selves['Ember'])} hello")
        [first] = await house.until_said(1)
        await awake.settled()
        house.anna.menu(house.registrar, first, "Another answer")
        second = (await house.until_said(2))[1]
        await awake.settled()
        house.anna.menu(house.registrar, second, "Go on")
        third = (await house.until_said(3))[2]
        await awake.settled()
        told = house.anna.menu(house.registrar, third, "What produced this")
        house.anna.menu(house.registrar, first, "Report")
        await house.double.until(lambda: told.answers)
        house.anna.react(second, "👍")
        house.anna.react(second, "👎")
        house.anna.unreact(second, "👎")

        async def thought() -> list[tuple[str, str | None]]:
            async with awake.store.reading() as session:
                said = await feedback.find_opinions(session, ["reaction", "regenerated"])
            return sorted((opinion.kind, opinion.value) for opinion in said)

        async def settled() -> bool:
            return await thought() == [("reaction", "up"), ("regenerated", None), ("reported", None)]

        await eventually(settled)
        messages = await awake.settled()
    heard = [m for m in messages if m.human]
    lines = [m for m in messages if not m.human]
    assert [m.reply_to for m in lines] == [heard[0].id, heard[0].id, lines[1].id]
    assert "`tiny@chat-000008`" in told.answers[0]
    assert "hello" not in told.answers[0]


async def test_a_fork_goes_on_in_a_thread(house: DiscordHouse) -> None:
    async with house.awake() as awake:
        house.anna.post(house.room, f"{house.double.mention(house.selves['Ember'])} hello")
        [first] = await house.until_said(1)
        await awake.settled()
        used = house.anna.menu(house.registrar, first, "Fork from here")
        await house.double.until(lambda: used.answers)
        assert used.answers == [f"It goes on in <#{first.id}>."]
        assert house.double.world.channels[first.id].parent is house.room
        assert awake.fleet.rooms[first.id].where.to == "Ember"


# ---------------------------------------------------------------- answers that grow


async def test_an_answer_is_seen_growing_and_stands_there_once(
    house: DiscordHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "PAUSE_S", 0.0)
    end_when_seen(monkeypatch, house)
    ember = house.selves["Ember"]
    async with house.awake() as awake:
        await settings.change_place(awake.store, house.place, "stream", "on")
        asked = house.anna.post(house.room, f"{house.double.mention(ember)} hello")
        await house.until_said(1)

        async def whole() -> bool:
            return len(await awake.settled()) == 2

        await eventually(whole)
        _, said = await awake.settled()

        async def nothing_is_half_said() -> bool:
            return await states.get(awake.store, f"growing:{house.place}") is None

        await eventually(nothing_is_half_said)
    [answer] = house.said()
    assert (answer.content, answer.id, answer.reply_to_id) == (said.text, said.platform_id, asked.id)
    assert len(house.double.requests("POST", "/messages", by=ember)) == 1
    assert house.double.requests("PATCH", "/messages", by=ember)


async def test_what_was_left_half_said_is_taken_back_and_said_again(house: DiscordHouse) -> None:
    ember = house.selves["Ember"]
    async with house.awake() as awake:
        await settings.change_place(awake.store, house.place, "stream", "on")
        await awake.until_caught_up()
    asked = house.anna.post(house.room, f"{house.double.mention(ember)} hello")
    torso = house.double.world.post(ember.user, house.room, "I thi ▌", reply_to_id=asked.id)
    async with open_store(house.database_url) as store:
        note = {"account": "Ember", "reply_to": str(asked.id)}
        await states.put(store, f"growing:{house.place}", note)
    async with house.awake() as awake:
        await house.double.until(lambda: torso.id not in house.room.messages)
        await house.until_said(1)
        await awake.settled()
    assert len(house.said()) == 1
