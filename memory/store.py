"""The store: everything said is kept here before it is posted, with all that is needed to say it again.

    async with open_store(house.database_url) as store:
        scene = await store.begin_scene(spec, place="terminal")
        message = await store.keep_turn(scene.id, speaker="Ember", utterances=[u], chosen=0, text="Hello.")
        ...post it...
        await store.mark_posted(message.id)

One method, one transaction. What a method returned is on disk: killing the process at any moment loses
nothing of it, and doubles nothing, since scenes have keys, messages have nonces and people's messages have
platform ids. People's words, and the prompts that hold them, are sealed with their keys as they are written
(`people.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar, cast

from sqlalchemy import Row as SqlRow
from sqlalchemy import Select, func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from memory import database, rows, sealing, spending, statements
from memory.consent import wants_stored
from memory.models import (
    Base,
    CheckpointRow,
    GenerationRow,
    HeardInRow,
    HouseRow,
    MessageRow,
    PersonRow,
    SceneRow,
    WritingRow,
)
from memory.people import in_parts, key_of, keys_of, meet, read_generations, read_messages
from memory.spoilt import call_back
from memory.types import (
    Checkpoint,
    Generation,
    GenerationKind,
    Message,
    Provenance,
    Scene,
    SceneStatus,
    Stats,
    StoredWriting,
)
from selves.cast import SceneSpec
from selves.errors import StoreError
from selves.lineage import Age
from selves.speech import Utterance, Writing

Clock = Callable[[], datetime]
ALL = 2**62
"""As many rows as there are."""
Row = TypeVar("Row", bound=Base)
Found = TypeVar("Found")


def utc_now() -> datetime:
    """The moment it is, aware, in UTC."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_store(
    database_url: str, *, create: bool = True, clock: Clock = utc_now, lock_wait_s: float = 10.0
) -> AsyncIterator[Store]:
    """Yield the store at a SQLAlchemy URL (SQLite or PostgreSQL), made or migrated if need be.

    With `create` false a SQLite file that does not exist is an error: a reader makes no empty database.

    `lock_wait_s` is how long a writer waits for another one. Raises StoreError, here and from every method,
    when the database is unreachable, locked, full, damaged, not ours or of a newer version.
    """
    url = database.parse_url(database_url)
    async with database.open_database(url, create=create, lock_wait_s=lock_wait_s) as engine:
        with database.plain_errors(url):
            async with AsyncSession(engine) as session:
                house = await session.get_one(HouseRow, 1)
        yield Store(engine, url, clock, house, lock_wait_s)


