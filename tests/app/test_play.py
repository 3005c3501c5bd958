"""A scene on a page: it plays, is paused and goes on, branches off, and a line is said again."""

from __future__ import annotations

import asyncio
import queue
import threading

import pytest

from app.chorus import PERSON
from app.company import company, first_cast
from app.forks import OWN, Branching, keep_better, say_again
from app.play import Began, Ended, Event, Growing, Play, Said, perform
from bots.pick import SAMPLES
from bots.scene import ATTEMPTS
from memory.feedback import rate
from memory.forget import forget
from memory.passages import read_material
from memory.store import open_store
from memory.types import Message
from selves.cast import Cast, Filter, Persona, SceneSpec
from selves.errors import UsageError
from selves.lineage import list_ages
from selves.settings import House
from serving.voice import Voice
from tests.memory.parts import every_cell

NEWBORN, CHILD = "Tiny base 0", "Tiny base 4"
PREMISE, OPENING = "Anna is ill.", "How is Anna?"


@pytest.fixture
def everybody(served_house: House) -> Cast:
    return company(None, list_ages(served_house.checkpoints))


def a_scene(turns: int = 3) -> SceneSpec:
    return SceneSpec(
        name="meeting",
        cast=(NEWBORN, CHILD),
        premise="They meet.",
        opening="Hi! How are you?",
        order="round",
        max_turns=turns,
    )


async def play_through(house: House, url: str, cast: Cast, spec: SceneSpec, *where: object) -> Play:
    """Play a scene to its end, and return it as a page would have it."""
    key, origin = (*where, None)[:2] if where else ("web/test", None)
    events: list[Event] = []
    play = Play(cast, spec, str(key), origin if isinstance(origin, int) else None, running=True)
    await perform(url, house, cast, spec, play.key, play.from_message_id, events.append, play.pausing)
    for event in events:
        play.take(event)
    assert isinstance(events[0], Began)
    assert isinstance(events[-1], Ended)
    assert any(isinstance(event, Growing) and event.text for event in events)
    posted = [event.message.id for event in events if isinstance(event, Said)]
    assert posted == [line.id for line in play.lines if not line.human]
    return play


async def test_a_scene_of_guests_plays_and_every_line_is_shown_and_kept(
    served_house: House, url: str, everybody: Cast
) -> None:
    play = await play_through(served_house, url, everybody, a_scene())
    assert play.error is None
    assert play.scene is not None
    assert (play.stop_reason, play.running) == ("max_turns", False)
    async with open_store(served_house.database_url) as store:
        kept = await store.messages(play.scene.id)
        provenance = await store.provenance(kept[-1].id)
    assert [m.id for m in kept] == [m.id for m in play.lines]
    assert play.lines[0].text == "Hi! How are you?"
    assert provenance.checkpoint is not None, "who speaks is registered"


async def test_a_premise_and_a_first_line_of_ones_own_are_used_for_nothing_but_the_talk(
    served_house: House, url: str, everybody: Cast
) -> None:
    own = a_scene().model_copy(update={"name": OWN, "premise": PREMISE, "opening": OPENING})
    play = await play_through(served_house, url, everybody, own)
    assert play.scene is not None
    told, opening, *answers = play.lines
    assert [told.text, opening.text] == [PREMISE, OPENING]
    fork = await play_through(served_house, url, everybody, own, "web/fork", opening.id)
    assert fork.scene is not None
    async with open_store(served_house.database_url) as store:
        generations = [
            *await store.generations(play.scene.id),
            *await store.generations(fork.scene.id),
        ]
        prompts = [generation.prompt.text for generation in generations if generation.prompt]
        assert len(prompts) == len(generations)
        assert {prompt.count(PREMISE) for prompt in prompts} <= {0, 1}, "told, and not heard once more"
        assert prompts[0].count(PREMISE) == 1
        assert all(told.id in generation.prompt_message_ids for generation in generations)
        material = await read_material(store, lines=[line.id for line in play.lines])
        assert answers
        assert not any(verdict.allowed for verdict in material.line_verdicts.values())
        await forget(store, PERSON)
        assert {line.text for line in await store.messages(play.scene.id) if line.human} == {""}
    kept = every_cell(served_house.database_url)
    assert PREMISE not in kept
    assert OPENING not in kept


