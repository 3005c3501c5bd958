"""A self's diary of its days: entry, week and chapter, every line citing what it tells of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.daily import find_entry, keep_entry
from bots.days import LINES, MOST, groups, period, untold
from bots.nights import due, write_due
from memory import consent
from memory.store import Store, open_store
from memory.types import Message
from selves.cast import Cast, DiaryTimes, Persona, PersonaSampling, SceneSpec
from selves.speech import Prompt, Sampling, Utterance
from serving.voice import Voice
from tests.memory.parts import Clock

SPARK = Persona(
    name="Spark", address="tiny@base-000016", sampling=PersonaSampling(max_tokens=8, temperature=1.0)
)
MONDAY = date(2026, 4, 27)


@pytest.fixture
async def clock() -> Clock:
    clock = Clock()
    clock.now = datetime(2026, 4, 28, 20, tzinfo=UTC)
    return clock


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    async with open_store(f"sqlite+aiosqlite:///{tmp_path / 'selves.db'}", clock=clock) as opened:
        yield opened


async def talk(store: Store, clock: Clock, *lines: str) -> list[Message]:
    """Spark says these lines in a scene of its own; what begins with `Anna: ` a person says in the parlor."""
    scene = await store.begin_scene(SceneSpec(name="talk", cast=("Spark", "Ash")), place="terminal")
    kept = []
    for line in lines:
        if line.startswith("Anna: "):
            kept.append(await store.say(scene.id, speaker="Anna", text=line[6:], origin="parlor"))
            continue
        said = Utterance(
            address=SPARK.address, weights_sha256="a" * 64, engine="embedded", engine_version="1",
            prompt=Prompt(form="transcript", text="<Spark>"), sampling=Sampling(), text=line,
            started_at=clock(),
        )  # fmt: skip
        message = await store.keep_turn(scene.id, speaker="Spark", utterances=[said], chosen=0)
        assert message is not None
        kept.append(await store.mark_posted(message.id))
    return kept


# ---------------------------------------------------------------- pure


@pytest.mark.parametrize(
    ("span", "name", "first", "end"),
    [
        ("day", "2026-12-31", date(2026, 12, 31), date(2027, 1, 1)),
        ("week", "2026-W53", date(2026, 12, 28), date(2027, 1, 4)),
        ("chapter", "2026-12", date(2026, 12, 1), date(2027, 1, 1)),
    ],
)
def test_a_day_is_in_one_week_and_one_chapter(span: str, name: str, first: date, end: date) -> None:
    found = period(span, date(2026, 12, 31))  # type: ignore[arg-type]
    assert (found.name, found.first, found.end) == (name, first, end)


def test_the_weeks_of_all_chapters_are_all_weeks_each_once() -> None:
    weeks = [week.name for month in range(1, 13) for week in period("chapter", date(2026, month, 1)).parts]
    assert len(weeks) == len(set(weeks)) == 53
    assert [day.name for day in period("week", MONDAY).parts][::6] == ["2026-04-27", "2026-05-03"]


def line(number: int, scene: int) -> Message:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Message(
        id=number, scene_id=scene, sequence=number, speaker="Ash", address=None, origin="operator", text="Hi",
        generation_id=None, reply_to=None, nonce="", place="", platform_id=None, status="posted",
        created_at=now, posted_at=now, edited_at=None, deleted_at=None, expires_at=None,
    )  # fmt: skip


@given(st.lists(st.integers(1, 40), max_size=30))
def test_parts_are_of_one_scene_in_order_and_not_too_many(lengths: list[int]) -> None:
    scenes = [scene for scene, length in enumerate(lengths) for _ in range(length)]
    said = [line(number, scene) for number, scene in enumerate(scenes, 1)]
    parts = groups(said)
    assert len(parts) <= MOST
    assert all(0 < len(part) <= LINES and len({m.scene_id for m in part}) == 1 for part in parts)
    told = [m.id for part in parts for m in part]
    assert told == sorted(told)
    if len(groups(said, most=10**6)) <= MOST:
        assert told == [m.id for m in said]
    assert (
        untold(said, told[-1:]) == [m for m in said if m.scene_id != said[told[-1] - 1].scene_id]
        if told
        else True
    )


# ---------------------------------------------------------------- written


async def test_every_line_of_day_week_and_chapter_cites_what_it_tells_of(
    store: Store, voice: Voice, clock: Clock
) -> None:
    first = await talk(store, clock, *(f"I like the number {n}." for n in range(10)))
    clock.now += timedelta(days=1)
    second = await talk(store, clock, "It rains.", "I like rain.")
    clock.now += timedelta(days=40)
    chapter = await keep_entry(store, voice, SPARK, period("chapter", MONDAY), print)
    assert chapter is not None
    [line] = chapter.lines
    week = await keep_entry(store, voice, SPARK, period("week", MONDAY), print)
    assert week is not None
    assert line.cites == tuple(x.message.id for x in week.lines)
    assert all(x.message.text.startswith("This week") for x in week.lines)
    days = [await keep_entry(store, voice, SPARK, part, print) for part in period("week", MONDAY).parts]
    told = [entry for entry in days if entry is not None]
    assert [x.cites for x in week.lines] == [tuple(y.message.id for y in entry.lines) for entry in told]
    assert [m for entry in told for x in entry.lines for m in x.cites] == [m.id for m in (*first, *second)]
    assert all(e.scene.place == "diary" and e.scene.status == "ended" for e in (*told, week, chapter))
    provenance = await store.provenance(told[0].lines[0].message.id)
    assert provenance.generation is not None
    assert provenance.generation.prompt_message_ids == told[0].lines[0].cites


async def test_a_day_that_is_not_over_goes_on_where_its_entry_ended(
    store: Store, voice: Voice, clock: Clock
) -> None:
    day = period("day", clock().date())
    assert await keep_entry(store, voice, SPARK, day, print) is None
    await talk(store, clock, "It rains.")
    morning = await keep_entry(store, voice, SPARK, day, print)
    assert morning is not None
    assert morning.scene.status == "open"
    same = await keep_entry(store, voice, SPARK, day, print)
    assert same is not None
    assert same.lines == morning.lines
    [later] = await talk(store, clock, "It snows.")
    clock.now += timedelta(days=1)
    whole = await keep_entry(store, voice, SPARK, day, print)
    assert whole is not None
    assert whole.lines[:-1] == morning.lines
    assert whole.lines[-1].cites == (later.id,)
    assert whole.scene.status == "ended"


async def test_people_are_in_it_with_their_consent_alone(store: Store, voice: Voice, clock: Clock) -> None:
    spoken = await talk(store, clock, "Anna: My cat is called Mimi.", "Hello.")
    day = period("day", clock().date())
    told: list[str] = []
    entry = await keep_entry(store, voice, SPARK, day, told.append)
    assert entry is not None
    assert [x.cites for x in entry.lines] == [(spoken[1].id,)]
    assert "1 lines are not told of: a person's words (parlor) without their consent to diary" in told[0]
    clock.now += timedelta(hours=1)
    person = spoken[0].person_id
    assert person is not None
    await consent.allow(store, person, "diary", granted=True, notice="1", via="test")
    again = await talk(store, clock, "Anna: My dog is called Max.", "Oh.")
    entry = await keep_entry(store, voice, SPARK, day, told.append)
    assert entry is not None
    assert entry.lines[-1].cites == tuple(m.id for m in again)


# ---------------------------------------------------------------- by itself

BERLIN = DiaryTimes(timezone="Europe/Berlin", at="04:00")


def test_a_day_is_over_at_its_own_midnight_and_written_of_after_the_hour() -> None:
    def last_day(now: datetime) -> date:
        return [when for when in due(now, BERLIN) if when.span == "day"][-1].first

    assert last_day(datetime(2026, 4, 28, 1, 59, tzinfo=UTC)) == date(2026, 4, 26)
    assert last_day(datetime(2026, 4, 28, 2, 0, tzinfo=UTC)) == date(2026, 4, 27)
    day = period("day", date(2026, 3, 29), "Europe/Berlin")  # clocks are set forward that night
    assert day.moments == (datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC))


def test_after_a_month_its_days_its_last_week_and_itself_are_due() -> None:
    found = [when.name for when in due(datetime(2026, 5, 1, 12, tzinfo=UTC), BERLIN)]
    assert found == [*(f"2026-04-{day}" for day in range(24, 31)), "2026-W17", "2026-04"]


async def test_what_is_due_is_written_once_by_however_many(store: Store, voice: Voice, clock: Clock) -> None:
    cast = Cast(persona=(SPARK,), diary=DiaryTimes(at="04:00"))
    await talk(store, clock, "It rains.")
    assert await write_due(store, voice, cast) == 0  # the day is not over
    clock.now = datetime(2026, 4, 29, 4, tzinfo=UTC)
    assert await write_due(store, voice, cast) == 1
    assert await write_due(store, voice, cast) == 0
    clock.now = datetime(2026, 5, 4, 4, tzinfo=UTC)  # a Monday, in another month
    assert sum(await asyncio.gather(*(write_due(store, voice, cast) for _ in range(3)))) >= 1
    await write_due(store, voice, cast)
    entries = [scene.key for scene in await store.scenes(place="diary")]
    assert sorted(str(key) for key in entries) == [
        "chapter:Spark:2026-04",
        "day:Spark:2026-04-28",
        "week:Spark:2026-W18",
    ]
    for when in (period("week", date(2026, 4, 28)), period("chapter", date(2026, 4, 28))):
        entry = await find_entry(store, SPARK, when)
        assert entry is not None
        assert len(entry.lines) == 1
    assert await write_due(store, voice, Cast(persona=(SPARK,))) == 0


async def test_a_week_does_not_retell_what_may_no_longer_be_told(
    store: Store, voice: Voice, clock: Clock
) -> None:
    spoken = await talk(store, clock, "Anna: My cat is called Mimi.")
    person = spoken[0].person_id
    assert person is not None
    await consent.allow(store, person, "diary", granted=True, notice="1", via="test")
    await talk(store, clock, "It rains.")
    scene = spoken[0].scene_id
    said = Utterance(
        address=SPARK.address, weights_sha256="a" * 64, engine="embedded", engine_version="1",
        prompt=Prompt(form="transcript", text="Mimi", message_ids=(spoken[0].id,), has_human=True),
        sampling=Sampling(), text="Mimi!", started_at=clock(),
    )  # fmt: skip
    kept = await store.keep_turn(scene, speaker="Spark", utterances=[said], chosen=0)
    assert kept is not None
    await store.mark_posted(kept.id)
    day = await keep_entry(store, voice, SPARK, period("day", clock().date()), print)
    assert day is not None
    assert len(day.lines) == 2
    clock.now += timedelta(hours=1)
    await consent.allow(store, person, "diary", granted=False, notice="1", via="test")
    week = await keep_entry(store, voice, SPARK, period("week", clock().date()), print)
    assert week is not None
    cited = {number for line in week.lines for number in line.cites}
    assert cited == {line.message.id for line in day.lines if spoken[0].id not in line.cites}
