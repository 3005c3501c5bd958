"""Forgetting a person: their words go wherever they went, and nobody can tell any more who they were.

    lines                 erased, with the name; the pseudonym stays, so that scenes can be read
    person                the hash is replaced by a random one and the key dropped, which shuts every copy
    prompts               shut with the key where it sealed them, otherwise erased where they hold the words
    quotations            samples, lines and diary lines that repeat 40 characters are erased, tokens too
    picks                 retracted, and emptied
    feedback              stays as nobody's
    exports, book pages   marked invalid; files that still exist are named
    ages                  those that read such a file are named

All of it is one transaction: when the process dies in the middle nothing has happened. Cleaning up behind it
(the log, indices, PostgreSQL's dead rows) comes after, and again whenever the same person is forgotten again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from memory import database, rows
from memory.models import (
    ExportRow,
    FeedbackRow,
    GenerationRow,
    MessageRow,
    PersonKeyRow,
    PersonRow,
    PickRow,
    SceneRow,
    ScoreRow,
)
from memory.people import find_person, in_parts, set_all
from memory.spoilt import SpoiltExport, invalidate, spoilt_exports
from memory.traces import Traces, find_later_traces, find_traces
from selves.errors import StoreError

if TYPE_CHECKING:
    from memory.store import Store
    from selves.lineage import AgeCard

LOG_WAIT_S = 2.0
EDITOR = "selves memory forget"
"""Who retracts picks."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What forgetting a person took, or would take."""

    person: str
    """The pseudonym, which stays."""
    dry_run: bool
    messages: int
    prompts: int
    samples: int
    """Samples that quoted them."""
    lines: int
    """Lines of selves and the operator that quoted them."""
    picks: int
    feedback: int
    exports: tuple[SpoiltExport, ...]
    checkpoints: tuple[str, ...]
    """Ages that were trained on such a file, and those that came of them."""
    diaries: tuple[str, ...]
    """Ages whose own folder may still hold a diary line that quotes them."""


async def forget(
    store: Store,
    who: str,
    *,
    dry_run: bool = False,
    here: Sequence[AgeCard] = (),
    on_step: Callable[[str], None] = lambda _: None,
) -> Forgotten:
    """Forget the person that `who` names (`guest-3`, a name in the parlor, `platform:id`).

    Doing it again changes nothing more. With `dry_run` nothing is changed at all. `here` are the
    ages on the disk, of which memory may not know yet. `on_step` is told what is being done. Raises
    StoreError if nobody is known by that name.
    """
    on_step("looking for all that they left")
    if dry_run:
        async with store.reading() as session:
            person = await find_person(session, store.house, who)
            return await _report(session, person, await find_traces(session, person, here), dry_run)
    async with store.writing() as session:
        found = await find_person(session, store.house, who)
        # held, so that nothing more is heard of them meanwhile
        person = await session.get_one(PersonRow, found.id, with_for_update=True, populate_existing=True)
        await session.execute(
            select(MessageRow.id).where(MessageRow.person_id == person.id).with_for_update()
        )
        traces = await find_traces(session, person, here)
        report = await _report(session, person, traces, dry_run)
        again = person.forgotten_at is not None
        on_step(f"erasing {len(traces.messages):,} messages and what came of them")
        await _erase(session, store, person, traces)
        if traces.quoting_lines and store.engine.dialect.name == "postgresql":
            # who read such a line meanwhile is done by now, and nobody else is until this is over
            await session.execute(select(func.pg_advisory_xact_lock(database.FORGETTING_LOCK)))
            await _erase(session, store, person, await find_later_traces(session, traces))
    on_step("cleaning up behind it")
    # what is forgotten again may have been left on the disk when this was interrupted
    quoted = again or bool(traces.quoting or traces.quoting_lines)
    try:
        await _clean_up(store, was_indexed=quoted, was_open=quoted or traces.open_prompts)
    except StoreError as error:
        raise StoreError(
            f"{report.person} is forgotten, but the disk may still hold what was erased: {error.problem}",
            f"do it once more: `selves memory forget {report.person}`",
        ) from error
    return report


async def _report(session: AsyncSession, person: PersonRow, traces: Traces, dry_run: bool) -> Forgotten:
    spoilt = await spoilt_exports(session, ExportRow.id.in_(traces.exports))
    return Forgotten(
        person=person.pseudonym,
        dry_run=dry_run,
        messages=0 if person.forgotten_at else len(traces.messages),
        prompts=traces.held,
        samples=len(traces.quoting),
        lines=len(traces.quoting_lines),
        picks=0 if person.forgotten_at else len(traces.picks),
        feedback=traces.feedback,
        exports=spoilt,
        checkpoints=traces.checkpoints,
        diaries=tuple(sorted(traces.diaries)),
    )


