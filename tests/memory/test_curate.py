"""What editors mark and read: a ledger in which nothing is lost, and the two figures."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.curate import Mark, pick, picks, retract, scene_figures, unvisit, visit
from memory.figures import make_figures, written_by_model
from memory.store import Store
from memory.types import Message
from selves.errors import StoreError, UsageError
from tests.memory.parts import NOON, SPEC, age, every_cell, run_sql, utterance

LINE = "I am the lamp, and you are the moon."


async def said(store: Store, drawn: int = 4) -> Message:
    """A line that was drawn so many times, in a scene that the operator opened."""
    scene = await store.begin_scene(SPEC, place="terminal", key="one")
    await store.say(scene.id, speaker="operator", text="Who are you?", origin="operator")
    samples = [utterance(f"Hm {number}.") for number in range(drawn - 1)] + [utterance(LINE)]
    message = await store.keep_turn(scene.id, speaker="Ember", utterances=samples, chosen=drawn - 1)
    assert message
    return message


async def test_a_text_is_starred_quoted_tagged_and_noted(store: Store) -> None:
    message = await said(store)
    marks = (
        Mark("star"),
        Mark("quote", quote="the lamp"),
        Mark("quote", span=(0, 13)),
        Mark("tag", "light"),
        Mark("note", "For the first page?"),
    )
    made = [await pick(store, mark, editor="Ann", message_id=message.id) for mark in marks]
    quoted = made[1]
    assert (quoted.start, quoted.end) == (5, 13)
    assert quoted.quoted_sha256 == hashlib.sha256(b"the lamp").hexdigest()
    found = await picks(store)
    assert [one.pick for one in found] == made
    assert [one.text for one in found] == [LINE, "the lamp", "I am the lamp", LINE, LINE]
    assert all(one.intact and one.speaker == "Ember" for one in found)
    assert [one.pick.value for one in await picks(store, tag="light")] == ["light"]
    assert len(await picks(store, kind="quote", last=1)) == 1
    assert await picks(store, editor="Ben") == []


async def test_saying_it_again_changes_nothing_and_nothing_is_ever_deleted(store: Store) -> None:
    message = await said(store)
    star = await pick(store, Mark("star"), editor="Ann", message_id=message.id)
    assert await pick(store, Mark("star"), editor="Ann", message_id=message.id) == star
    ended = await retract(store, star.id, editor="Ann")
    assert ended.retracts == star.id
    assert await retract(store, star.id, editor="Ann") == ended
    assert await picks(store) == []
    again = await pick(store, Mark("star"), editor="Ann", message_id=message.id)
    assert again.id > ended.id
    assert [one.pick.id for one in await picks(store)] == [again.id]
    for number in (999, ended.id):
        with pytest.raises(StoreError, match=f"no pick {number}"):
            await retract(store, number, editor="Ann")


async def test_a_sample_that_was_not_posted_is_picked_as_itself(store: Store) -> None:
    message = await said(store)
    candidate, *_, chosen = await store.generations(message.scene_id)
    made = await pick(store, Mark("quote", quote="Hm"), editor="Ann", generation_id=candidate.id)
    assert (made.message_id, made.generation_id) == (None, candidate.id)
    posted = await pick(store, Mark("star"), editor="Ann", generation_id=chosen.id)
    assert (posted.message_id, posted.generation_id) == (message.id, None)
    assert [one.text for one in await picks(store, scene_id=message.scene_id)] == ["Hm", LINE]
    assert await picks(store, scene_id=message.scene_id + 1) == []


async def test_a_text_that_changed_since_is_noticed(store: Store, database_url: str) -> None:
    message = await said(store)
    await pick(store, Mark("quote", quote="the lamp"), editor="Ann", message_id=message.id)
    run_sql(database_url, f"UPDATE message SET text = 'I am another' WHERE id = {message.id}")
    (found,) = await picks(store)
    assert (found.intact, found.text) == (False, "")


async def test_a_persons_words_are_quoted_without_being_kept_again(store: Store, database_url: str) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(scene.id, platform_id=1, user_id=5, text="My secret garden", created_at=NOON)
    await pick(store, Mark("quote", quote="secret"), editor="Ann", message_id=heard.id)
    (found,) = await picks(store)
    assert (found.text, found.figures.contribution) == ("secret", 0)
    assert found.figures.selectivity_bits is None
    assert "secret" not in every_cell(database_url).replace("secret'", "")


async def test_what_is_not_there_cannot_be_picked(store: Store) -> None:
    message = await said(store)
    for mark in (Mark("quote", quote="sun"), Mark("quote", quote=""), Mark("quote", span=(5, 99))):
        with pytest.raises(UsageError):
            await pick(store, mark, editor="Ann", message_id=message.id)
    with pytest.raises(StoreError, match="no message 999"):
        await pick(store, Mark(), editor="Ann", message_id=999)
    with pytest.raises(StoreError, match="no generation 999"):
        await pick(store, Mark(), editor="Ann", generation_id=999)


async def test_what_was_read_is_remembered_until_it_is_taken_back(store: Store) -> None:
    message = await said(store)
    assert await visit(store, [message.id, message.id, 999], editor="Ann") == 1
    assert await visit(store, [message.id], editor="Ann") == 0
    assert await visit(store, [message.id], editor="Ben") == 1
    assert await unvisit(store, [message.id, 999], editor="Ann") == 1
    assert await visit(store, [message.id], editor="Ann") == 1
    assert await visit(store, [], editor="Ann") == 0


async def test_a_scene_and_a_pick_have_both_figures(store: Store) -> None:
    message = await said(store, drawn=4)
    await said(store, drawn=4)
    everything = await scene_figures(store, message.scene_id)
    human = 2 * len("Who are you?") + len(SPEC.premise)
    assert (everything.model_characters, everything.human_characters) == (2 * len(LINE), human)
    assert (everything.generated, everything.published) == (8, 2)
    await pick(store, Mark("star"), editor="Ann", message_id=message.id)
    await pick(store, Mark("quote", quote="the lamp"), editor="Ben", message_id=message.id)
    assert (await scene_figures(store, message.scene_id)).selectivity_bits == 3
    (star, _) = await picks(store)
    assert star.figures.contribution == 1
    assert star.figures.selectivity_bits == 2
    with pytest.raises(StoreError, match="no scene 999"):
        await scene_figures(store, 999)


async def test_a_writing_is_one_of_those_that_its_age_wrote(store: Store, tmp_path: Path) -> None:
    await store.register_age(age(tmp_path / "age", kinds=("diary", "letter")))
    diary = next(w for w in await store.writings() if w.kind == "diary")
    await pick(store, Mark("star"), editor="Ann", generation_id=diary.generation.id)
    (found,) = await picks(store)
    assert (found.figures.generated, found.figures.published) == (1, 1)
    assert (found.scene_id, found.address) == (None, "ember@base-000400")


def test_one_of_thirty_seven_is_five_bits() -> None:
    figures = make_figures(model=300, human=100, generated=37, published=1)
    assert figures.contribution == 0.75
    assert figures.selectivity_bits == pytest.approx(5.2, abs=0.01)


@given(*[st.integers(0, 10**6)] * 4)
def test_figures_are_a_share_and_bits(model: int, human: int, generated: int, published: int) -> None:
    figures = make_figures(model=model, human=human, generated=generated, published=published)
    assert (figures.contribution is None) == (model + human == 0)
    assert figures.contribution is None or 0 <= figures.contribution <= 1
    assert (figures.selectivity_bits is None) == (generated == 0 or published == 0)
    assert figures.selectivity_bits is None or (
        figures.selectivity_bits >= 0 and math.isfinite(figures.selectivity_bits)
    )


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_what_the_sample_has_is_the_models_and_the_rest_a_persons(a: str, b: str, c: str) -> None:
    assert written_by_model(b, a + b + c) == len(b)
    assert 0 <= written_by_model(a, b) <= min(len(a), len(b))
    assert written_by_model(a, None) == 0
