"""What the store keeps, and how it gives it back: the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memory.columns import ESCAPE, escape, unescape
from memory.store import Store, open_store
from selves.errors import StoreError
from selves.speech import ChatMessage, Prompt
from tests.memory.parts import NOON, SPEC, Clock, age, every_cell, reading, sqlite_bytes, utterance

USER = 80351110224678912
SECRET = "the moon is a lamp"
HOSTILE = [
    "NUL \x00 in the middle",
    "lone surrogates \ud800 and \udfff, and a split pair \ud83d\ude00",
    f"the escape itself {ESCAPE} and what looks escaped {ESCAPE}0000 {ESCAPE}d800",
    "emoji 👩‍👩‍👧‍👦 and 🙈, right to left \u202e and zero width \u200b",
    "\\u0000 \\x00 'quotes' \"double\" %s :name ? ; DROP TABLE message; --",
    "\r\n\t\x1b[31m line ends \u2028 and colours",
    "x" * 100_000,
    "",
]


# turns


async def test_a_turn_keeps_its_message_and_every_sample_before_anything_is_posted(
    store: Store, clock: Clock
) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    clock.pass_days(1)
    samples = [utterance("Hello"), utterance("Hello there. I am", finish_reason="length")]
    message = await store.keep_turn(
        scene.id, speaker="Ember", utterances=samples, chosen=1, text="Hello there."
    )
    assert message is not None
    assert (message.sequence, message.speaker, message.text) == (1, "Ember", "Hello there.")
    assert (message.address, message.origin, message.human) == ("ember@base-000400", "self", False)
    assert (message.status, message.place, message.created_at) == ("pending", "terminal", clock.now)
    assert 0 < len(message.nonce) <= 25
    assert await store.messages(scene.id) == [message]
    assert await store.message(message.id) == message
    kept = await store.generations(scene.id)
    assert [(g.text, g.chosen, g.turn, g.speaker) for g in kept] == [
        ("Hello", False, 1, "Ember"),
        ("Hello there. I am", True, 1, "Ember"),
    ]
    scene = await store.scene(scene.id)
    assert (scene.messages, scene.turns) == (1, 1)


async def test_a_generation_holds_all_that_is_needed_to_repeat_it(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    messages = (ChatMessage(role="system", content="You are."), ChatMessage(role="user", content="Hi\x00!"))
    said = utterance(prompt=Prompt(form="chat", messages=messages, message_ids=(), has_human=False))
    message = await store.keep_turn(scene.id, speaker="Ember", utterances=[said], chosen=0)
    assert message is not None
    assert message.generation_id is not None
    kept = await store.generation(message.generation_id)
    assert kept.prompt == said.prompt
    assert kept.prompt_sha256 == said.prompt.sha256
    for name in (
        "address",
        "weights_sha256",
        "engine",
        "engine_version",
        "sampling",
        "text",
        "token_ids",
        "finish_reason",
        "mean_logprob",
        "error",
        "started_at",
        "duration_s",
    ):
        assert getattr(kept, name) == getattr(said, name), name


async def test_a_failed_turn_is_kept_and_nothing_is_posted(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    failed = utterance("Hel", finish_reason="error", error="the engine died", token_ids=())
    assert await store.keep_turn(scene.id, speaker="Ember", utterances=[failed], chosen=None) is None
    assert await store.messages(scene.id) == []
    (kept,) = await store.generations(scene.id)
    assert (kept.error, kept.text, kept.chosen) == ("the engine died", "Hel", False)
    scene = await store.scene(scene.id)
    assert (scene.messages, scene.turns) == (0, 1)


async def test_what_produced_a_message_can_be_asked(store: Store, tmp_path: Path) -> None:
    await store.register_age(age(tmp_path))
    scene = await store.begin_scene(SPEC, place="terminal")
    await store.keep_turn(scene.id, speaker="Ash", utterances=[utterance("another turn")], chosen=0)
    samples = [utterance(text) for text in ("one", "two", "three")]
    message = await store.keep_turn(scene.id, speaker="Ember", utterances=samples, chosen=1)
    assert message is not None
    provenance = await store.provenance(message.id)
    assert provenance.message == message
    assert provenance.scene.id == scene.id
    assert provenance.generation is not None
    assert provenance.generation.text == "two"
    assert [g.text for g in provenance.siblings] == ["one", "three"]
    assert provenance.checkpoint is not None
    assert provenance.checkpoint.address == "ember@base-000400"
    opening = await store.say(scene.id, speaker="Operator", text="Begin.", origin="operator")
    assert (await store.provenance(opening.id)).generation is None


async def test_a_choice_that_is_not_among_the_samples_is_a_defect(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    with pytest.raises(IndexError, match="chosen is 1, but there are 1"):
        await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=1)


async def test_what_does_not_exist_is_named(store: Store) -> None:
    with pytest.raises(StoreError, match="no scene 7"):
        await store.keep_turn(7, speaker="Ember", utterances=[utterance()], chosen=0)
    with pytest.raises(StoreError, match="no scene 7"):
        await store.scene(7)
    with pytest.raises(StoreError, match="no message 7"):
        await store.mark_posted(7)
    with pytest.raises(StoreError, match="no generation 7"):
        await store.generation(7)
    assert (await store.stats()).generations == 0


# scenes


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
async def test_a_number_that_no_row_can_have_is_an_error_like_any_other(store: Store, number: int) -> None:
    for ask in (store.scene, store.message, store.generation, store.provenance, store.mark_posted):
        with pytest.raises(StoreError):
            await ask(number)


async def test_a_scene_with_a_known_key_is_the_same_scene_as_it_stands(store: Store, clock: Clock) -> None:
    first = await store.begin_scene(SPEC, place="terminal", key="demo")
    assert (first.status, first.spec, first.started_at) == ("open", SPEC, NOON)
    assert await store.begin_scene(SPEC, place="terminal", key="demo") == first
    clock.pass_days(1)
    ended = await store.end_scene(first.id, "max_turns")
    assert (ended.status, ended.stop_reason, ended.ended_at) == ("ended", "max_turns", clock.now)
    clock.pass_days(1)
    assert await store.end_scene(first.id, "silence") == ended
    assert await store.begin_scene(SPEC, place="elsewhere", key="demo") == ended
    assert await store.begin_scene(SPEC, place="terminal") != await store.begin_scene(SPEC, place="terminal")
    assert len(await store.scenes()) == 3


async def test_scenes_are_found_by_name_place_and_status(store: Store) -> None:
    other = SPEC.model_copy(update={"name": "other"})
    a = await store.begin_scene(SPEC, place="terminal")
    b = await store.begin_scene(other, place="terminal")
    c = await store.begin_scene(SPEC, place="discord:1")
    await store.end_scene(a.id, "silence")
    assert [s.id for s in await store.scenes()] == [a.id, b.id, c.id]
    assert [s.id for s in await store.scenes(last=2)] == [b.id, c.id]
    assert [s.id for s in await store.scenes(name="meeting", last=1)] == [c.id]
    assert [s.id for s in await store.scenes(place="terminal", status="open")] == [b.id]


async def test_the_newest_messages_can_be_asked_for(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    for number in range(5):
        await store.say(scene.id, speaker="You", text=str(number), origin="parlor")
    assert [m.text for m in await store.messages(scene.id, last=2)] == ["3", "4"]


# the way out: kept, then posted


async def test_what_is_kept_is_unposted_until_it_is_marked(store: Store, clock: Clock) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    opening = await store.say(scene.id, speaker="Operator", text="Begin.", origin="operator")
    turn = await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)
    aside = await store.keep_turn(
        scene.id, speaker="Ember", utterances=[utterance()], chosen=0, place="terminal", reply_to=opening.id
    )
    assert turn is not None
    assert aside is not None
    assert await store.unposted() == [opening, turn, aside]
    assert await store.unposted("discord:1") == [opening, turn]
    assert aside.reply_to == opening.id
    clock.pass_days(1)
    posted = await store.mark_posted(turn.id, 2**62 + 1)
    assert (posted.status, posted.platform_id, posted.posted_at) == ("posted", 2**62 + 1, clock.now)
    clock.pass_days(1)
    assert await store.mark_posted(turn.id, 2**62 + 1) == posted
    assert await store.mark_posted(turn.id) == posted
    assert await store.unposted("discord:1") == [opening]


async def test_what_a_person_types_in_the_parlor_stands_there_already(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    typed = await store.say(scene.id, speaker="You", text="Hi!", origin="parlor")
    assert (typed.status, typed.human, typed.expires_at) == ("posted", True, None)
    assert await store.unposted() == []


# people


async def test_a_person_is_a_guest_with_a_number_and_never_an_id(store: Store, database_url: str) -> None:
    one = await store.begin_scene(SPEC, place="discord:1")
    two = await store.begin_scene(SPEC, place="discord:2")
    speakers = [
        (await store.hear(scene.id, platform_id=n, user_id=user, text="Hi", created_at=NOON)).speaker
        for n, (scene, user) in enumerate([(one, USER), (one, USER + 1), (two, USER), (two, str(USER))])
    ]
    assert speakers == ["guest-1", "guest-2", "guest-1", "guest-1"]
    assert str(USER) not in every_cell(database_url)
    assert str(USER).encode() not in (sqlite_bytes(database_url) or b"")


async def test_what_is_heard_after_the_end_of_a_scene_is_kept_in_the_talk_around_it(store: Store) -> None:
    talk = await store.begin_scene(SPEC, place="discord:1", key="channel")
    scene = await store.begin_scene(SPEC, place="discord:1", key="meeting")

    async def hear(platform_id: int) -> int:
        heard = await store.hear(
            scene.id, platform_id=platform_id, user_id=USER, text="Hi", created_at=NOON, when_ended=talk.id
        )
        return heard.scene_id

    assert await hear(1) == scene.id
    await store.end_scene(scene.id, "max_turns")
    assert await hear(2) == talk.id
    assert await hear(1) == scene.id


async def test_hearing_the_same_event_again_changes_nothing(store: Store, database_url: str) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    turn = await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()], chosen=0)
    assert turn is not None
    await store.mark_posted(turn.id, 2**60)
    heard = await store.hear(
        scene.id, platform_id=2**60 + 1, user_id=USER, text="Hi", created_at=NOON, reply_to_platform_id=2**60
    )
    assert (heard.sequence, heard.origin, heard.status, heard.reply_to) == (2, "discord", "posted", turn.id)
    assert heard.expires_at == NOON + timedelta(days=30)
    before = every_cell(database_url)
    again = await store.hear(scene.id, platform_id=2**60 + 1, user_id=USER, text="Hi", created_at=NOON)
    assert again == heard
    assert every_cell(database_url) == before


async def test_an_edit_replaces_the_words_everywhere(store: Store, database_url: str) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(scene.id, platform_id=9, user_id=USER, text=SECRET, created_at=NOON)
    read = utterance(prompt=reading(heard.id, text=f"guest-1: {SECRET}"))
    turn = await store.keep_turn(scene.id, speaker="Ember", utterances=[read], chosen=0)
    assert turn is not None
    later = NOON + timedelta(minutes=5)
    edited = await store.edit_heard(9, text="the sun is a lamp", edited_at=later)
    assert edited is not None
    assert (edited.text, edited.edited_at) == ("the sun is a lamp", later)
    assert await store.edit_heard(9, text=SECRET, edited_at=later - timedelta(minutes=1)) == edited
    assert await store.edit_heard(9, text="the sun is a lamp", edited_at=later) == edited
    generation = (await store.provenance(turn.id)).generation
    assert generation is not None
    assert (generation.prompt, generation.prompt_sha256) == (None, read.prompt.sha256)
    assert SECRET not in every_cell(database_url)
    assert SECRET.encode() not in (sqlite_bytes(database_url) or b"")


async def test_a_deletion_erases_the_words_everywhere_and_for_good(store: Store, database_url: str) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(scene.id, platform_id=9, user_id=USER, text=SECRET, created_at=NOON)
    other = await store.hear(scene.id, platform_id=10, user_id=USER, text="stays", created_at=NOON)
    turns = [
        await store.keep_turn(
            scene.id, speaker="Ember", utterances=[utterance(prompt=prompt)], chosen=0, text="Hm."
        )
        for prompt in (reading(heard.id, other.id, text=SECRET), reading(other.id, text="stays"))
    ]
    deleted = await store.delete_heard(9)
    assert deleted is not None
    assert (deleted.text, deleted.status, deleted.sequence) == ("", "deleted", 1)
    assert await store.delete_heard(9) == deleted
    assert await store.edit_heard(9, text=SECRET, edited_at=NOON + timedelta(1)) == deleted
    assert await store.hear(scene.id, platform_id=9, user_id=USER, text=SECRET, created_at=NOON) == deleted
    prompts = [g.prompt is None for g in await store.generations(scene.id)]
    assert prompts == [True, False]
    assert len(await store.messages(scene.id)) == 2 + len(turns)
    assert SECRET not in every_cell(database_url)
    assert SECRET.encode() not in (sqlite_bytes(database_url) or b"")


async def test_words_that_were_deleted_while_a_self_was_answering_are_not_kept_in_its_prompt(
    store: Store, database_url: str
) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(scene.id, platform_id=9, user_id=USER, text=SECRET, created_at=NOON)
    edited = await store.hear(scene.id, platform_id=10, user_id=USER, text=SECRET, created_at=NOON)
    await store.delete_heard(9)
    await store.edit_heard(10, text="nothing", edited_at=NOON + timedelta(seconds=1))
    late = [utterance(prompt=reading(m.id, text=SECRET)) for m in (heard, edited)]
    await store.keep_turn(scene.id, speaker="Ember", utterances=late, chosen=0)
    assert [g.prompt for g in await store.generations(scene.id)] == [None, None]
    assert SECRET not in every_cell(database_url)


async def test_deletions_and_edits_of_what_was_never_kept_are_nothing(store: Store) -> None:
    assert await store.edit_heard(1, text="x", edited_at=NOON) is None
    assert await store.delete_heard(1) is None


async def test_a_self_whose_message_is_deleted_keeps_its_words(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    turn = await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance("Mine.")], chosen=0)
    assert turn is not None
    await store.mark_posted(turn.id, 9)
    deleted = await store.delete_heard(9)
    assert deleted is not None
    assert (deleted.status, deleted.text) == ("deleted", "Mine.")
    edited = await store.edit_heard(9, text="Not mine.", edited_at=NOON)
    assert edited == deleted


async def test_expired_words_are_gone_from_rows_and_from_the_file(
    store: Store, database_url: str, clock: Clock
) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    long = f"{SECRET}, " * 2000  # longer than a page of the file
    heard = await store.hear(scene.id, platform_id=9, user_id=USER, text=long, created_at=NOON)
    younger = await store.hear(
        scene.id, platform_id=10, user_id=USER, text="younger", created_at=NOON + timedelta(days=1)
    )
    typed = await store.say(scene.id, speaker="You", text="typed here", origin="parlor")
    prompts = [
        reading(heard.id, younger.id, typed.id, text=long),
        reading(younger.id, text="younger"),
        reading(typed.id, text="typed here"),
        reading(text=long),  # nobody said from which messages
        reading(text="no person's words", has_human=False),
    ]
    samples = [utterance(prompt=prompt) for prompt in prompts]
    await store.keep_turn(scene.id, speaker="Ember", utterances=samples, chosen=0)
    assert await store.expire(clock.pass_days(29.9)) == 0
    assert all(g.prompt for g in await store.generations(scene.id))
    assert SECRET in every_cell(database_url)

    assert await store.expire(clock.pass_days(0.2)) == 1
    assert await store.expire(clock.now) == 0
    first, second, third = (await store.messages(scene.id))[:3]
    assert (first.text, first.status, first.speaker) == ("", "expired", "guest-1")
    assert (second, third) == (younger, typed)
    kept = [g.prompt is not None for g in await store.generations(scene.id)]
    assert kept == [False, True, True, False, True]
    assert SECRET not in every_cell(database_url)
    assert SECRET.encode() not in (sqlite_bytes(database_url) or b"")
    assert await store.edit_heard(9, text=SECRET, edited_at=clock.now) == first


async def test_a_prompt_that_holds_a_persons_words_says_so_whatever_its_maker_said(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(scene.id, platform_id=9, user_id=USER, text="Hi", created_at=NOON)
    said = utterance(prompt=reading(heard.id, has_human=False))
    await store.keep_turn(scene.id, speaker="Ember", utterances=[said, utterance()], chosen=0)
    assert [g.prompt_has_human for g in await store.generations(scene.id)] == [True, False]


# ages


async def test_an_age_is_registered_once_with_its_writings(store: Store, tmp_path: Path) -> None:
    young = age(tmp_path, kinds=("diary", "letter"))
    assert await store.register_age(young) is True
    assert await store.register_age(young) is False
    (kept,) = await store.checkpoints()
    assert (kept.address, kept.registered_at) == ("ember@base-000400", NOON)
    assert kept.card.train_loss is None  # JSON has no NaN
    assert kept.card == young.card.model_copy(update={"train_loss": None})
    diary, letter = await store.writings()
    assert (diary.kind, diary.to, diary.generation.text) == ("diary", None, "A diary of ember@base-000400.")
    assert (letter.kind, letter.to, letter.generation.kind) == ("letter", "future", "letter")
    assert await store.register_age(age(tmp_path, kinds=("diary", "letter", "continuation"))) is False
    assert [w.kind for w in await store.writings()] == ["diary", "letter", "continuation"]


async def test_an_address_that_was_trained_anew_is_another_age(store: Store, tmp_path: Path) -> None:
    await store.register_age(age(tmp_path, kinds=("diary",)))
    assert await store.register_age(age(tmp_path, weights="b", kinds=("diary",))) is True
    assert [c.card.weights_sha256[0] for c in await store.checkpoints("ember")] == ["a", "b"]
    assert len(await store.writings()) == 2


async def test_writings_are_found_by_lineage(store: Store, tmp_path: Path) -> None:
    for number, lineage in enumerate(["ember", "ember-two", "em"]):
        await store.register_age(age(tmp_path / str(number), f"{lineage}@base-000001", kinds=("diary",)))
    assert [w.address for w in await store.writings("ember")] == ["ember@base-000001"]
    assert len(await store.writings()) == 3
    assert await store.writings("e") == []


async def test_all_is_counted(store: Store, tmp_path: Path) -> None:
    await store.register_age(age(tmp_path, kinds=("diary", "letter")))
    scene = await store.begin_scene(SPEC, place="discord:1")
    await store.say(scene.id, speaker="Operator", text="Begin.", origin="operator")
    await store.hear(scene.id, platform_id=9, user_id=USER, text="Hi", created_at=NOON)
    await store.keep_turn(scene.id, speaker="Ember", utterances=[utterance()] * 3, chosen=0)
    stats = await store.stats()
    assert (stats.ages, stats.writings, stats.people) == (1, 2, 1)
    assert (stats.scenes, stats.open_scenes) == (1, 1)
    assert (stats.messages, stats.by_origin) == (3, {"discord": 1, "operator": 1, "self": 1})
    assert (stats.unposted, stats.generations, stats.candidates) == (2, 5, 2)
    assert stats.size_bytes > 10_000


# any text, any moment


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_any_text_comes_back_as_it_was(store: Store, text: str) -> None:
    spec = SPEC.model_copy(update={"premise": text})
    scene = await store.begin_scene(spec, place="terminal", key=f"key {text[:100]}")
    assert (scene.premise, scene.spec, scene.key) == (text, spec, f"key {text[:100]}")
    assert await store.begin_scene(spec, place="terminal", key=f"key {text[:100]}") == scene
    plain = utterance(text, error=text, prompt=Prompt(form="transcript", text=text))
    chat = utterance(text, prompt=reading(text=text))
    message = await store.keep_turn(scene.id, speaker=text, utterances=[plain, chat], chosen=0)
    assert message is not None
    assert (message.text, message.speaker) == (text, text)
    one, two = await store.generations(scene.id)
    assert (one.text, one.error, one.prompt) == (text, text, plain.prompt)
    assert two.prompt == chat.prompt
    heard = await store.hear(scene.id, platform_id=1, user_id=USER, text=text, created_at=NOON)
    assert await store.message(heard.id) == heard
    assert heard.text == text
    assert (await store.end_scene(scene.id, text)).stop_reason == text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=30)
@given(text=st.text(st.characters(codec=None, categories=None)))
async def test_any_text_at_all_comes_back_as_it_was(database_url: str, text: str) -> None:
    async with open_store(database_url) as store:
        scene = await store.begin_scene(SPEC, place="terminal")
        said = await store.say(scene.id, speaker="You", text=text, origin="parlor")
        assert (await store.message(said.id)).text == text


@given(text=st.text(st.characters(codec=None, categories=None) | st.sampled_from(f"{ESCAPE}0d8\x00\ud800")))
def test_escaping_loses_nothing_and_can_be_stored(text: str) -> None:
    stored = escape(text)
    assert unescape(stored) == text
    assert "\x00" not in stored
    stored.encode("utf-8")


@given(text=st.text(st.characters(codec="utf-8", exclude_characters=f"\x00{ESCAPE}")))
def test_ordinary_text_is_stored_as_it_is(text: str) -> None:
    assert escape(text) == text


async def test_moments_come_back_in_utc_whatever_zone_they_were_given_in(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    moment = datetime(2026, 3, 1, 2, 0, 0, 123456, tzinfo=kathmandu)
    heard = await store.hear(scene.id, platform_id=9, user_id=USER, text="Hi", created_at=moment)
    assert (await store.message(heard.id)).created_at == datetime(2026, 2, 28, 20, 15, 0, 123456, tzinfo=UTC)
    assert (await store.message(heard.id)).created_at.tzinfo is UTC
    assert await store.message(heard.id) == heard


# threads, branches, where it was said


async def test_a_thread_is_kept_with_the_message_it_begins_at(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(scene.id, platform_id=9, user_id=USER, text="Hi", created_at=NOON)
    marked = await store.mark_thread(9, 2**62)
    assert marked
    assert (marked.id, marked.thread_id) == (heard.id, 2**62)
    assert await store.mark_thread(9, 2**62) == marked
    assert await store.message(heard.id) == marked
    assert await store.mark_thread(10, 1) is None


async def test_a_scene_may_branch_off_from_a_message(store: Store) -> None:
    trunk = await store.begin_scene(SPEC, place="terminal")
    said = await store.say(trunk.id, speaker="Operator", text="Begin.", origin="operator")
    branch = await store.begin_scene(SPEC, place="terminal", from_message_id=said.id)
    assert (trunk.from_message_id, branch.from_message_id) == (None, said.id)
    assert (await store.scene(branch.id)).from_message_id == said.id
    with pytest.raises(StoreError, match="no message 99"):
        await store.begin_scene(SPEC, place="terminal", from_message_id=99)


async def test_one_id_on_two_platforms_is_two_people(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    origins: list[Literal["discord", "interaction", "selfhosted"]] = ["discord", "interaction", "selfhosted"]
    heard = [
        await store.hear(
            scene.id, platform_id=number, user_id=USER, text="Hi", created_at=NOON, origin=origin
        )
        for number, origin in enumerate(origins, 1)
    ]
    assert [m.origin for m in heard] == origins
    assert [m.speaker for m in heard] == ["guest-1", "guest-1", "guest-2"]
    assert all(m.human and m.expires_at for m in heard)


async def test_a_prompt_knows_where_its_words_come_from(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    opening = await store.say(scene.id, speaker="Operator", text="Begin.", origin="operator")
    typed = await store.say(scene.id, speaker="You", text="Hi", origin="parlor")
    prompts = [
        reading(opening.id, typed.id),
        reading(opening.id, has_human=False),
        reading(has_human=False),
        reading(has_human=True),
    ]
    samples = [utterance(prompt=prompt) for prompt in prompts]
    await store.keep_turn(scene.id, speaker="Ember", utterances=samples, chosen=None)
    origins = [g.prompt_origins for g in await store.generations(scene.id)]
    assert origins == [("operator", "parlor"), ("operator",), (), None]