class Store:
    """An open store. Its methods may be called from several tasks of one event loop at once."""

    def __init__(
        self, engine: AsyncEngine, url: URL, clock: Clock, house: HouseRow, lock_wait_s: float
    ) -> None:
        self.engine = engine
        self._glancing = database.brief(database.glancing(engine))
        self._lock_wait_s = lock_wait_s
        self._queue = asyncio.Lock()
        self.url = url
        self.clock = clock
        self.house = house

    # ages

    async def register_age(self, age: Age) -> bool:
        """Keep an age's card and what it wrote; return whether the age was new here.

        Registering again adds only writings that are not there yet. An address that was trained anew (other
        weights) is another checkpoint. Raises AgeError when its diary is damaged.
        """
        card, address, writings = age.card, age.address, age.writings()
        async with self.writing() as session:
            new = await session.scalar(
                self.insert(CheckpointRow)
                .values(
                    address=card.address,
                    lineage=address.lineage,
                    age=address.age,
                    stage=address.stage,
                    step=address.step,
                    parent=card.parent,
                    weights_sha256=card.weights_sha256,
                    card=card.model_dump(mode="json"),
                    created_at=card.created_at,
                    registered_at=self.clock(),
                )
                .on_conflict_do_nothing(index_elements=["address", "weights_sha256"])
                .returning(CheckpointRow.id)
            )
            # whoever registers the same age at the same time waits here, and then sees these writings
            await session.execute(
                select(CheckpointRow.id)
                .where(
                    CheckpointRow.address == card.address,
                    CheckpointRow.weights_sha256 == card.weights_sha256,
                )
                .with_for_update()
            )
            known = await session.execute(
                select(WritingRow.kind, WritingRow.number).where(
                    WritingRow.address == card.address, WritingRow.weights_sha256 == card.weights_sha256
                )
            )
            there = {(kind, number) for kind, number in known}
            missing = [writing for writing in writings if (writing.kind, writing.number) not in there]
            await self._add_writings(session, age, missing)
        return new is not None

    async def _add_writings(self, session: AsyncSession, age: Age, writings: Sequence[Writing]) -> None:
        generations = [
            rows.generation_row(w.utterance, w.kind, rows.human_part(w.utterance, {}), {}) for w in writings
        ]
        session.add_all(generations)
        await session.flush()
        session.add_all(
            WritingRow(
                generation_id=generation.id,
                address=age.card.address,
                weights_sha256=age.card.weights_sha256,
                kind=writing.kind,
                number=writing.number,
                addressee=writing.to,
            )
            for writing, generation in zip(writings, generations, strict=True)
        )

    async def checkpoints(self, lineage: str | None = None) -> list[Checkpoint]:
        """Return the ages that were registered here, by lineage, then in order of life."""
        query = select(CheckpointRow).order_by(
            CheckpointRow.lineage, CheckpointRow.created_at, CheckpointRow.step, CheckpointRow.id
        )
        if lineage is not None:
            query = query.where(CheckpointRow.lineage == lineage)
        return [rows.to_checkpoint(row) for row in await self._all(query)]

    async def writings(self, lineage: str | None = None) -> list[StoredWriting]:
        """Return what selves wrote while they were trained, in the order it was written."""
        query = (
            select(WritingRow, GenerationRow)
            .join(GenerationRow, WritingRow.generation_id == GenerationRow.id)
            .order_by(GenerationRow.started_at, WritingRow.id)
        )
        if lineage is not None:
            query = query.where(WritingRow.address.startswith(f"{lineage}@", autoescape=True))
        async with self.reading() as session:
            found = (await session.execute(query)).all()
            generations = await read_generations(session, [generation for _, generation in found])
            return [
                StoredWriting(
                    id=writing.id,
                    address=writing.address,
                    kind=writing.kind,
                    number=writing.number,
                    to=writing.addressee,
                    generation=generation,
                )
                for (writing, _), generation in zip(found, generations, strict=True)
            ]

    # scenes

    async def begin_scene(
        self, spec: SceneSpec, *, place: str, key: str | None = None, from_message_id: int | None = None
    ) -> Scene:
        """Begin a scene, or with a known `key` return the scene that has it, as it stands.

        Whoever asks with the same key gets the same scene, even when two processes ask at once. Without a key
        every call begins another one. A thread, a fork or a continuation names the message it branches off
        from. Raises StoreError if there is no such message.
        """
        if key is not None and (known := await self._first(select(SceneRow).where(SceneRow.key == key))):
            return rows.to_scene(known)
        async with self.writing(brief=True) as session:
            if from_message_id is not None:
                _found(await session.get(MessageRow, from_message_id), "message", from_message_id)
            new = await session.scalar(
                self.insert(SceneRow)
                .values(
                    name=spec.name,
                    kind=spec.kind,
                    key=key,
                    place=place,
                    premise=spec.premise,
                    spec=spec.model_dump(mode="json"),
                    status="open",
                    messages=0,
                    turns=0,
                    started_at=self.clock(),
                    from_message_id=from_message_id,
                )
                .on_conflict_do_nothing(index_elements=["key"])
                .returning(SceneRow.id)
            )
            same = SceneRow.key == key if new is None else SceneRow.id == new
            return rows.to_scene((await session.scalars(select(SceneRow).where(same))).one())

    async def scene(self, scene_id: int) -> Scene:
        """Return a scene. Raises StoreError if there is none with this id."""
        return rows.to_scene(await self._get(SceneRow, scene_id, "scene"))

    async def scenes(
        self,
        *,
        name: str | None = None,
        place: str | None = None,
        status: SceneStatus | None = None,
        last: int | None = None,
    ) -> list[Scene]:
        """Return scenes in the order they began; `last` of them at most, the newest."""
        query = select(SceneRow).order_by(SceneRow.id.desc()).limit(last)
        if name is not None:
            query = query.where(SceneRow.name == name)
        if place is not None:
            query = query.where(SceneRow.place == place)
        if status is not None:
            query = query.where(SceneRow.status == status)
        return [rows.to_scene(row) for row in reversed(await self._all(query))]

    async def end_scene(self, scene_id: int, stop_reason: str) -> Scene:
        """End a scene; the first reason stays. Raises StoreError if there is none with this id."""
        async with self.writing(brief=True) as session:
            await session.execute(
                update(SceneRow)
                .where(SceneRow.id == scene_id, SceneRow.status == "open")
                .values(status="ended", stop_reason=stop_reason, ended_at=self.clock())
            )
            return rows.to_scene(_found(await session.get(SceneRow, scene_id), "scene", scene_id))

    # messages

    async def keep_turn(
        self,
        scene_id: int,
        *,
        speaker: str,
        utterances: Sequence[Utterance],
        chosen: int | None,
        text: str | None = None,
        kind: GenerationKind = "turn",
        place: str | None = None,
        reply_to: int | None = None,
        if_stands: bool = False,
        spent_in: Collection[str] = (),
    ) -> Message | None:
        """Keep a turn before it is posted: all its samples, and the message made of `utterances[chosen]`.

        `text` is the line as it will be posted, by default the sample as it is. With `chosen` None nothing
        is to be posted (a failed turn, silence): the samples are kept and None is returned. So it is when the
        chosen sample quotes somebody who was forgotten while it was drawn; and with `if_stands`, when what it
        replies to was deleted meanwhile. The message is pending until `mark_posted`. `spent_in`: scopes in
        which the samples' tokens are counted. Raises StoreError if there is no such scene.
        """
        if chosen is not None and not 0 <= chosen < len(utterances):
            raise IndexError(f"chosen is {chosen}, but there are {len(utterances)} utterances")
        async with self.writing(brief=True) as session:
            said = await self._lock_said(session, utterances)
            counted = (await session.execute(statements.COUNT_TURN, {"scene_id": scene_id})).first()
            turn, scene_place = _found(counted, "scene", scene_id)
            if self._writers_overlap:
                said = await self._look_again(session, utterances)
            parts = [rows.human_part(utterance, said) for utterance in utterances]
            keys = await keys_of(session, {person for part in parts for person in part.people})
            utterances = [
                rows.without_quotations(utterance) if part.forgotten else utterance
                for utterance, part in zip(utterances, parts, strict=True)
            ]
            if chosen is not None and parts[chosen].forgotten and not utterances[chosen].text:
                chosen = None
            if if_stands and chosen is not None and reply_to is not None:
                answered = said.get(reply_to) or await self._message(session, reply_to)
                chosen = chosen if answered is not None and answered.status == "posted" else None
            generations: list[int] = []
            for index, (utterance, part) in enumerate(zip(utterances, parts, strict=True)):
                values = rows.generation_values(
                    utterance,
                    kind,
                    part,
                    keys,
                    scene_id=scene_id,
                    turn=turn,
                    speaker=speaker,
                    chosen=index == chosen,
                )
                generations.append(await session.scalar(statements.ADD_GENERATION, values))
            heard_in = [
                {"message_id": message_id, "generation_id": generation}
                for generation, part in zip(generations, parts, strict=True)
                for message_id in part.message_ids
            ]
            if heard_in:
                await session.execute(statements.ADD_HEARD_IN, heard_in)
            tokens = sum(len(utterance.token_ids) for utterance in utterances)
            if spent_in and tokens:
                await spending.count(session, self.clock().astimezone(UTC).date(), spent_in, tokens)
            if chosen is None:
                return None
            utterance = utterances[chosen]
            row = await self.add_message(
                session,
                scene_id,
                speaker=speaker,
                address=utterance.address,
                origin="self",
                text=utterance.text if text is None else text,
                generation_id=generations[chosen],
                place=scene_place if place is None else place,
                reply_to=reply_to,
                status="pending",
            )
            return rows.to_message(row, {})

    async def say(
        self,
        scene_id: int,
        *,
        speaker: str,
        text: str,
        origin: Literal["operator", "parlor"],
        reply_to: int | None = None,
    ) -> Message:
        """Keep a line that no self said: the operator's opening, or what a person types in the parlor.

        The operator's line is pending until `mark_posted`; a person's stands in the parlor already, sealed
        with the key of whoever has that name there. Raises StoreError if there is no such scene.
        """
        async with self.writing(brief=True) as session:
            if origin == "operator":
                row = await self.add_message(
                    session, scene_id, speaker=speaker, origin=origin, text=text, reply_to=reply_to
                )
                return rows.to_message(row, {})
            now = self.clock()
            person = await meet(session, self.house, "parlor", speaker, now)
            store = None if person.is_new else await wants_stored(session, person.id)
            row = await self.add_message(
                session,
                scene_id,
                speaker=speaker,
                person_id=person.id,
                origin=origin,
                text=sealing.seal(text, [person.key]),
                reply_to=reply_to,
                status="posted",
                posted_at=now,
                expires_at=rows.words_end(origin, now, store),
            )
            return rows.to_message(row, {person.id: person.key})

    async def hear(
        self,
        scene_id: int,
        *,
        platform_id: int,
        user_id: int | str,
        text: str,
        created_at: datetime,
        origin: Literal["discord", "interaction", "selfhosted"] = "discord",
        place: str | None = None,
        reply_to_platform_id: int | None = None,
        when_ended: int | None = None,
    ) -> Message:
        """Keep what a person said on a platform; hearing the same message again changes nothing.

        When the scene has ended meanwhile, `when_ended` is the one that keeps it.
        The words are sealed with the person's key, and kept for 30 days unless the person allowed more. The
        person is `guest-N` here, the same in every scene; neither the user id nor a name is stored. Raises
        StoreError if there is no such scene.
        """
        same = {"ids": [platform_id, rows.hidden_id(self.house.secret, platform_id)]}
        async with self.writing(brief=True) as session:
            if known := (await session.execute(statements.MESSAGES_AT, same)).first():
                return await _read(session, known)
            platform = "selfhosted" if origin == "selfhosted" else "discord"
            person = await meet(session, self.house, platform, user_id, self.clock())
            store = None if person.is_new else await wants_stored(session, person.id)
            if self._writers_overlap:
                # who hears the same event at the same time waits here, and then finds the message
                await session.execute(statements.HOLD_SCENE, {"id": scene_id})
                if known := (await session.execute(statements.MESSAGES_AT, same)).first():
                    return await _read(session, known)
            answered = None
            if reply_to_platform_id is not None:
                answered = await session.scalar(
                    statements.MESSAGE_ID_AT, {"platform_id": reply_to_platform_id}
                )
            row = await self.add_message(
                session,
                scene_id,
                when_ended=when_ended,
                speaker=person.pseudonym,
                person_id=person.id,
                origin=origin,
                text=sealing.seal(text, [person.key]),
                reply_to=answered,
                **({} if place is None else {"place": place}),
                platform_id=platform_id,
                status="posted",
                created_at=created_at,
                posted_at=created_at,
                expires_at=rows.words_end(origin, created_at, store),
            )
            return rows.to_message(row, {person.id: person.key})

    async def edit_heard(self, platform_id: int, *, text: str, edited_at: datetime) -> Message | None:
        """Follow a person's edit on the platform: the old words are gone, from prompts too.

        Returns the message as it now is, None if it was never kept. An edit that is older than the one
        kept, or of a message that is deleted or expired, changes nothing. The house's own messages are not
        changed.
        """
        async with self.writing() as session:
            row = await session.scalar(_heard(platform_id))
            if row is None:
                return None
            newer = row.edited_at is None or row.edited_at < edited_at
            erased = row.person_id is not None and row.status == "posted" and newer
            if row.person_id is not None and erased:
                key = await key_of(session, row.person_id)
                row.text, row.edited_at = sealing.seal(text, [key]), edited_at
                await self._erase_prompts(session, [row.id])
                await call_back(session, [row.id], self.clock(), "somebody changed words that are in it")
            message = await _read(session, row)
        if erased:
            await self._empty_log()
        return message

    async def delete_heard(self, platform_id: int) -> Message | None:
        """Follow a deletion on the platform: a person's words are erased, from prompts too.

        A self's message that a moderator deleted keeps its text, marked as deleted. Returns the message as it
        now is, None if it was never kept.
        """
        async with self.writing() as session:
            row = await session.scalar(_heard(platform_id))
            if row is None:
                return None
            erased = row.person_id is not None and row.status != "deleted"
            if erased:
                row.text = ""
                await self._erase_prompts(session, [row.id])
            if row.status != "deleted":
                row.deleted_at, row.status = self.clock(), "deleted"
                await call_back(session, [row.id], self.clock(), "a line that is in it was deleted")
            message = await _read(session, row)
        if erased:
            await self._empty_log()
        return message

    async def mark_thread(self, platform_id: int, thread_id: int) -> Message | None:
        """Note that a thread begins at a message; saying so again changes nothing.

        Returns the message as it now is, None if it was never kept.
        """
        async with self.writing(brief=True) as session:
            row = await session.scalar(_heard(platform_id))
            if row is None:
                return None
            row.thread_id = thread_id
            return await _read(session, row)

    async def mark_posted(self, message_id: int, platform_id: int | None = None) -> Message:
        """Note that a message stands where people read it; saying so again changes nothing.

        Raises StoreError if there is no such message.
        """
        async with self.writing(brief=True) as session:
            about = {"message_id": message_id, "new_platform_id": platform_id, "now": self.clock()}
            marked = (await session.execute(statements.MARK_POSTED, about)).first()
            return await _read(session, _found(marked, "message", message_id))

    async def unposted(self, place: str | None = None) -> list[Message]:
        """Return what was kept and not yet posted, in the order it was kept; at one place, or at all."""
        query = select(MessageRow).where(text("status = 'pending'")).order_by(MessageRow.id)
        if place is not None:
            query = query.where(MessageRow.place == place)
        async with self.reading(brief=True) as session:
            return await read_messages(session, list(await session.scalars(query)))

    async def messages(self, scene_id: int, *, last: int | None = None) -> list[Message]:
        """Return a scene's messages in order; `last` of them at most, the newest."""
        where = {"scene_id": scene_id, "last": ALL if last is None else last}
        async with self.reading(brief=True) as session:
            found = await session.execute(statements.NEWEST, where)
            return await read_messages(session, found.all()[::-1])

    async def message(self, message_id: int) -> Message:
        """Return a message. Raises StoreError if there is none with this id."""
        async with self.reading(brief=True) as session:
            found = await self._message(session, message_id)
            return await _read(session, _found(found, "message", message_id))

    # where it came from

    async def generation(self, generation_id: int) -> Generation:
        """Return a sample. Raises StoreError if there is none with this id."""
        async with self.reading() as session:
            row = _found(await session.get(GenerationRow, generation_id), "generation", generation_id)
            return (await read_generations(session, [row]))[0]

    async def generations(self, scene_id: int) -> list[Generation]:
        """Return every sample of a scene, candidates and failed ones too, by turn."""
        query = select(GenerationRow).where(GenerationRow.scene_id == scene_id)
        query = query.order_by(GenerationRow.turn, GenerationRow.id)
        async with self.reading() as session:
            return await read_generations(session, list(await session.scalars(query)))

    async def provenance(self, message_id: int) -> Provenance:
        """Return what produced a message. Raises StoreError if there is none with this id."""
        async with self.reading() as session:
            message = _found(await session.get(MessageRow, message_id), "message", message_id)
            scene = _found(await session.get(SceneRow, message.scene_id), "scene", message.scene_id)
            generation, checkpoint = None, None
            siblings: Sequence[GenerationRow] = []
            if message.generation_id is not None:
                generation = await session.get_one(GenerationRow, message.generation_id)
                siblings = await _siblings(session, generation)
                checkpoint = await session.scalar(
                    select(CheckpointRow).where(
                        CheckpointRow.address == generation.address,
                        CheckpointRow.weights_sha256 == generation.weights_sha256,
                    )
                )
            made = await read_generations(session, [generation, *siblings]) if generation else []
            return Provenance(
                message=await _read(session, message),
                scene=rows.to_scene(scene),
                generation=made[0] if made else None,
                siblings=tuple(made[1:]),
                checkpoint=rows.to_checkpoint(checkpoint) if checkpoint else None,
            )

    # keeping house

    async def expire(self, now: datetime) -> int:
        """Erase people's words whose time is up, from messages and from prompts; return how many messages."""
        due = select(MessageRow.id).where(
            text("expires_at IS NOT NULL AND status = 'posted'"), MessageRow.expires_at <= now
        )
        async with self.writing() as session:
            expired = list(await session.scalars(due.order_by(MessageRow.id).with_for_update()))
            for part in in_parts(expired):
                await session.execute(
                    update(MessageRow).where(MessageRow.id.in_(part)).values(text="", status="expired")
                )
            await self._erase_prompts(session, expired)
            await call_back(session, expired, now, "the time of a person's words that are in it was up")
            # those that nobody named a message for
            await session.execute(
                update(GenerationRow)
                .where(
                    text("prompt_has_human AND prompt IS NOT NULL"), GenerationRow.prompt_expires_at <= now
                )
                .values(prompt=None)
            )
        await self._empty_log()
        return len(expired)

    async def stats(self) -> Stats:
        """Count what is kept."""
        async with self.reading() as session:

            async def count(column: Any, *conditions: Any) -> int:
                return await session.scalar(select(func.count(column)).where(*conditions)) or 0

            origins = await session.execute(
                select(MessageRow.origin, func.count())
                .group_by(MessageRow.origin)
                .order_by(MessageRow.origin)
            )
            by_origin = dict(origins.all())
            return Stats(
                ages=await count(CheckpointRow.id),
                writings=await count(WritingRow.id),
                scenes=await count(SceneRow.id),
                open_scenes=await count(SceneRow.id, SceneRow.status == "open"),
                messages=sum(by_origin.values()),
                by_origin=by_origin,
                unposted=await count(MessageRow.id, text("status = 'pending'")),
                generations=await count(GenerationRow.id),
                candidates=await count(
                    GenerationRow.id, GenerationRow.turn.is_not(None), GenerationRow.chosen.is_(False)
                ),
                people=await count(PersonRow.id),
                size_bytes=await session.scalar(text(_SIZE[self.engine.dialect.name])) or 0,
            )

    # inside

    @asynccontextmanager
    async def writing(self, *, brief: bool = False) -> AsyncIterator[AsyncSession]:
        """One transaction that writes; `brief` if each of its statements touches a few rows."""
        engine = database.writing(self.engine)
        with database.plain_errors(self.url):
            async with (
                self._turn(),
                AsyncSession(database.brief(engine) if brief else engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session

    @asynccontextmanager
    async def reading(self, *, brief: bool = False) -> AsyncIterator[AsyncSession]:
        """One transaction that reads; `brief` if it finds a few rows by an index."""
        with database.plain_errors(self.url):
            async with AsyncSession(database.brief(self.engine) if brief else self.engine) as session:
                yield session

    @asynccontextmanager
    async def glancing(self) -> AsyncIterator[AsyncSession]:
        """For one brief statement that reads: there is nothing that it must agree with, so no transaction."""
        with database.plain_errors(self.url):
            async with AsyncSession(self._glancing) as session:
                yield session

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Let this process's writers have a SQLite file one after the other.

        SQLite would let them wait by looking again after ever longer pauses.
        """
        if self._writers_overlap:
            yield
            return
        try:
            async with asyncio.timeout(self._lock_wait_s):
                await self._queue.acquire()
        except TimeoutError:
            raise database.locked(self.url) from None
        try:
            yield
        finally:
            self._queue.release()

    async def _all(self, query: Select[Row]) -> list[Row]:
        async with self.glancing() as session:
            return list(await session.scalars(query))

    async def _first(self, query: Select[Row]) -> Row | None:
        async with self.glancing() as session:
            return await session.scalar(query)

    async def _get(self, model: type[Row], row_id: int, what: str) -> Row:
        async with self.glancing() as session:
            return _found(await session.get(model, row_id), what, row_id)

    def insert(self, model: type[Base]) -> Any:
        """An INSERT that knows ON CONFLICT, which each dialect has its own of, spelled alike."""
        insert = sqlite.insert if self.engine.dialect.name == "sqlite" else postgresql.insert
        return insert(model)

    @property
    def _writers_overlap(self) -> bool:
        return self.engine.dialect.name != "sqlite"

    async def lock_scene(self, session: AsyncSession, scene_id: int) -> SceneRow:
        """Hold a scene's row, so that one writer at a time counts its messages up. (SQLite has one
        anyway.)
        """
        return _found(await session.get(SceneRow, scene_id, with_for_update=True), "scene", scene_id)

    async def add_message(
        self, session: AsyncSession, scene_id: int, *, when_ended: int | None = None, **values: Any
    ) -> SqlRow[Any]:
        """Add the next message of a scene, whose row is held from then on; a person's words come sealed.

        When the scene has ended, it is that of the scene `when_ended`. Raises StoreError if there is no such
        scene.
        """
        if when_ended is None:
            found = await session.execute(statements.COUNT_MESSAGE, {"scene_id": scene_id})
            counted = found.first()
        else:
            found = await session.execute(statements.COUNT_MESSAGE_IF_OPEN, {"scene_id": scene_id})
            counted = found.first()
            if counted is None:
                return await self.add_message(session, when_ended, **values)
        number, sequence, place = _found(counted, "scene", scene_id)
        row = {
            **_NOTHING_YET,
            "scene_id": number,
            "sequence": sequence,
            "nonce": rows.nonce(self.house.house_id, number, sequence),
            "place": place,
            "created_at": self.clock(),
            "status": "pending",
            **values,
        }
        added: SqlRow[Any] = (await session.execute(statements.ADD_MESSAGE, row)).one()
        return added

    async def _message(self, session: AsyncSession, message_id: int) -> SqlRow[Any] | None:
        return (await session.execute(statements.MESSAGE, {"id": message_id})).first()

    async def _lock_said(
        self, session: AsyncSession, utterances: Sequence[Utterance]
    ) -> dict[int, SqlRow[Any]]:
        """What no self said and is in the prompts, by id, held so that a deletion waits for this turn; and
        the lines of selves in them that were erased, because they quoted somebody.

        Otherwise a deletion could pass between this look and the commit, and leave its words in a prompt.
        """
        ids = list({message_id for utterance in utterances for message_id in utterance.prompt.message_ids})
        if not ids:
            return {}
        return {row.id: row for row in await session.execute(statements.HOLD_SAID, {"ids": ids})}

    async def _look_again(
        self, session: AsyncSession, utterances: Sequence[Utterance]
    ) -> dict[int, SqlRow[Any]]:
        """The same, after waiting for a forgetting that is not over. (On SQLite nothing is written during
        one.)
        """
        await session.execute(select(func.pg_advisory_xact_lock_shared(database.FORGETTING_LOCK)))
        return await self._lock_said(session, utterances)

    async def _erase_prompts(self, session: AsyncSession, message_ids: Sequence[int]) -> None:
        """Erase the prompts that hold these people's messages."""
        for part in in_parts(message_ids):
            holding = select(HeardInRow.generation_id).where(HeardInRow.message_id.in_(part))
            await session.execute(
                update(GenerationRow)
                .where(GenerationRow.id.in_(holding), GenerationRow.prompt.is_not(None))
                .values(prompt=None)
            )

    async def _empty_log(self) -> None:
        with database.plain_errors(self.url):
            await database.empty_log(self.engine)


_SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}