async def test_a_scene_that_was_paused_goes_on_and_hears_who_stepped_in(
    served_house: House, url: str, everybody: Cast
) -> None:
    said = asyncio.Event()

    def put(event: Event) -> None:
        if isinstance(event, Said) and event.message.address:
            said.set()

    spec = a_scene(turns=4)
    never = threading.Event()
    work = asyncio.create_task(perform(url, served_house, everybody, spec, "web/test", None, put, never))
    await said.wait()
    work.cancel()
    await asyncio.wait([work])
    async with open_store(served_house.database_url) as store:
        (scene,) = await store.scenes()
        assert scene.status == "open"
        stepped_in = await store.say(scene.id, speaker="You", text="Do you like the sea?", origin="parlor")
    play = await play_through_again(served_house, url, everybody, spec)
    async with open_store(served_house.database_url) as store:
        generations = await store.generations(scene.id)
    assert play.stop_reason == "max_turns"
    assert any(stepped_in.id in generation.prompt_message_ids for generation in generations)


async def test_a_pause_keeps_the_line_that_is_being_said(
    served_house: House, url: str, everybody: Cast
) -> None:
    events: list[Event] = []
    pausing = threading.Event()

    def put(event: Event) -> None:
        events.append(event)
        if isinstance(event, Growing) and event.text:
            pausing.set()

    spec = a_scene(turns=40)
    await perform(url, served_house, everybody, spec, "web/test", None, put, pausing)
    assert events[-1] == Ended(None, None)
    async with open_store(served_house.database_url) as store:
        (scene,) = await store.scenes()
        generations = await store.generations(scene.id)
        lines = [message for message in await store.messages(scene.id) if message.address]
    assert scene.status == "open"
    assert all(generation.finish_reason in ("stop", "length") for generation in generations), (
        "said to its end"
    )
    assert [event.message.id for event in events if isinstance(event, Said)][1:] == [m.id for m in lines]
    assert scene.turns <= 1, "nobody else speaks"


def nothing_is_fit(text: str, speaker: str) -> str:
    return f"{speaker} may not say {len(text)} letters"


async def test_a_pause_between_two_refused_tries_keeps_both(
    served_house: House, url: str, everybody: Cast
) -> None:
    pausing = threading.Event()
    events: list[Event] = []

    def put(event: Event) -> None:
        events.append(event)
        if isinstance(event, Growing) and event.text:
            pausing.set()

    spec = a_scene(turns=40).model_copy(update={"opening": ""})
    mute = everybody.model_copy(update={"filter": Filter(function=f"{__name__}:nothing_is_fit")})
    await perform(url, served_house, mute, spec, "web/test", None, put, pausing)
    assert events[-1] == Ended(None, None)
    async with open_store(served_house.database_url) as store:
        (scene,) = await store.scenes()
        generations = await store.generations(scene.id)
    assert (scene.status, scene.turns) == ("open", 1)
    assert len(generations) == ATTEMPTS * SAMPLES
    assert not any(generation.chosen for generation in generations)


async def test_a_scene_between_two_lines_pauses_at_once() -> None:
    cast = Cast(persona=(Persona(name="Ash", address="tiny@base-000000"),))
    play = Play(cast, a_scene(), "web/test", running=True, events=queue.Queue())
    play.events.put(Ended(None, None))
    play.pause()
    assert (play.running, play.pausing.is_set()) == (False, False)
    play = Play(cast, a_scene(), "web/test", running=True, growing=Growing("Ash", "I am"))
    play.pause()
    assert (play.running, play.pausing.is_set()) == (True, True)


