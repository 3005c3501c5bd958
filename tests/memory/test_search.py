"""Finding what was said, on both databases: words, filters, folding, pages, people, more of the same."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memory import search as searching
from memory.curate import Mark, pick, visit
from memory.filters import KINDS, Filters
from memory.query import words_in
from memory.scores import Bound
from memory.scoring import keep_scores
from memory.search import Page, more_like, search
from memory.store import Store
from memory.types import Message
from selves.errors import StoreError, UsageError
from tests.memory.parts import NOON, SPEC, Clock, age, run_sql, utterance

PLATFORM_IDS = itertools.count(1000)


async def say(
    store: Store, text: str, *, speaker: str = "Ember", scene: int | None = None, **changes: Any
) -> Message:
    """A self says something, of two samples."""
    if scene is None:
        scene = (await store.begin_scene(SPEC, place="terminal", key="one")).id
    samples = [utterance(f"Not this, {text[::-1]}", **changes), utterance(text, **changes)]
    message = await store.keep_turn(scene, speaker=speaker, utterances=samples, chosen=1)
    assert message
    return message


async def hear(store: Store, text: str, scene: int | None = None) -> Message:
    """A person on Discord says something."""
    if scene is None:
        scene = (await store.begin_scene(SPEC, place="discord:1", key="heard")).id
    return await store.hear(
        scene, platform_id=next(PLATFORM_IDS), user_id=5, text=text, created_at=store.clock()
    )


def texts(page: Page) -> list[str]:
    return [hit.found.text for hit in page.hits]


async def found(store: Store, typed: str = "", **filters: Any) -> list[str]:
    return texts(await search(store, typed, Filters(**filters)))


async def test_words_are_found_newest_first_whatever_their_case_and_accents(store: Store) -> None:
    for text in ("The old lamp.", "A moon over the café", "OLD MOON, old lamp!", "Nothing"):
        await say(store, text)
    assert await found(store, "old lamp") == ["OLD MOON, old lamp!", "The old lamp."]
    assert await found(store, '"old moon"') == ["OLD MOON, old lamp!"]
    assert await found(store, "cafe OR nothing") == ["Nothing", "A moon over the café"]
    assert await found(store, "Café -nothing moon") == ["A moon over the café"]
    assert await found(store, "noth*") == ["Nothing"]
    assert await found(store, "oth") == []
    assert len(await found(store)) == 4


async def test_erased_and_changed_words_are_not_found(store: Store, database_url: str) -> None:
    message = await say(store, "The old lamp.")
    run_sql(database_url, f"UPDATE message SET text = 'A new one.' WHERE id = {message.id}")
    assert await found(store, "lamp") == []
    assert await found(store, "new", speaker="Ember") == ["A new one."]
    run_sql(database_url, f"UPDATE message SET speaker = 'Ash' WHERE id = {message.id}")
    assert await found(store, "new", speaker="Ember") == []
    assert await found(store, "new", speaker="Ash") == ["A new one."]


async def test_every_filter_narrows_with_words_and_without(store: Store, clock: Clock) -> None:
    letters = SPEC.model_copy(update={"kind": "letter", "name": "letters"})
    await say(store, "The lamp is lit.")
    clock.pass_days(40)
    later = clock.now
    other = await store.begin_scene(letters, place="terminal")
    await say(store, "A lamp for you.", speaker="O'Ash \\ 灯", scene=other.id, address="ash@chat-000150")
    await store.say(other.id, speaker="operator", text="Who lit the lamp?", origin="operator")
    everything = ["Who lit the lamp?", "A lamp for you.", "The lamp is lit."]
    for typed in ("lamp", ""):
        assert await found(store, typed) == everything
        assert await found(store, typed, age="ash@chat-000150") == ["A lamp for you."]
        assert await found(store, typed, lineage="ember") == ["The lamp is lit."]
        assert await found(store, typed, lineage="emb") == []
        assert await found(store, typed, stage="chat") == ["A lamp for you."]
        assert await found(store, typed, scene=other.id) == everything[:2]
        assert await found(store, typed, scene=999) == []
        assert await found(store, typed, scene_kind="letter") == everything[:2]
        assert await found(store, typed, kinds=("letter",)) == everything[:2]
        assert await found(store, typed, kinds=("line",)) == everything[2:]
        assert await found(store, typed, speaker="O'Ash \\ 灯") == ["A lamp for you."]
        assert await found(store, typed, origin="operator") == ["Who lit the lamp?"]
        assert await found(store, typed, since=later) == everything[:2]
        assert await found(store, typed, until=later) == everything[2:]
        assert await found(store, typed, since=NOON, until=NOON + timedelta(seconds=1)) == everything[2:]
        assert await found(store, typed, since=datetime(2031, 1, 1, tzinfo=UTC)) == []
    with pytest.raises(UsageError, match="not before"):
        await found(store, "lamp", since=later, until=NOON)


async def test_diaries_letters_and_candidates_are_kinds_of_text(store: Store, tmp_path: Path) -> None:
    await store.register_age(age(tmp_path / "age", kinds=("diary", "letter", "continuation")))
    await say(store, "The lamp.")
    written = {kind: f"A {kind} of ember@base-000400." for kind in ("diary", "letter", "continuation")}
    assert sorted(await found(store, "ember")) == sorted(written.values())
    for kind, text in written.items():
        assert await found(store, "ember", kinds=(kind,)) == [text]
        assert await found(store, kinds=(kind,)) == [text]
    assert await found(store, kinds=("candidate",)) == ["Not this, .pmal ehT"]
    assert len(await found(store, kinds=KINDS)) == 5


async def test_kinds_of_the_users_own_are_found_too(store: Store, tmp_path: Path) -> None:
    await store.register_age(age(tmp_path / "age", kinds=("diary", "haiku")))
    assert len(await found(store, "ember")) == 2
    assert len(await found(store, "ember", kinds=("haiku",))) == 1
    assert len(await found(store, kinds=("diary",))) == 1
    with pytest.raises(UsageError, match="nothing was ever written of kind 'sonnet'"):
        await found(store, kinds=("sonnet",))
    page = await search(store, "diary", Filters(age="ember@base-000400"))
    assert (page.hits[0].found.kind, page.hits[0].found.message_id) == ("diary", None)


async def test_what_editors_picked_and_read_is_a_filter(store: Store) -> None:
    one, two, three = [await say(store, text) for text in ("First lamp.", "The second lamp!", "No moon.")]
    await pick(store, Mark("star"), editor="Ann", message_id=one.id)
    await pick(store, Mark("tag", "light"), editor="Ann", message_id=two.id)
    await visit(store, [one.id, three.id], editor="Ann")
    assert await found(store, "lamp", starred=True) == ["First lamp."]
    assert await found(store, "second", starred=True) == []
    assert await found(store, starred=True, speaker="Ember", lineage="ember") == ["First lamp."]
    assert await found(store, starred=True, age="ember@base-000000") == []
    assert await found(store, tag="light") == ["The second lamp!"]
    assert await found(store, tag="light", starred=True) == []
    assert await found(store, "lamp", unvisited_by="Ann") == ["The second lamp!"]
    assert len(await found(store, unvisited_by="Ben")) == 3


async def test_scores_filter_and_order(store: Store) -> None:
    one, two, _ = [await say(store, f"The lamp {word}.") for word in ("was lit", "burned", "of nobody")]
    await keep_scores(store, "novelty", {one.generation_id or 0: 0.2, two.generation_id or 0: 0.9})
    assert await found(store, "lamp", scores=(Bound("novelty", True, 0.5),)) == ["The lamp burned."]
    assert await found(store, scores=(Bound("novelty", False, 0.5),)) == ["The lamp was lit."]
    by_news = await search(store, "lamp", sort="novelty")
    assert texts(by_news) == ["The lamp burned.", "The lamp was lit.", "The lamp of nobody."]
    assert by_news.next is None
    await keep_scores(store, "copied", {one.generation_id or 0: 0.2, two.generation_id or 0: 0.9})
    assert texts(await search(store, sort="copied", limit=1)) == ["The lamp was lit."]


async def test_peoples_words_are_opened_only_when_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await say(store, "The lamp of a self.")
    scene = await store.begin_scene(SPEC, place="discord:1", key="heard")
    for number in range(6):
        await hear(store, f"My lamp number {number}." if number % 2 else "Something else.", scene.id)
    assert await found(store, "lamp") == ["The lamp of a self."]
    page = await search(store, "lamp -3", Filters(people=True), folded=False)
    assert texts(page) == ["My lamp number 5.", "My lamp number 1.", "The lamp of a self."]
    assert page.opened == 6
    assert await found(store, "lamp", people=True, origin="discord", speaker="guest-1") != []
    assert await found(store, "lamp", people=True, origin="discord", speaker="guest-2") == []
    assert await found(store, "lamp", people=True, lineage="ember") == ["The lamp of a self."]
    with pytest.raises(UsageError, match="people's"):
        await found(store, "lamp", origin="discord")
    monkeypatch.setattr("memory.finding.OPENED_AT_ONCE", 2)
    monkeypatch.setattr(searching, "OPENED", 2)
    after, seen, pages = None, [], 0
    while pages == 0 or after:
        page = await search(store, "lamp", Filters(people=True), after=after, folded=False)
        seen += texts(page)
        after, pages = page.next, pages + 1
        assert page.opened <= 2
    assert [text[-2] for text in seen] == ["5", "3", "1", "f"]
    assert pages == 4


async def test_pages_go_on_without_gaps_or_doubles(store: Store, tmp_path: Path, clock: Clock) -> None:
    wanted = []
    for number in range(25):
        clock.pass_days(1)
        line = f"{number} lamps {chr(97 + number) * 9}"
        wanted.append((await hear(store, line) if number % 4 == 0 else await say(store, line)).text)
    filters = Filters(people=True, kinds=KINDS)
    after, seen = None, []
    while True:
        page = await search(store, "lamps", filters, limit=4, after=after)
        seen += texts(page)
        assert len(page.hits) <= 4
        if page.next is None:
            break
        after = page.next
    assert seen == wanted[::-1]
    with pytest.raises(UsageError, match="no place"):
        await search(store, "lamps", after="1.2")


async def test_near_duplicates_are_shown_once(store: Store) -> None:
    first = await say(store, "I am the lamp and you are the moon.")
    await say(store, "Something quite different about a lamp.")
    last = await say(store, "I am the lamp, and you are the moon!")
    page = await search(store, "lamp")
    assert texts(page) == ["I am the lamp, and you are the moon!", "Something quite different about a lamp."]
    assert page.hits[0].found.message_id == last.id
    assert [same.message_id for same in page.hits[0].alike] == [first.id]
    assert len((await search(store, "lamp", folded=False)).hits) == 3


async def test_one_line_said_a_thousand_times_is_not_read_to_its_end(store: Store) -> None:
    for _ in range(45):
        await say(store, "Hello there, lamp.")
    page = await search(store, "lamp", limit=2)
    assert len(page.hits) == 1
    assert len(page.hits[0].alike) == 19
    assert page.next is not None


async def test_common_and_rare_words_are_found_across_the_stretches(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.lookup.FIRST_STRETCH", 3)
    lines = ["rare old owl", *[f"the common {number}" for number in range(30)], "the end"]
    for line in lines:
        await say(store, line)
    assert await found(store, "rare") == ["rare old owl"]
    assert len((await search(store, "common", limit=30, folded=False)).hits) == 30
    assert await found(store, "the -common") == ["the end"]
    assert len((await search(store, "the", limit=3, folded=False)).hits) == 3


async def test_the_best_of_the_newest_come_first_when_asked_for(store: Store) -> None:
    for text in ("Lamp! Lamp!", "A lamp, among a great many other things that nobody asked about."):
        await say(store, text)
    assert texts(await search(store, "lamp", sort="best"))[0] == "Lamp! Lamp!"
    with pytest.raises(UsageError, match="without words"):
        await search(store, sort="best")
    with pytest.raises(UsageError, match="have pages"):
        await search(store, "lamp", sort="best", after="5.0.0")


async def test_snippets_mark_the_words_in_long_texts(store: Store) -> None:
    await say(store, f"{'Well, well. ' * 100}The lantern burned.{' And so on.' * 100}")
    page = await search(store, "lantern OR burned")
    shown = page.hits[0].snippet
    assert [shown.text[start:end] for start, end in shown.marks] == ["lantern", "burned"]
    assert len(shown.text) < 170


async def test_more_of_the_same_shares_the_rare_words(store: Store) -> None:
    for number in range(30):
        await say(store, f"the day is number {number}")
    heron = await say(store, "the heron stood by the frozen mill")
    await say(store, "nothing to see")
    await say(store, "a heron by the mill, again")
    page = await more_like(store, heron.id)
    assert texts(page)[0] == "a heron by the mill, again"
    assert heron.id not in [hit.found.message_id for hit in page.hits]
    person = await hear(store, "did the heron fly?")
    assert "the heron stood by the frozen mill" in texts(await more_like(store, person.id))
    with pytest.raises(StoreError, match="no message 9999"):
        await more_like(store, 9999)
    silent = await say(store, "…")
    with pytest.raises(StoreError, match="no words"):
        await more_like(store, silent.id)


@pytest.mark.parametrize(
    "typed", ["'", '"', "a' OR 1=1 --", "NEAR(a b)", "text:lamp", "^lamp", "\x00", "\ud800 a", "😀 a"]
)
async def test_strange_questions_are_no_errors(store: Store, typed: str) -> None:
    await say(store, "a lamp")
    if words_in(typed):
        await search(store, typed, Filters(speaker=typed, lineage=typed))
    else:
        with pytest.raises(UsageError):
            await search(store, typed)


async def test_the_index_stays_in_step_with_the_rows(
    store: Store, database_url: str, tmp_path: Path, clock: Clock
) -> None:
    await store.register_age(age(tmp_path / "age", kinds=("diary", "letter")))
    said, heard = await say(store, "The lamp."), await hear(store, "My lamp.")
    for statement in (
        f"UPDATE message SET text = 'A moon.', address = 'ash@base-000001' WHERE id = {said.id}",
        f"UPDATE message SET person_id = NULL, text = 'Now in the open' WHERE id = {heard.id}",
        f"UPDATE message SET origin = 'operator' WHERE id = {heard.id}",
        "UPDATE generation SET text = '', chosen = (1 = 0)",
        "UPDATE generation SET text = 'Again', kind = 'diary', speaker = NULL",
    ):
        run_sql(database_url, statement)
    assert await found(store, "moon", lineage="ash") == ["A moon."]
    assert await found(store, "open", origin="operator") == ["Now in the open"]
    assert await found(store, "lamp", people=True) == []
    assert len((await search(store, "again", Filters(kinds=KINDS), folded=False)).hits) == 4
    run_sql(database_url, f"UPDATE message SET person_id = (SELECT max(id) FROM person) WHERE id = {said.id}")
    assert await found(store, "moon") == []
    if database_url.startswith("sqlite"):
        for words in ("message_words", "generation_words"):
            run_sql(database_url, f"INSERT INTO {words}({words}, rank) VALUES ('integrity-check', 1)")
