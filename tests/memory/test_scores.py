"""The cheap scores: what they say of loops, copies and news, and that they are kept and resumed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.scores import Bound, Seen, compression, copied, learn, novelty, repeats, say
from memory.scoring import Scored, keep_scores, neighbours, score, without_score
from memory.search import search
from memory.store import Store
from selves.errors import UsageError
from selves.speech import Prompt
from tests.memory.parts import SPEC, age, utterance

LOOP = "I am the lamp and you are the moon. " * 12
TALK = "I went down to the river this morning and it was frozen over, so we walked back along the road."


def test_a_loop_stands_out_from_talk() -> None:
    assert compression(LOOP) > 2.4 > compression(TALK)
    assert repeats(LOOP) > 0.4 > repeats(TALK)
    assert repeats("") == 0
    assert compression("") == 1


def test_what_was_learned_by_heart_is_copied_whatever_its_line_breaks() -> None:
    corpus = [TALK[:50], TALK[50:], "\n\nSomething else stands in this file, which nobody has ever said.\n"]
    seen = Seen(sum(map(len, corpus)))
    learn(seen, corpus)
    assert copied(TALK.replace(" ", "\n"), seen) == 1
    assert copied(TALK[20:70], seen) == 1
    assert 0.2 < copied(TALK[:60] + "and then all of the people of the village came by", seen) < 0.7
    assert copied(TALK[::-1], seen) < 0.1
    assert copied(TALK[:30], seen) == 0


def test_what_was_said_is_not_new_a_second_time() -> None:
    said = Seen(1000)
    assert novelty(TALK, said) == 1
    say(TALK, said)
    assert novelty(TALK, said) == 0
    assert novelty(f"{TALK} Nobody has heard this before, at least not from me.", said) > 0.2
    assert novelty("Oh.", said) == 1


def test_a_set_of_hashes_forgets_nothing_and_seldom_invents() -> None:
    draw = random.Random(7)
    inside, outside = ([draw.getrandbits(61) for _ in range(5000)] for _ in range(2))
    seen = Seen(len(inside))
    for value in inside:
        seen.add(value)
    assert all(value in seen for value in inside)
    assert sum(value in seen for value in outside) < 100


@given(st.text())
def test_scores_are_defined_for_any_text(text: str) -> None:
    seen = Seen(100)
    learn(seen, [text])
    assert compression(text) > 0
    assert 0 <= repeats(text) <= 1
    assert copied(text, seen) in (0, 1)
    assert 0 <= novelty(text, seen) <= 1


def test_bounds_are_read() -> None:
    assert Bound.read("copied<=0.2") == Bound("copied", False, 0.2)
    assert Bound.read(" novelty >= 0.5") == Bound("novelty", True, 0.5)
    for text in ("beauty>=1", "copied=1", "copied<=much", "copied<=1.2.3", ""):
        with pytest.raises(UsageError, match="no bound"):
            Bound.read(text)


async def test_samples_are_scored_once_and_against_what_was_said_before(store: Store, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(TALK)
    scene = await store.begin_scene(SPEC, place="terminal")
    for texts in ([TALK, LOOP], [TALK], [""]):
        samples = [utterance(text) for text in texts]
        await store.keep_turn(scene.id, speaker="Ember", utterances=samples, chosen=0)
    first, loop, again, silent = (g.id for g in await store.generations(scene.id))
    assert await score(store) == Scored(samples=3, kept=9)
    assert await score(store) == Scored(samples=0, kept=0)
    assert await score(store, against=[corpus]) == Scored(samples=3, kept=3)
    page = await search(store, "river", sort="novelty", folded=False)
    scores = {hit.found.generation_id: hit.scores for hit in page.hits}
    assert scores[first]["novelty"] == 1
    assert scores[again]["novelty"] == 0
    assert scores[again]["copied"] == 1
    assert [hit.found.generation_id for hit in page.hits] == [first, again]
    assert (await score(store, again=True)).samples == 3
    assert silent not in scores
    assert loop not in scores


async def test_a_score_is_kept_from_outside_and_replaced(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    for text in ("One.", "Two."):
        await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance(text)], chosen=0)
    one, two = await store.generations(scene.id)
    assert [g.id for g in await without_score(store, "surprise", lineage="ember")] == [two.id, one.id]
    assert await without_score(store, "surprise", lineage="ash") == []
    await keep_scores(store, "surprise", {two.id: 2.5})
    await keep_scores(store, "surprise", {two.id: 3.5})
    assert [g.id for g in await without_score(store, "surprise")] == [one.id]
    page = await search(store, "two")
    assert page.hits[0].scores == {"surprise": 3.5}


async def test_a_prompt_that_is_gone_cannot_be_scored_under_another_age(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    said = utterance("Three.", prompt=Prompt(form="transcript", text="", has_human=True))
    await store.keep_turn(scene.id, speaker="Ember", utterances=[said], chosen=0)
    store.clock.pass_days(100)  # type: ignore[attr-defined]
    await store.expire(store.clock())
    assert await without_score(store, "surprise") == []


async def test_ages_are_named_in_order_of_life(store: Store, tmp_path: Path) -> None:
    for step in ("000400", "000000"):
        await store.register_age(age(tmp_path / step, f"ember@base-{step}"))
    assert await neighbours(store, "ember") == ["ember@base-000000", "ember@base-000400"]


async def test_a_file_that_cannot_be_read_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.txt cannot be read"):
        await score(store, against=[tmp_path / "nowhere.txt"])