_NOTHING_YET = dict.fromkeys(
    (
        "address",
        "person_id",
        "generation_id",
        "reply_to",
        "platform_id",
        "thread_id",
        "posted_at",
        "edited_at",
        "deleted_at",
        "expires_at",
    )
)
"""What most messages have nothing in."""


async def _read(session: AsyncSession, row: MessageRow | SqlRow[Any]) -> Message:
    return (await read_messages(session, [cast("SqlRow[Any]", row)]))[0]


async def _siblings(session: AsyncSession, sample: GenerationRow) -> Sequence[GenerationRow]:
    """The other generations of its turn. A letter that an age once wrote has no turn, and none."""
    if sample.turn is None:
        return []
    others = await session.scalars(
        select(GenerationRow)
        .where(
            GenerationRow.scene_id == sample.scene_id,
            GenerationRow.turn == sample.turn,
            GenerationRow.id != sample.id,
        )
        .order_by(GenerationRow.id)
    )
    return others.all()


def _heard(platform_id: int) -> Select[MessageRow]:
    return select(MessageRow).where(MessageRow.platform_id == platform_id).with_for_update()


def _found(row: Found | None, what: str, row_id: int) -> Found:
    if row is None:
        raise StoreError(
            f"there is no {what} {row_id} in the database",
            "`selves memory scenes` and `selves memory transcript` show what there is",
        )
    return row