async def test_a_fork_of_a_kind_with_parts_goes_on_with_whoever_is_next(
    served_house: House, url: str, everybody: Cast
) -> None:
    tellers = (NEWBORN, CHILD, "Tiny base 16")
    spec = SceneSpec(name="tale", kind="retelling", cast=tellers, opening="A fox found a hat.", max_turns=9)
    async with open_store(served_house.database_url) as store:
        told = await store.begin_scene(spec, place="web", key="web/told")
        for speaker in ("Host", NEWBORN, CHILD):
            line = await store.say(told.id, speaker=speaker, text=spec.opening, origin="operator")
            await store.mark_posted(line.id)
        _, first, second = await store.messages(told.id)
    for key, origin, others in (("web/1", first, tellers[1:]), ("web/2", second, tellers[2:])):
        fork = await play_through(served_house, url, everybody, spec, key, origin.id)
        assert fork.scene is not None
        assert fork.stop_reason == "all_spoken"
        async with open_store(served_house.database_url) as store:
            asked = {generation.address for generation in await store.generations(fork.scene.id)}
        assert asked == {persona.address for persona in everybody.persona if persona.name in others}


async def play_through_again(house: House, url: str, cast: Cast, spec: SceneSpec) -> Play:
    play = Play(cast, spec, "web/test", running=True)
    await perform(url, house, cast, spec, play.key, None, play.take, play.pausing)
    return play


async def test_a_fork_goes_on_from_a_line_as_if_nothing_had_been_said_since(
    served_house: House, url: str, everybody: Cast
) -> None:
    first = await play_through(served_house, url, everybody, a_scene())
    origin = first.lines[1]
    fork = await play_through(served_house, url, everybody, a_scene(turns=1), "web/fork", origin.id)
    assert [m.id for m in fork.before] == [m.id for m in first.lines[:2]]
    assert fork.scene is not None
    async with open_store(served_house.database_url) as store:
        (generation, *_) = await store.generations(fork.scene.id)
        heard = await Branching(store).messages(fork.scene.id)
    assert generation.prompt_message_ids[-1] == origin.id
    assert [m.id for m in heard] == [m.id for m in (*first.lines[:2], *fork.lines)]


@pytest.mark.parametrize("new_is_better", [True, False])
async def test_a_line_that_was_said_again_is_kept_beside_the_former_one_and_the_better_is_noted(
    served_house: House, url: str, everybody: Cast, new_is_better: bool
) -> None:
    play = await play_through(served_house, url, everybody, a_scene())
    line: Message = play.lines[2]
    async with open_store(served_house.database_url) as store, Voice(url) as voice:
        again = await say_again(store, voice, everybody, line.id, "web/again")
        assert again.scene.from_message_id == play.lines[1].id
        assert again.former.id == line.id
        if again.new is None:  # it babbled nothing that can be said; both samples are kept all the same
            assert await store.generations(again.scene.id)
            return
        assert again.new.text != line.text
        await keep_better(store, again, new_is_better=new_is_better)
        assert (await store.scene(again.scene.id)).status == ("open" if new_is_better else "ended")
        assert (await rate(store)).votes == 0, "two lines of one age say nothing of ages"


async def test_what_no_self_said_cannot_be_said_again(served_house: House, url: str, everybody: Cast) -> None:
    play = await play_through(served_house, url, everybody, a_scene(turns=1))
    async with open_store(served_house.database_url) as store, Voice(url) as voice:
        with pytest.raises(UsageError, match="cannot be said again"):
            await say_again(store, voice, everybody, play.lines[0].id, "web/again")


async def test_without_an_engine_the_scene_says_so(house: House, nobody: str) -> None:
    cast = company(None, list_ages(house.checkpoints))
    events: list[Event] = []
    await perform(nobody, house, cast, a_scene(), "web/test", None, events.append, threading.Event())
    (ended,) = [event for event in events if isinstance(event, Ended)]
    assert ended.error is not None


def test_every_age_may_play_and_the_cast_keeps_its_names(house: House) -> None:
    ages = list_ages(house.checkpoints)
    everybody = company(None, ages)
    assert {persona.address for persona in everybody.persona} == {age.card.address for age in ages}
    again = company(everybody, ages)
    assert again.persona == everybody.persona
    assert first_cast(everybody, again) == [persona.name for persona in everybody.persona[:4]]
    with pytest.raises(UsageError, match="nobody is there"):
        company(None, [])
