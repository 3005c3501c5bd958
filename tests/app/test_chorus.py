"""Several ages answer one question at once, through the real server, and all of it is kept."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from app.chorus import Answered, Event, Finished, Piece, Question, Trouble, choose_ages, keep, sing
from memory.store import open_store
from selves.errors import EngineError
from selves.lineage import list_ages
from selves.settings import House
from selves.speech import Sampling

LONG = ("tiny@base-000032", "tiny@base-000033")


def question(*addresses: str, max_tokens: int = 24) -> Question:
    return Question(
        prompt="<Ash> Hi!",
        addresses=addresses,
        sampling=Sampling(max_tokens=max_tokens, temperature=1, seed=3),
    )


async def test_all_ages_answer_and_their_pieces_interleave(served_house: House, url: str) -> None:
    events: list[Event] = []
    await sing(url, "", served_house.database_url, question(*LONG, max_tokens=64), events.append)
    assert isinstance(events[-1], Finished)
    speakers = [event.address for event in events if isinstance(event, Piece)]
    first_end = next(n for n, event in enumerate(events) if isinstance(event, Answered))
    assert set(speakers[:first_end]) == set(LONG), "one waited for the other to end"
    switches = sum(a != b for a, b in itertools.pairwise(speakers))
    assert switches > 2


async def test_the_last_piece_is_what_is_kept(served_house: House, url: str) -> None:
    events: list[Event] = []
    asked = question("tiny@base-000004", "tiny@chat-000008")
    await sing(url, "", served_house.database_url, asked, events.append)
    ended = events[-1]
    assert isinstance(ended, Finished)
    assert ended.scene_id is not None
    async with open_store(served_house.database_url) as store:
        scene = await store.scene(ended.scene_id)
        opening, *answers = await store.messages(scene.id)
        generations = await store.generations(scene.id)
    assert (scene.place, scene.status, scene.stop_reason) == ("web", "ended", "answered")
    assert (opening.origin, opening.text, opening.human) == ("parlor", "<Ash> Hi!", True)
    shown = {event.address: event.text for event in events if isinstance(event, Piece)}
    assert {message.address: message.text for message in answers} == shown
    assert all(message.reply_to == opening.id and message.status == "posted" for message in answers)
    assert [generation.form for generation in generations] == ["transcript", "chat"]
    assert all(g.prompt_has_human and g.prompt_message_ids == (opening.id,) for g in generations)
    assert all(g.weights_sha256 for g in generations)


async def test_the_same_seed_gives_the_same_words(served_house: House, url: str) -> None:
    said = []
    for _ in range(2):
        events: list[Event] = []
        await sing(url, "", served_house.database_url, question("tiny@base-000004"), events.append)
        said.append([event.utterance.text for event in events if isinstance(event, Answered)])
    assert said[0] == said[1]


async def test_cancelling_ends_the_answers_and_keeps_what_had_come(served_house: House, url: str) -> None:
    events: list[Event] = []
    begun = asyncio.Event()

    def put(event: Event) -> None:
        events.append(event)
        if {e.address for e in events if isinstance(e, Piece)} == set(LONG):
            begun.set()

    work = asyncio.create_task(
        sing(url, "", served_house.database_url, question(*LONG, max_tokens=4096), put)
    )
    await begun.wait()
    work.cancel()
    await asyncio.wait([work])
    ended = events[-1]
    assert isinstance(ended, Finished)
    assert ended.scene_id is not None
    async with open_store(served_house.database_url) as store:
        scene = await store.scene(ended.scene_id)
        generations = await store.generations(scene.id)
    assert scene.stop_reason == "stopped"
    assert {g.finish_reason for g in generations} == {"cancelled"}
    assert all(g.text for g in generations)


async def test_what_was_said_is_kept_though_it_is_stopped_while_it_is_being_kept(
    served_house: House, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keep_and_be_stopped(*what: Any) -> Finished:
        work.cancel()
        return await keep(*what)

    monkeypatch.setattr("app.chorus.keep", keep_and_be_stopped)
    events: list[Event] = []
    work = asyncio.create_task(
        sing(url, "", served_house.database_url, question("tiny@base-000004"), events.append)
    )
    await asyncio.wait([work])
    ended = events[-1]
    assert isinstance(ended, Finished)
    assert ended.scene_id is not None
    assert list(ended.kept) == ["tiny@base-000004"]


async def test_an_age_that_does_not_exist_does_not_disturb_the_others(served_house: House, url: str) -> None:
    events: list[Event] = []
    asked = question("tiny@base-000004", "tiny@base-999999")
    await sing(url, "", served_house.database_url, asked, events.append)
    troubles = [event for event in events if isinstance(event, Trouble)]
    assert [trouble.address for trouble in troubles] == ["tiny@base-999999"]
    assert [e.utterance.address for e in events if isinstance(e, Answered)] == ["tiny@base-000004"]


async def test_without_an_engine_there_is_one_trouble_and_nothing_is_kept(house: House, nobody: str) -> None:
    events: list[Event] = []
    await sing(nobody, "", house.database_url, question(*LONG), events.append)
    trouble, ended = events
    assert isinstance(trouble, Trouble)
    assert isinstance(trouble.error, EngineError)
    assert ended == Finished(None)
    assert not (house.home / "selves.db").exists()


def test_newborn_middle_and_newest_are_chosen(checkpoints: Path) -> None:
    ages = list_ages(checkpoints)
    assert choose_ages(ages) == ["tiny@base-000000", "tiny@base-000016", "tiny@chat-000008"]
    elder = ages[0]._replace(
        card=ages[0].card.model_copy(update={"address": "old@import-000000", "origin": "imported"})
    )
    assert choose_ages([*ages, elder])[-1] == "old@import-000000"
    assert choose_ages([elder]) == ["old@import-000000"]
    assert choose_ages(ages[:1]) == ["tiny@base-000000"]


@pytest.mark.parametrize("prompt", ["", "\n", "\x00\u202e"])
async def test_an_odd_prompt_ends_too(served_house: House, url: str, prompt: str) -> None:
    events: list[Event] = []
    asked = question("tiny@base-000004").model_copy(update={"prompt": prompt})
    await sing(url, "", served_house.database_url, asked, events.append)
    assert isinstance(events[-1], Finished)