async def _erase(session: AsyncSession, store: Store, person: PersonRow, traces: Traces) -> None:
    now = store.clock()
    await _erase_lines(session, store.house.secret, person, traces)
    await set_all(session, GenerationRow, traces.prompts - traces.shut, prompt=None)
    await set_all(session, GenerationRow, traces.quoting, text="", token_ids=[])
    await set_all(session, MessageRow, traces.quoting_lines, text="", status="forgotten")
    for part in in_parts(traces.quoting):
        await session.execute(delete(ScoreRow).where(ScoreRow.generation_id.in_(part)))
    await _retract(session, store, traces.picks)
    await session.execute(
        update(FeedbackRow).where(FeedbackRow.person_id == person.id).values(person_id=None, key=None)
    )
    await invalidate(session, traces.exports, now, "somebody whose words were used asked to be forgotten")
    if traces.names:
        await _erase_names(session, person.pseudonym, traces)
    await session.execute(delete(PersonKeyRow).where(PersonKeyRow.person_id == person.id))
    if person.forgotten_at is None:
        person.user_hash, person.forgotten_at = secrets.token_hex(32), now


async def _erase_lines(session: AsyncSession, secret: str, person: PersonRow, traces: Traces) -> None:
    table = MessageRow.__table__
    erased = {"text": "", "status": "forgotten", "speaker": person.pseudonym}
    erase = update(MessageRow).values(**erased, expires_at=None, thread_id=None)
    # whoever hears such a message again must find it, and nobody else may
    hidden = [
        {"of": message_id, "hidden": rows.hidden_id(secret, platform_id)}
        for message_id, platform_id in traces.messages.items()
        if platform_id is not None and platform_id >= 0
    ]
    if hidden:
        one = erase.where(table.c.id == bindparam("of")).values(platform_id=bindparam("hidden"))
        await (await session.connection()).execute(one, hidden)
    rest = erase.where(
        MessageRow.person_id == person.id, or_(MessageRow.status != "forgotten", MessageRow.text != "")
    )
    await session.execute(rest.execution_options(synchronize_session=False))


async def _retract(session: AsyncSession, store: Store, picks: Collection[int]) -> None:
    ended = set(await session.scalars(select(PickRow.retracts).where(PickRow.retracts.is_not(None))))
    for part in in_parts(picks):
        for pick in await session.scalars(select(PickRow).where(PickRow.id.in_(part))):
            pick.start = pick.end = pick.value = pick.quoted_sha256 = None
            if pick.id not in ended:
                session.add(
                    PickRow(
                        kind="retract",
                        message_id=pick.message_id,
                        generation_id=pick.generation_id,
                        editor=EDITOR,
                        retracts=pick.id,
                        at=store.clock(),
                    )
                )
    await session.flush()


async def _erase_names(session: AsyncSession, pseudonym: str, traces: Traces) -> None:
    """Put the pseudonym where a scene, a sample or an export names somebody of the parlor."""
    named = dict.fromkeys(traces.names, pseudonym)
    named |= {f"<{name}>": f"<{pseudonym}>" for name in traces.names}
    named |= {f"\n{name}:": f"\n{pseudonym}:" for name in traces.names}
    for part in in_parts(traces.scenes):
        for scene in await session.scalars(select(SceneRow).where(SceneRow.id.in_(part))):
            scene.spec = _renamed(scene.spec, named)
        samples = await session.execute(
            select(GenerationRow.id, GenerationRow.sampling).where(GenerationRow.scene_id.in_(part))
        )
        changes = [
            {"id": sample_id, "sampling": new}
            for sample_id, sampling in samples
            if (new := _renamed(sampling, named)) != sampling
        ]
        if changes:
            await session.execute(update(GenerationRow), changes)
    for export in await session.scalars(select(ExportRow)):
        export.request = _renamed(export.request, named)


def _renamed(value: Any, named: dict[str, str]) -> Any:
    match value:
        case str():
            return named.get(value, value)
        case dict():
            return {key: _renamed(item, named) for key, item in value.items()}
        case list():
            return [_renamed(item, named) for item in value]
        case _:
            return value


async def _clean_up(store: Store, *, was_indexed: bool, was_open: bool) -> None:
    """Let what was erased leave the disk as well, as far as the database's own files go.

    SQLite overwrites what it erases; its log is emptied, and its indices are written anew when they had some
    of it. PostgreSQL writes anew the tables that held keys, and those that held words which were not sealed,
    and what it had noted of their values to plan by; its own log turns over by its own settings.
    """
    with database.plain_errors(store.url):
        async with database.outside(store.engine).connect() as connection:
            if store.engine.dialect.name == "sqlite":
                for table in ("message_words", "generation_words") if was_indexed else ():
                    await connection.execute(text(f"INSERT INTO {table}({table}) VALUES ('optimize')"))
            else:
                await connection.execute(text("VACUUM (FULL, ANALYZE) person_key, person"))
                if was_open:
                    tables = "message, generation, feedback, pick"
                    await connection.execute(text(f"VACUUM (FULL, ANALYZE) {tables}"))
                else:
                    # prompts that were sealed are shut already, and are in no index
                    tables = "message, feedback, pick"
                    await connection.execute(text(f"VACUUM (INDEX_CLEANUP OFF, TRUNCATE OFF) {tables}"))
                    await connection.execute(text("ANALYZE message (platform_id, speaker)"))
                # where this is not allowed, PostgreSQL warns and goes on
                await connection.execute(text("VACUUM FULL pg_statistic"))
        # where another process is emptying the log at this very moment, SQLite does not wait
        clock = asyncio.get_running_loop().time
        deadline = clock() + LOG_WAIT_S
        while not await database.empty_log(store.engine):
            if clock() > deadline:
                raise StoreError(f"another program is reading {database.show(store.url)}")
            await asyncio.sleep(0.05)
