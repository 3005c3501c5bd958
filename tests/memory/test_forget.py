"""A person who asks for it is forgotten: nothing on disk says what they said, or who they were."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from memory import consent
from memory.backup import back_up
from memory.export import export, export_again, exports
from memory.forget import Forgotten, forget
from memory.models import (
    CheckpointRow,
    ExportItemRow,
    ExportRow,
    FeedbackRow,
    GenerationRow,
    PersonKeyRow,
    PersonRow,
    PickRow,
    SceneRow,
    ScoreRow,
    WritingRow,
)
from memory.pages import record_page, without_unpublishable
from memory.person_export import everybody, everything_of
from memory.quotes import QUOTE, Quotes, plain
from memory.rows import generation_row, human_part
from memory.store import Store, open_store
from memory.types import Message
from memory.upkeep import vacuum
from memory.wanted import Wanted
from selves.cast import SceneSpec
from selves.errors import StoreError
from selves.speech import Prompt
from tests.memory.parts import NOON, SPEC, Clock, age, every_cell, reading, sqlite_bytes, utterance

USER = 80351110224678912
SNOWFLAKE = 1234567890123456789
SECRET = "my grandmother kept her wedding ring in the blue teapot until the winter of the flood"
QUOTED = f"You said that {SECRET.upper()[:60]}, did you not?"
OTHER = "the harbour was quiet that evening and nobody spoke of the lighthouse keeper again"
TRACES = (SECRET, SECRET[:60], SECRET.upper()[:60], "teapot", "TEAPOT", "wedding ring")


async def hear(store: Store, scene_id: int, text: str, platform_id: int, user: int = USER) -> Message:
    return await store.hear(scene_id, platform_id=platform_id, user_id=user, text=text, created_at=NOON)


async def answer(store: Store, scene_id: int, text: str, *read: Message, also: str = "") -> Message:
    prompt = "\n".join([*(f"{m.speaker}: {m.text}" for m in read), also])
    said = utterance(text, prompt=reading(*(m.id for m in read), text=prompt, has_human=False))
    message = await store.keep_turn(
        scene_id, speaker="Ember", utterances=[said, utterance("Something else.")], chosen=0
    )
    assert message
    assert message.generation_id
    return message


async def told(store: Store) -> dict[str, Message]:
    """A scene in which somebody tells a secret, a self repeats it, and another person is there too."""
    scene = await store.begin_scene(SPEC, place="discord:1")
    lines = {"secret": await hear(store, scene.id, SECRET, SNOWFLAKE)}
    lines["quote"] = await answer(store, scene.id, QUOTED, lines["secret"])
    lines["other"] = await hear(store, scene.id, OTHER, SNOWFLAKE + 1, USER + 1)
    # the self's line is read again, when the person's own is no longer in the window
    lines["later"] = await answer(store, scene.id, "Yes.", lines["quote"], lines["other"])
    lines["calm"] = await answer(store, scene.id, OTHER, lines["other"])
    return lines


def on_disk(url: str) -> bytes:
    return every_cell(url).encode() + (sqlite_bytes(url) or b"")


def assert_gone(url: str, *texts: str) -> None:
    found = [text for text in texts if text.encode() in on_disk(url)]
    assert found == []


def bytes_in(place: Path) -> bytes:
    read = []
    for file in [place, *sorted(place.rglob("*"))]:
        # PostgreSQL takes files away when it likes
        with suppress(FileNotFoundError):
            read += [file.read_bytes()] if file.is_file() else []
    return b"".join(read)


# what is gone


async def test_a_forgotten_person_leaves_no_trace(store: Store, database_url: str) -> None:
    lines = await told(store)
    async with store.reading() as session:
        person = (await session.scalars(select(PersonRow).order_by(PersonRow.id))).first()
        keys = await session.scalars(select(PersonKeyRow.key).order_by(PersonKeyRow.person_id))
        assert person
        before = (keys.first() or "", person.user_hash, str(SNOWFLAKE))
    for trace in (*before, SECRET.upper()[:60]):
        assert trace.encode() in on_disk(database_url), trace

    report = await forget(store, "guest-1")
    assert (report.person, report.messages, report.prompts) == ("guest-1", 1, 2)
    assert (report.samples, report.lines, report.dry_run) == (1, 1, False)
    assert_gone(database_url, *TRACES, *before, str(USER))

    kept = {name: await store.message(message.id) for name, message in lines.items()}
    assert (kept["secret"].text, kept["secret"].status) == ("", "forgotten")
    assert (kept["secret"].speaker, kept["secret"].platform_id) == ("guest-1", None)
    assert (kept["quote"].text, kept["quote"].status) == ("", "forgotten")
    assert (kept["later"].text, kept["calm"].text) == ("Yes.", OTHER)
    assert kept["other"] == lines["other"]
    generations = await store.generations(lines["secret"].scene_id)
    assert [(g.text, bool(g.token_ids), g.prompt is not None) for g in generations] == [
        ("", False, False),
        ("Something else.", True, True),
        ("Yes.", True, False),
        ("Something else.", True, True),
        (OTHER, True, True),
        ("Something else.", True, True),
    ]
    async with open_store(database_url) as again:
        assert len(await again.messages(lines["secret"].scene_id)) == 5


async def test_forgetting_again_changes_nothing_more(store: Store, database_url: str, clock: Clock) -> None:
    await told(store)
    await forget(store, f"discord:{USER}")
    before = every_cell(database_url)
    clock.pass_days(1)
    again = await forget(store, "guest-1")
    assert (again.messages, again.prompts, again.samples, again.lines) == (0, 0, 0, 0)
    assert every_cell(database_url) == before
    with pytest.raises(StoreError, match="nobody is known as"):
        await forget(store, f"discord:{USER}")


async def test_prompts_that_are_shut_for_good_stay_until_the_house_is_vacuumed(store: Store) -> None:
    lines = await told(store)

    async def prompts() -> list[bool]:
        async with store.reading() as session:
            kept = await session.scalars(select(GenerationRow.prompt).order_by(GenerationRow.id))
            return [prompt is not None for prompt in kept]

    async def readable() -> list[bool]:
        return [g.prompt is not None for g in await store.generations(lines["secret"].scene_id)]

    before = await prompts()
    await forget(store, "guest-1")
    after = await readable()
    assert sum(before) - sum(await prompts()) < sum(before) - sum(after)
    await vacuum(store)
    assert await prompts() == await readable() == after


async def test_a_dry_run_says_what_would_be_and_changes_nothing(store: Store, database_url: str) -> None:
    await told(store)
    before = every_cell(database_url)
    foreseen = await forget(store, "guest-1", dry_run=True)
    assert every_cell(database_url) == before
    done = await forget(store, "guest-1")
    assert foreseen.dry_run
    for name in Forgotten.__slots__:
        if name != "dry_run":
            assert getattr(foreseen, name) == getattr(done, name), name


async def test_a_message_that_was_forgotten_is_not_heard_again(store: Store, database_url: str) -> None:
    lines = await told(store)
    await forget(store, "guest-1")
    again = await hear(store, lines["secret"].scene_id, SECRET, SNOWFLAKE)
    assert (again.id, again.text, again.status) == (lines["secret"].id, "", "forgotten")
    assert await store.edit_heard(SNOWFLAKE, text=SECRET, edited_at=NOON + timedelta(days=1)) is None
    assert_gone(database_url, *TRACES)
    new = await hear(store, lines["secret"].scene_id, "Hello", SNOWFLAKE + 9)
    assert new.speaker == "guest-3"


async def test_who_speaks_in_the_parlor_is_forgotten_by_name(store: Store, database_url: str) -> None:
    name = "Wilhelmina"
    scene = await store.begin_scene(SceneSpec(name="talk", cast=(name, "Ember")), place="terminal")
    said = await store.say(scene.id, speaker=name, text=SECRET, origin="parlor")
    asked = utterance(prompt=reading(said.id, text=f"<{name}> {SECRET}"))
    asked = asked.model_copy(
        update={"sampling": asked.sampling.model_copy(update={"stop": ("\n", f"<{name}>", f"\n{name}:")})}
    )
    await store.keep_turn(scene.id, speaker="Ember", utterances=[asked], chosen=0)
    await forget(store, name)
    assert_gone(database_url, *TRACES, name)
    assert (await store.scene(scene.id)).spec.cast == ("guest-1", "Ember")
    (line, _) = await store.messages(scene.id)
    assert (line.speaker, line.text) == ("guest-1", "")
    (sample,) = await store.generations(scene.id)
    assert sample.sampling.stop == ("\n", "<guest-1>", "\nguest-1:")


async def test_what_is_quoted_elsewhere_goes_too(store: Store, database_url: str, tmp_path: Path) -> None:
    lines = await told(store)
    fork = await store.begin_scene(SPEC, place="terminal", key="fork", from_message_id=lines["quote"].id)
    twig = await store.say(fork.id, speaker="Operator", text="Go on.", origin="operator")
    branch = await store.begin_scene(SPEC, place="terminal", from_message_id=twig.id)
    repeated = await answer(store, branch.id, f"She said: {SECRET}", lines["quote"])
    once_more = await answer(store, branch.id, f"Who said that {SECRET}?", repeated)
    noted = await store.say(branch.id, speaker="Operator", text=f"Note: {SECRET}", origin="operator")
    elsewhere = await store.begin_scene(SPEC, place="terminal")
    letter = await answer(store, elsewhere.id, f"Dear self, {SECRET}", lines["secret"])
    await store.register_age(age(tmp_path, kinds=("diary",)))
    async with store.writing() as session:
        said = utterance(f"Today I heard that {SECRET[10:60]}.")
        diary = generation_row(said, "diary", human_part(said, {}), {})
        session.add(diary)
        await session.flush()
        session.add(
            WritingRow(
                generation_id=diary.id,
                address="ember@base-000400",
                weights_sha256="a" * 64,
                kind="diary",
                number=1,
            )
        )
        session.add(ScoreRow(generation_id=diary.id, name="loop", value=0.5))
    report = await forget(store, "guest-1")
    assert (report.samples, report.lines) == (5, 5)
    assert report.diaries == ("ember@base-000400",)
    assert_gone(database_url, *TRACES)
    for line in (repeated, once_more, noted):
        assert (await store.message(line.id)).text == ""
    assert (await store.message(letter.id)).text == ""
    assert [w.generation.text for w in await store.writings()] == ["A diary of ember@base-000400.", ""]
    async with store.reading() as session:
        assert (await session.scalars(select(ScoreRow))).all() == []
        assert (await session.get_one(SceneRow, branch.id)).from_message_id == twig.id


async def test_an_answer_that_was_on_its_way_when_somebody_was_forgotten_does_not_quote_them(
    store: Store, database_url: str
) -> None:
    lines = await told(store)
    secret = lines["secret"]
    late = [utterance(text, prompt=reading(secret.id, text=f"guest-1: {SECRET}")) for text in (QUOTED, "Hm.")]
    await forget(store, "guest-1")
    assert await store.keep_turn(secret.scene_id, speaker="Ember", utterances=late, chosen=0) is None
    kept = await store.keep_turn(secret.scene_id, speaker="Ember", utterances=late, chosen=1)
    assert kept
    assert kept.text == "Hm."
    assert_gone(database_url, *TRACES)


async def test_an_answer_to_a_quotation_that_was_on_its_way_does_not_hold_it(
    store: Store, database_url: str
) -> None:
    quote = (await told(store))["quote"]
    late = [
        utterance(text, prompt=reading(quote.id, text=quote.text, has_human=False))
        for text in (QUOTED, "Hm.")
    ]
    await forget(store, "guest-1")
    assert await store.keep_turn(quote.scene_id, speaker="Ember", utterances=late, chosen=0) is None
    assert await store.keep_turn(quote.scene_id, speaker="Ember", utterances=late, chosen=1)
    assert_gone(database_url, *TRACES)


@pytest.mark.postgres
async def test_who_answers_a_quotation_while_somebody_is_forgotten_does_not_hold_it(
    new_postgresql: Callable[[bool], str],
) -> None:
    """On SQLite nobody can write meanwhile."""
    url = new_postgresql(True)

    async def answer_it(quote: Message) -> None:
        async with open_store(url) as another:
            await answer(another, quote.scene_id, QUOTED, quote)

    async with open_store(url, clock=Clock()) as store:
        quote = (await told(store))["quote"]

        def answered_meanwhile(step: str) -> None:
            if step.startswith("erasing"):
                with ThreadPoolExecutor() as other:
                    other.submit(asyncio.run, answer_it(quote)).result()

        await forget(store, "guest-1", on_step=answered_meanwhile)
        assert len(await store.messages(quote.scene_id)) == 6
    assert_gone(url, *TRACES)


async def test_who_read_a_quotation_in_another_scene_does_not_hold_it(
    store: Store, database_url: str
) -> None:
    quote = (await told(store))["quote"]
    elsewhere = await store.begin_scene(SPEC, place="diary")
    retold = await answer(store, elsewhere.id, f"Today: {SECRET}.", quote)
    again = await store.begin_scene(SPEC, place="diary")
    week = await answer(store, again.id, "A week.", retold)
    report = await forget(store, "guest-1")
    assert (report.samples, report.lines, report.prompts) == (2, 2, 4)
    assert_gone(database_url, *TRACES)
    assert (await store.message(week.id)).text == "A week."


async def test_prompts_of_which_nobody_knows_whose_words_they_hold_go_too(
    store: Store, database_url: str
) -> None:
    lines = await told(store)
    nameless = utterance(prompt=Prompt(form="transcript", text=f"someone: {SECRET}", has_human=True))
    await store.keep_turn(lines["secret"].scene_id, speaker="Ember", utterances=[nameless], chosen=None)
    report = await forget(store, "guest-1")
    assert report.prompts == 3
    assert_gone(database_url, *TRACES)


async def test_marks_and_votes_of_the_forgotten_become_nobodys(store: Store, database_url: str) -> None:
    lines = await told(store)
    note = "she means the TEAPOT"
    async with store.writing() as session:
        quote = PickRow(
            kind="quote",
            message_id=lines["quote"].id,
            start=14,
            end=74,
            quoted_sha256=hashlib.sha256(SECRET[:60].upper().encode()).hexdigest(),
            editor="me",
            at=NOON,
        )
        star = PickRow(kind="star", message_id=lines["calm"].id, editor="me", at=NOON)
        session.add_all(
            [
                quote,
                star,
                PickRow(kind="note", message_id=lines["secret"].id, value=note, editor="me", at=NOON),
                PickRow(
                    kind="note", message_id=lines["calm"].id, value=f"cf. {SECRET}", editor="me", at=NOON
                ),
            ]
        )
        vote: dict[str, Any] = {"kind": "reaction", "blind": False, "via": "discord", "at": NOON}
        generation = lines["calm"].generation_id
        theirs = FeedbackRow(key="1 up", value="up", generation_id=generation, person_id=1, **vote)
        others = FeedbackRow(key="2 up", value="up", generation_id=generation, person_id=2, **vote)
        session.add_all([theirs, others])
    report = await forget(store, "guest-1")
    assert (report.picks, report.feedback) == (3, 1)
    assert_gone(database_url, note, *TRACES)
    async with store.reading() as session:
        picks = (await session.scalars(select(PickRow).order_by(PickRow.id))).all()
        assert [(p.kind, p.value, p.quoted_sha256) for p in picks[:4]] == [
            ("quote", None, None),
            ("star", None, None),
            ("note", None, None),
            ("note", None, None),
        ]
        assert [(p.kind, p.retracts) for p in picks[4:]] == [
            ("retract", quote.id),
            ("retract", picks[2].id),
            ("retract", picks[3].id),
        ]
        votes = (await session.scalars(select(FeedbackRow).order_by(FeedbackRow.id))).all()
        assert [(v.person_id, v.key, v.value) for v in votes] == [(None, None, "up"), (2, "2 up", "up")]


async def test_exports_with_their_words_are_invalid_and_ages_that_read_them_are_named(
    store: Store, tmp_path: Path
) -> None:
    lines = await told(store)
    (tmp_path / "train.jsonl").write_text("train.jsonl")
    (tmp_path / "replies.jsonl").write_text("something else by now")

    def export(purpose: str, name: str) -> ExportRow:
        return ExportRow(
            format="dpo" if purpose == "train" else "transcript",
            purpose=purpose,
            request={"folder": str(tmp_path)},
            version="0.1.0",
            rows=1,
            files={name: hashlib.sha256(name.encode()).hexdigest(), "gone.jsonl": "0" * 64},
            created_at=NOON,
        )

    of_quote, of_reply, of_line, shown_reply, clean = exports = [
        export("train", "train.jsonl"),
        export("train", "replies.jsonl"),
        export("publish", "scene.txt"),
        export("publish", "reply.txt"),
        export("train", "calm.jsonl"),
    ]
    async with store.writing() as session:
        session.add_all(exports)
        await session.flush()
        reply, calm = lines["later"].generation_id, lines["calm"].generation_id
        session.add_all(
            [
                ExportItemRow(
                    export_id=of_quote.id,
                    position=0,
                    split="train",
                    generation_id=calm,
                    other_id=lines["quote"].generation_id,
                ),
                ExportItemRow(export_id=of_reply.id, position=0, split="train", generation_id=reply),
                ExportItemRow(export_id=of_line.id, position=0, split="", message_id=lines["secret"].id),
                ExportItemRow(export_id=shown_reply.id, position=0, split="", generation_id=reply),
                ExportItemRow(export_id=clean.id, position=0, split="train", generation_id=calm),
            ]
        )
        for number, (address, parent, source) in enumerate(
            [
                ("ember@base-000100", None, "calm.jsonl"),
                ("ember@chat-000100", "ember@base-000100", "train.jsonl"),
                ("ember@chat-000200", "ember@chat-000100", ""),
            ]
        ):
            sources = [{"path": source, "sha256": hashlib.sha256(source.encode()).hexdigest()}]
            session.add(
                CheckpointRow(
                    address=address,
                    lineage="ember",
                    age=address.partition("@")[2],
                    stage="chat",
                    step=number,
                    parent=parent,
                    weights_sha256=str(number) * 64,
                    card={"sources": sources if source else []},
                    created_at=NOON + timedelta(hours=number),
                    registered_at=NOON,
                )
            )
    quill = age(tmp_path / "quill", "quill@dpo-000010").card
    read = {"folder": "pairs", "files": {"data/train.jsonl": hashlib.sha256(b"train.jsonl").hexdigest()}}
    nobody_talked_to = [
        age(tmp_path / "calm", "calm@base-000100").card,
        quill.model_copy(update={"sources": (read,)}),
        age(tmp_path / "mean", "mean@merge-000001").card.model_copy(update={"others": (quill.address,)}),
        age(tmp_path / "pupil", "pupil@sft-000002").card.model_copy(update={"parent": "mean@merge-000001"}),
    ]
    report = await forget(store, "guest-1", here=nobody_talked_to)
    assert [(e.id, e.files) for e in report.exports] == [
        (of_quote.id, (str(tmp_path / "train.jsonl"),)),
        (of_reply.id, ()),
        (of_line.id, ()),
        (shown_reply.id, ()),
    ]
    assert report.checkpoints == (
        "ember@chat-000100",
        "ember@chat-000200",
        "quill@dpo-000010",
        "mean@merge-000001",
        "pupil@sft-000002",
    )
    async with store.reading() as session:
        found = (await session.scalars(select(ExportRow).order_by(ExportRow.id))).all()
        assert [e.invalid_at is not None for e in found] == [True, True, True, True, False]
        assert found[0].invalid_reason == "somebody whose words were used asked to be forgotten"


async def test_a_page_of_a_book_is_called_back(store: Store, tmp_path: Path) -> None:
    lines = await told(store)
    deleted = await answer(store, lines["secret"].scene_id, "Never mind.")
    await store.mark_posted(deleted.id, 77)
    await store.delete_heard(77)
    shown = await without_unpublishable(store, await store.messages(lines["secret"].scene_id))
    assert [m.id for m in shown] == [lines[name].id for name in ("secret", "other")]  # who answers has heard

    page = tmp_path / "ember.html"
    data = QUOTED.encode()
    ids = [lines["quote"].id]
    of = [("ember@base-000400", "a" * 64)]
    with pytest.raises(StoreError, match="may not be shown any more"):
        await record_page(store, page, data, of="ember", message_ids=ids, ages=of)
    person = lines["secret"].person_id
    assert person is not None
    await consent.allow(store, person, "publish", granted=True, notice="1", via="test")
    number = await record_page(store, page, data, of="ember", message_ids=ids, ages=of)
    page.write_bytes(data)
    assert await record_page(store, page, data, of="ember", message_ids=ids, ages=[]) == number
    with pytest.raises(StoreError, match=f"export {number} is a page of a book"):
        await export_again(store, number, tmp_path / "again")
    assert [e.format for e in await exports(store)] == ["page"]
    page_again = tmp_path / "other" / "ember.html"
    assert await record_page(store, page_again, data, of="ember", message_ids=[], ages=[]) == number + 1
    report = await forget(store, "guest-1")
    assert [(e.id, e.format, e.files) for e in report.exports] == [(number, "page", (str(page),))]
    assert [e.invalid_at is not None for e in await exports(store)] == [True, False]


async def test_words_that_a_copy_still_has_stay_shut_there(store: Store, database_url: str) -> None:
    """A backup has no keys; here the rows are looked at as an older copy of them would be."""
    await told(store)
    async with store.reading() as session:
        person = (await session.scalars(select(PersonRow))).first()
        assert person
    assert SECRET not in every_cell(database_url)
    async with store.writing() as session:
        await session.delete((await session.scalars(select(PersonKeyRow))).first())
    (line, *_) = await store.messages(1)
    assert (line.text, line.shut) == ("", True)
    (first, *_) = await store.generations(1)
    assert first.prompt is None


async def test_neither_a_fresh_backup_nor_any_export_has_what_was_forgotten(
    store: Store, tmp_path: Path
) -> None:
    lines = await told(store)
    await store.say(lines["secret"].scene_id, speaker="Operator", text="Begin.", origin="operator")
    assert lines["secret"].person_id
    assert lines["other"].person_id
    for person in (lines["secret"].person_id, lines["other"].person_id):
        for purpose in consent.PURPOSES:
            await consent.allow(store, person, purpose, granted=True, notice="1", via="cli")
    await consent.permit(store, "discord", "train", granted=True, statement="a letter of 1 May")
    wanted = [
        Wanted(format="transcript", purpose="publish"),
        Wanted(format="dce", purpose="publish"),
        Wanted(format="transcript"),
        Wanted(format="sft", sources=()),
        Wanted(format="grpo-prompts"),
    ]

    async def write(name: str) -> list[bytes]:
        await back_up(store, tmp_path / name / "backup.db")
        for number, what in enumerate(wanted):
            await export(store, what, tmp_path / name / str(number))
        folders = [tmp_path / name / "backup.db", *(tmp_path / name / str(n) for n in range(len(wanted)))]
        return [bytes_in(folder) for folder in folders]

    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = await write("before")
    texts = (SECRET, SECRET[:60].upper())
    assert [any(text.encode() in data for text in texts) for data in before] == [True] * len(before)
    report = await forget(store, "guest-1")
    assert len(report.exports) == len(wanted)
    assert all(Path(file).exists() for spoilt in report.exports for file in spoilt.files)
    after = await write("after")
    gone = [*TRACES, str(USER), str(SNOWFLAKE)]
    assert [[text for text in gone if text.encode() in data] for data in after] == [[]] * len(after)
    assert OTHER.encode() in after[1]
    with pytest.raises(StoreError, match="asked to be forgotten"):
        await export_again(store, report.exports[0].id, tmp_path / "again")


@pytest.mark.postgres
async def test_the_files_of_a_postgresql_server_have_nothing_after_a_forgetting(
    new_postgresql: Callable[[bool], str],
) -> None:
    """Its own log aside, which turns over by itself."""
    import psycopg

    url = new_postgresql(True)
    async with open_store(url, clock=Clock()) as store:
        await told(store)
        async with store.reading() as session:
            (key,) = await session.scalars(select(PersonKeyRow.key).where(PersonKeyRow.person_id == 1))
        with psycopg.connect(url, autocommit=True) as connection:
            asked = connection.execute("SELECT pg_database.oid FROM pg_database WHERE datname = 'selves'")
            folder = Path(connection.execute("SHOW data_directory").fetchone()[0])  # type: ignore[index]
            files = folder / "base" / str(asked.fetchone()[0])  # type: ignore[index]
            connection.execute("ANALYZE")
            connection.execute("CHECKPOINT")
            before = bytes_in(files)
            assert key.encode() in before
            assert SECRET[:60].upper().encode() in before
            await forget(store, "guest-1")
            connection.execute("CHECKPOINT")
            after = bytes_in(files)
    assert [trace for trace in (*TRACES, key) if trace.encode() in after] == []


async def test_what_another_program_kept_on_the_disk_is_gone_when_it_is_done_once_more(
    new_sqlite: Callable[[bool], str],
) -> None:
    url = new_sqlite(True)
    async with open_store(url, clock=Clock(), lock_wait_s=0.1) as store:
        await told(store)
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM message").fetchone() == (5,)
            with pytest.raises(
                StoreError, match="guest-1 is forgotten, but the disk may still hold"
            ) as error:
                await forget(store, "guest-1")
            assert "selves memory forget guest-1" in error.value.fix
        await forget(store, "guest-1")
        assert_gone(url, *TRACES)


# what is kept of a person


async def test_a_person_can_read_all_that_is_kept_of_them(store: Store) -> None:
    lines = await told(store)
    assert lines["secret"].person_id
    await consent.allow(store, lines["secret"].person_id, "publish", granted=True, notice="2", via="cli")
    kept = await everything_of(store, f"discord:{USER}")
    assert (kept.person, kept.platform, kept.created_at) == ("guest-1", "discord", NOON)
    assert [m.text for m in kept.messages] == [SECRET]
    assert kept.allowed == {
        "context": False,
        "store": False,
        "diary": False,
        "publish": True,
        "train": False,
    }
    assert [c["notice"] for c in kept.consents] == ["2"]
    assert kept.read_by == ({"message": lines["secret"].id, "generation": 1, "address": "ember@base-000400"},)
    async with store.writing() as session:
        for export_id, one, item in (
            (1, "transcript", {"message_id": lines["secret"].id}),
            (2, "dpo", {"generation_id": 1}),
            (3, "transcript", {"message_id": lines["secret"].id, "detail": {"hidden": True}}),
        ):
            session.add(_an_export(export_id, one))
            await session.flush()
            session.add(ExportItemRow(export_id=export_id, position=0, split="train", **item))
    assert (await everything_of(store, "guest-1")).exports == (1, 2)
    await forget(store, "guest-1")
    kept = await everything_of(store, "guest-1")
    assert [m.text for m in kept.messages] == [""]
    assert [(p.person, p.messages, p.forgotten_at) for p in await everybody(store)] == [
        ("guest-1", 0, NOON),
        ("guest-2", 1, None),
    ]


def _an_export(export_id: int, format_: str) -> ExportRow:
    return ExportRow(
        id=export_id,
        format=format_,
        purpose="train",
        request={},
        version="1",
        rows=1,
        files={},
        created_at=NOON,
    )


# quotations

words = st.text(st.sampled_from("ab "), min_size=0, max_size=120)


def quotes_slowly(said: list[str], text: str) -> bool:
    other = plain(text)
    return any(
        plain(one)[start : start + QUOTE] in other
        for one in said
        for start in range(len(plain(one)) - QUOTE + 1)
    )


@given(st.lists(words, max_size=3), words)
def test_quotations_are_found_as_by_looking_at_every_character(said: list[str], text: str) -> None:
    assert Quotes(said).are_in(text) == quotes_slowly(said, text)


@given(words, words, st.text(min_size=QUOTE, max_size=200), st.data())
def test_forty_characters_in_a_row_are_found_wherever_they_stand(
    before: str, after: str, said: str, data: st.DataObject
) -> None:
    flat = plain(said)
    if len(flat) < QUOTE:
        return
    start = data.draw(st.integers(0, len(flat) - QUOTE))
    part = flat[start : start + QUOTE]
    if part == part.strip():
        assert Quotes([said]).are_in(f"{before}{part}{after}")
