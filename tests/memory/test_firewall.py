"""Which words may be used for what, as a pure table and as it is asked of the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from memory import consent
from memory.consent import PURPOSES, Purpose
from memory.firewall import Facts, Source, facts_of_generations, facts_of_messages, verdict
from memory.models import FeedbackRow
from memory.store import Store
from memory.types import HUMAN_ORIGINS, Message
from tests.memory.parts import NOON, SPEC, reading, run_sql, utterance

OUTWARD: tuple[Purpose, ...] = ("diary", "publish", "train")

sources = st.builds(
    Source,
    st.sampled_from(("self", "operator", *HUMAN_ORIGINS)),
    st.dictionaries(st.sampled_from(PURPOSES), st.booleans()),
    st.frozensets(st.sampled_from(PURPOSES)),
)
facts = st.builds(
    Facts,
    source=sources,
    read=st.lists(sources, max_size=3).map(tuple),
    read_unknown=st.booleans(),
    addressed=st.booleans(),
    edited=st.booleans(),
    unwanted=st.booleans(),
    erased=st.booleans(),
)
purposes = st.sampled_from(PURPOSES)


def sample(*read: Source) -> Facts:
    return Facts(Source("self"), read)


def test_what_selves_and_the_operator_said_to_each_other_may_be_used_for_everything() -> None:
    for purpose in PURPOSES:
        assert verdict(purpose, sample()).allowed
        assert verdict(purpose, sample(Source("operator"))).allowed
        assert verdict(purpose, Facts(Source("operator"))).allowed


def test_discord_never_trains_on_consent_alone() -> None:
    willing = Source("discord", {"train": True})
    for facts in (Facts(willing), sample(willing)):
        refused = verdict("train", facts)
        assert not refused.allowed
        assert "the platform does not permit training" in refused.reason
    permitted = replace(willing, permitted=frozenset({"train"}))
    assert verdict("train", sample(permitted)).allowed
    unasked = Source("discord", {}, frozenset({"train"}))
    assert not verdict("train", sample(unasked)).allowed


def test_in_the_parlor_the_authors_word_decides() -> None:
    assert not verdict("train", sample(Source("parlor"))).allowed
    assert verdict("train", sample(Source("parlor", {"train": True}))).allowed
    assert not verdict("train", sample(Source("parlor", {"train": False}))).allowed
    assert verdict("train", sample(Source("selfhosted", {"train": True}))).allowed


def test_a_reply_to_a_person_is_published_if_their_words_may_be() -> None:
    assert not verdict("publish", sample(Source("discord"))).allowed
    assert verdict("publish", sample(Source("discord", {"publish": True}))).allowed


def test_a_person_is_answered_where_they_speak_to_a_self() -> None:
    said = Facts(Source("discord"))
    assert not verdict("context", said).allowed
    assert verdict("context", replace(said, addressed=True)).allowed
    assert not verdict("context", Facts(Source("discord", {"context": False}), addressed=True)).allowed


@given(facts, st.sampled_from(OUTWARD))
def test_what_was_edited_reported_deleted_or_erased_never_leaves(facts: Facts, purpose: Purpose) -> None:
    if facts.edited or facts.unwanted or facts.erased:
        assert not verdict(purpose, facts).allowed


@given(facts)
def test_nothing_of_people_trains_without_the_consent_of_each(facts: Facts) -> None:
    people = [s for s in (facts.source, *facts.read) if s.origin in HUMAN_ORIGINS]
    if verdict("train", facts).allowed:
        assert not facts.read_unknown
        for source in people:
            assert source.said.get("train")
            assert source.origin in ("parlor", "selfhosted") or "train" in source.permitted


@given(facts, purposes, purposes)
def test_taking_a_consent_back_never_allows_more(facts: Facts, purpose: Purpose, taken: Purpose) -> None:
    def without(source: Source) -> Source:
        return replace(source, said={**source.said, taken: False})

    less = replace(facts, source=without(facts.source), read=tuple(map(without, facts.read)))
    if verdict(purpose, less).allowed:
        assert verdict(purpose, facts).allowed


@given(facts, sources, purposes)
def test_reading_more_people_never_allows_more(facts: Facts, source: Source, purpose: Purpose) -> None:
    if verdict(purpose, replace(facts, read=(*facts.read, source))).allowed:
        assert verdict(purpose, facts).allowed


@given(facts, purposes)
def test_every_refusal_says_why(facts: Facts, purpose: Purpose) -> None:
    assert verdict(purpose, facts).reason


async def test_the_database_knows_who_was_read(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(scene.id, platform_id=1, user_id=5, text="Hi", created_at=NOON)
    typed = await store.say(scene.id, speaker="You", text="Hello", origin="parlor")
    opening = await store.say(scene.id, speaker="Operator", text="Begin.", origin="operator")
    assert heard.person_id
    assert typed.person_id
    prompts = [
        reading(heard.id, opening.id),
        reading(heard.id, typed.id),
        reading(text="somebody"),
        reading(opening.id, has_human=False),
    ]
    message = await store.keep_turn(
        scene.id, speaker="Ember", utterances=[utterance(prompt=p) for p in prompts], chosen=0
    )
    assert message
    generations = await store.generations(scene.id)
    assert [g.prompt_origins for g in generations] == [
        ("discord", "operator"),
        ("discord", "parlor"),
        None,
        ("operator",),
    ]
    await consent.allow(store, heard.person_id, "train", granted=True, notice="1", via="cli")
    await consent.allow(store, typed.person_id, "train", granted=True, notice="1", via="cli")

    async def allowed() -> list[bool]:
        async with store.reading() as session:
            facts = await facts_of_generations(session, [g.id for g in generations])
        return [verdict("train", facts[g.id]).allowed for g in generations]

    assert await allowed() == [False, False, False, True]
    await consent.permit(store, "discord", "train", granted=True, statement="a letter of 1 May")
    assert await allowed() == [True, True, False, True]
    await consent.allow(store, typed.person_id, "train", granted=False, notice="1", via="cli")
    assert await allowed() == [True, False, False, True]
    await consent.permit(store, "discord", "train", granted=False, statement="taken back")
    assert await allowed() == [False, False, False, True]


async def test_the_database_knows_what_was_reported_deleted_and_erased(
    store: Store, database_url: str
) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")

    async def said(platform_id: int) -> Message:
        message = await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)
        assert message
        return await store.mark_posted(message.id, platform_id)

    reported, deleted, edited, fine = [await said(number) for number in range(1, 5)]
    heard = await store.hear(scene.id, platform_id=9, user_id=5, text="Hi", created_at=NOON)
    assert reported.generation_id
    async with store.writing() as session:
        session.add(
            FeedbackRow(
                kind="reported", generation_id=reported.generation_id, blind=False, via="discord", at=NOON
            )
        )
    await store.delete_heard(2)
    run_sql(database_url, f"UPDATE message SET edited_at = '2026-05-01 12:00:00' WHERE id = {edited.id}")
    await store.expire(NOON + timedelta(days=31))
    async with store.reading() as session:
        facts = await facts_of_messages(session, [m.id for m in (reported, deleted, edited, fine, heard)])
    reasons = [verdict("publish", facts[m.id]).reason for m in (reported, deleted, edited, fine, heard)]
    assert reasons == [
        "it was reported or deleted",
        "it was reported or deleted",
        "a person edited it",
        "no person said it",
        "its words are gone",
    ]
