"""Scenes played whole: a real store, a real engine with tiny ages, a channel that remembers what it shows."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from bots.pick import SAMPLES
from bots.scene import finish, play
from memory import leases
from memory.store import Store
from memory.types import Message
from selves.cast import Cast, Persona, PersonaSampling, SceneSpec
from selves.errors import EngineError, UsageError
from serving.voice import Voice

SHORT = PersonaSampling(max_tokens=12, temperature=1.0)
CAST = Cast(
    persona=(
        Persona(name="Spark", address="tiny@base-000000", talkativeness=0.3, sampling=SHORT),
        Persona(name="Tinder", address="tiny@base-000016", sampling=SHORT),
        Persona(name="Ember", address="tiny@chat-000008", about="You are Ember.", sampling=SHORT),
    )
)
MEETING = SceneSpec(
    name="meeting",
    cast=("Spark", "Tinder", "Ember"),
    premise="They meet.",
    opening="Hi! How are you all?",
    max_turns=5,
)
LETTER = SceneSpec(name="home", kind="letter", cast=("Tinder", "Ember"), premise="One writes to the other.")
BROKEN = Cast(
    persona=(
        Persona(name="Ash", address="broken@base-000000"),
        Persona(name="Cinder", address="broken@base-000000"),
    )
)


class Paper:
    """A place that remembers what stood there, and that a person can silence."""

    place = "terminal"

    def __init__(self, *, halt_after: int | None = None) -> None:
        self.posted: list[Message] = []
        self.thought: list[str] = []
        self._halt_after = halt_after

    async def post(self, message: Message) -> int | None:
        self.posted.append(message)
        return None

    @asynccontextmanager
    async def thinking(self, persona: Persona) -> AsyncIterator[None]:
        self.thought.append(persona.name)
        yield

    def halted(self) -> bool:
        return self._halt_after is not None and len(self.posted) >= self._halt_after


class Torn(Paper):
    """A place that fails at the nth post, as a killed process or a lost connection would."""

    def __init__(self, fail_at: int) -> None:
        super().__init__()
        self._left = fail_at

    async def post(self, message: Message) -> int | None:
        self._left -= 1
        if self._left == 0:
            raise ConnectionError("gone")
        return await super().post(message)


async def test_a_scene_is_played_to_its_end_and_everything_is_kept(store: Store, voice: Voice) -> None:
    paper = Paper()
    played = await play(store, voice, paper, CAST, MEETING)
    assert (played.status, played.stop_reason, played.turns) == ("ended", "max_turns", 5)
    messages = await store.messages(played.id)
    assert [m.text for m in paper.posted] == [m.text for m in messages]
    assert {m.status for m in messages} == {"posted"}
    assert (messages[0].speaker, messages[0].origin, messages[0].text) == (
        "Host",
        "operator",
        MEETING.opening,
    )
    assert all(a.speaker != b.speaker for a, b in pairwise(messages))
    assert all("\n" not in m.text for m in messages)
    generations = await store.generations(played.id)
    assert {g.turn for g in generations} == {1, 2, 3, 4, 5}
    for message in messages[1:]:
        born = await store.provenance(message.id)
        assert born.generation is not None
        assert born.generation.prompt is not None
        assert born.generation.address == CAST.find_persona(message.speaker).address
        assert born.generation.prompt_message_ids


async def test_the_same_seed_gives_the_same_scene_and_another_seed_another(
    store: Store, voice: Voice
) -> None:
    async def text(seed: int) -> list[str]:
        played = await play(store, voice, Paper(), CAST, MEETING, seed=seed)
        return [f"{m.speaker}: {m.text}" for m in await store.messages(played.id)]

    first = await text(1)
    assert await text(1) == first
    assert await text(2) != first


async def test_a_scene_with_a_key_is_played_once(store: Store, voice: Voice) -> None:
    played = await play(store, voice, Paper(), CAST, MEETING, key="monday")
    again = Paper()
    assert await play(store, voice, again, CAST, MEETING, key="monday") == played
    assert again.posted == []


@pytest.mark.parametrize("fail_at", [1, 2, 4, 6])
async def test_a_scene_that_broke_off_goes_on_as_if_nothing_had_been(
    store: Store, voice: Voice, fail_at: int
) -> None:
    whole = await play(store, voice, Paper(), CAST, MEETING, seed=3)
    torn, rest = Torn(fail_at), Paper()
    with pytest.raises(ConnectionError):
        await play(store, voice, torn, CAST, MEETING, key="torn", seed=3)
    mended = await play(store, voice, rest, CAST, MEETING, key="torn", seed=3)
    told, expected = await store.messages(mended.id), await store.messages(whole.id)
    assert [(m.speaker, m.text) for m in told] == [(m.speaker, m.text) for m in expected]
    assert [m.id for m in torn.posted + rest.posted] == [m.id for m in told]
    assert mended.turns == whole.turns


async def test_the_first_writes_a_letter_and_the_second_answers_it(store: Store, voice: Voice) -> None:
    played = await play(store, voice, Paper(), CAST, LETTER, seed=2)
    first, second = await store.messages(played.id)
    assert played.stop_reason == "max_turns"
    assert (first.speaker, second.speaker) == ("Tinder", "Ember")
    assert first.text.startswith("Dear Ember,\n")
    asked = (await store.provenance(second.id)).generation
    assert asked is not None
    assert asked.prompt is not None
    assert asked.prompt_message_ids == (first.id,)
    assert "Tinder wrote you this letter" in asked.prompt.messages[-1].content


async def test_a_letter_to_oneself_is_no_scene(store: Store, voice: Voice) -> None:
    with pytest.raises(UsageError, match="writes to themselves"):
        await play(store, voice, Paper(), CAST, LETTER.model_copy(update={"cast": ("Ember", "ember")}))


async def test_a_person_can_halt_a_scene(store: Store, voice: Voice) -> None:
    paper = Paper(halt_after=3)
    played = await play(store, voice, paper, CAST, MEETING)
    assert played.stop_reason == "halted"
    assert len(paper.posted) == 3


async def test_a_scene_ends_when_its_time_is_up(store: Store, voice: Voice) -> None:
    moments = iter(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=4 * n) for n in range(20))
    played = await play(store, voice, Paper(), CAST, MEETING, now=lambda: next(moments))
    assert (played.stop_reason, played.turns) == ("time", 2)


async def test_selves_wait_for_a_person_after_so_many_lines(store: Store, voice: Voice) -> None:
    played = await play(store, voice, Paper(), CAST, MEETING, max_without_human=3)
    assert (played.stop_reason, played.messages) == ("no_human", 3)


async def test_an_age_that_is_not_served_is_named_before_anything_begins(store: Store, voice: Voice) -> None:
    strangers = Cast(
        persona=(
            CAST.persona[0],
            Persona(name="Old", address="other@chat-000001"),
            Persona(name="Elder", address="smollm2@import-000000"),
        )
    )
    spec = SceneSpec(name="meeting", cast=("Spark", "Old", "Elder"))
    with pytest.raises(EngineError) as caught:
        await play(store, voice, Paper(), strangers, spec)
    assert voice.base_url in caught.value.problem
    assert "other@chat-000001 (Old), smollm2@import-000000 (Elder)" in caught.value.problem
    assert "selves train run" in caught.value.fix
    assert "selves ages import smollm2" in caught.value.fix
    assert await store.scenes() == []


async def test_failed_turns_are_kept_and_three_in_a_row_end_the_scene(store: Store, voice: Voice) -> None:
    """The engine names this age, but fails when it is to speak: its weights are cut short on the disk."""
    spec = SceneSpec(name="meeting", cast=("Ash", "Cinder"))
    played = await play(store, voice, Paper(), BROKEN, spec)
    assert (played.stop_reason, played.turns, played.messages) == ("engine", 3, 0)
    failed = await store.generations(played.id)
    assert {g.turn for g in failed} == {1, 2, 3}
    assert {g.finish_reason for g in failed} == {"error"}
    assert all(g.error for g in failed)


async def test_a_refused_sample_is_kept_as_a_candidate(store: Store, voice: Voice) -> None:
    """A penalty below 1 makes them say the same again and again, which is refused both times."""
    stuck = PersonaSampling(max_tokens=60, temperature=0.0, repetition_penalty=0.5)
    cast = Cast(persona=tuple(p.model_copy(update={"sampling": stuck}) for p in CAST.persona))
    played = await play(store, voice, Paper(), cast, MEETING)
    samples = Counter(g.turn for g in await store.generations(played.id))
    posted = Counter(g.turn for g in await store.generations(played.id) if g.chosen)
    assert set(samples) == {1, 2, 3, 4, 5}
    assert set(samples.values()) <= {SAMPLES, 2 * SAMPLES}
    assert 2 * SAMPLES in samples.values()
    assert set(posted.values()) <= {1}
    assert len(posted) < 5


@pytest.mark.parametrize(
    ("text", "posted"),
    [
        ("I like it. And then I went to the", "I like it."),
        ('He said "no." And then I went', 'He said "no."'),
        ("Really? Yes! I am", "Really? Yes!"),
        ("It is done.", "It is done."),
        ("and then I went to the,", "and then I went to the…"),
        ("pi is 3.14159 and so", "pi is 3.14159 and so…"),
        ("", ""),
    ],
)
def test_a_line_whose_tokens_ran_out_ends_with_a_whole_sentence(text: str, posted: str) -> None:
    assert finish(text, was_cut=True) == posted
    assert finish(text, was_cut=False) == text


async def test_a_scene_is_played_by_one_process_at_a_time(store: Store, voice: Voice) -> None:
    scene = await store.begin_scene(MEETING, place="terminal", key="shared")
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )
    theirs = f"{socket.gethostname()}/{other.pid}/x"
    assert await leases.acquire(store, f"scene:{scene.id}", theirs, 300)
    with pytest.raises(UsageError, match="is being played by another process"):
        await play(store, voice, Paper(), CAST, MEETING, key="shared")
    assert (await store.scene(scene.id)).messages == 0
    other.kill()
    await other.wait()
    played = await play(store, voice, Paper(), CAST, MEETING, key="shared")
    assert played.stop_reason == "max_turns", "whoever died holds nothing"
    assert await leases.held(store, "scene:") == []


async def test_whoever_lost_a_scene_to_another_process_says_no_more(store: Store, voice: Voice) -> None:
    class Robbed(Paper):
        async def post(self, message: Message) -> int | None:
            [lease] = await leases.held(store, "scene:")
            await leases.release(store, lease.name, lease.holder)
            assert await leases.acquire(store, lease.name, "elsewhere/1/x", 300)
            return await super().post(message)

    paper = Robbed()
    with pytest.raises(UsageError, match="another process"):
        await play(store, voice, paper, CAST, MEETING, key="shared")
    # the opening was being posted when it was lost
    assert len(paper.posted) <= 2
    [lease] = await leases.held(store, "scene:")
    assert lease.holder == "elsewhere/1/x"
