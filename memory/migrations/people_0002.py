"""What version 0002 does with the words of people that are there already, and how it is undone.

Upwards: who spoke in the parlor becomes a person, everybody gets a key, their words and the prompts that hold
them are sealed, and it is noted which prompts hold whose messages. Downwards: all is opened again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from memory import sealing
from memory.columns import escape, unescape
from memory.rows import user_hash

HUMAN = ("parlor", "discord", "interaction", "selfhosted", "imported")
AT_ONCE = 1000

MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True)
house = sa.table("house", sa.column("id"), sa.column("secret"), sa.column("guests"))
person = sa.table(
    "person",
    sa.column("id", sa.BigInteger()),
    sa.column("platform"),
    sa.column("user_hash"),
    sa.column("pseudonym"),
    sa.column("created_at", MOMENT),
)
person_key = sa.table("person_key", sa.column("person_id"), sa.column("key"))
heard_in = sa.table("heard_in", sa.column("message_id"), sa.column("generation_id"))
message = sa.table(
    "message",
    sa.column("id"),
    sa.column("person_id"),
    sa.column("speaker"),
    sa.column("origin"),
    sa.column("status"),
    sa.column("text"),
    sa.column("created_at", MOMENT),
)
generation = sa.table(
    "generation",
    sa.column("id"),
    sa.column("prompt"),
    sa.column("prompt_message_ids", JSON),
    sa.column("prompt_has_human"),
    sa.column("prompt_origins", JSON),
    sa.column("prompt_sealed_by", JSON),
)


def seal(connection: sa.Connection) -> None:
    """Seal what people said."""
    _meet_the_parlor(connection)
    keys = {row.id: sealing.new_key() for row in connection.execute(sa.select(person.c.id))}
    if keys:
        made = [{"person_id": person_id, "key": key} for person_id, key in keys.items()]
        connection.execute(sa.insert(person_key), made)
    words = sa.select(message.c.id, message.c.person_id, message.c.text)
    for rows in _pages(connection, message, words.where(message.c.person_id.is_not(None))):
        changes = [
            {"of": row.id, "new": sealing.seal(unescape(row.text), [keys[row.person_id]])}
            for row in rows
            if row.text
        ]
        _update(connection, message, "text", changes)
    _seal_prompts(connection, keys)


def _meet_the_parlor(connection: sa.Connection) -> None:
    secret = connection.execute(sa.select(house.c.secret)).scalar_one()
    typed = message.c.origin == "parlor"
    speakers = connection.execute(
        sa.select(message.c.speaker, sa.func.min(message.c.created_at, type_=MOMENT).label("met"))
        .where(typed)
        .group_by(message.c.speaker)
        .order_by(sa.func.min(message.c.id))
    ).all()
    for speaker, met in speakers:
        connection.execute(sa.update(house).values(guests=house.c.guests + 1))
        number = connection.execute(sa.select(house.c.guests)).scalar_one()
        pseudonym = f"guest-{number}"
        hashed = user_hash(secret, "parlor", unescape(speaker))
        connection.execute(
            sa.insert(person).values(platform="parlor", user_hash=hashed, pseudonym=pseudonym, created_at=met)
        )
        of = sa.select(person.c.id).where(person.c.pseudonym == pseudonym).scalar_subquery()
        connection.execute(sa.update(message).where(typed, message.c.speaker == speaker).values(person_id=of))


def _seal_prompts(connection: sa.Connection, keys: dict[int, str]) -> None:
    prompts = sa.select(
        generation.c.id,
        generation.c.prompt,
        generation.c.prompt_message_ids,
        generation.c.prompt_has_human,
    )
    for rows in _pages(connection, generation, prompts):
        said = _not_by_selves(connection, {m for row in rows for m in row.prompt_message_ids or ()})
        origins: list[dict[str, Any]] = []
        sealed: list[dict[str, Any]] = []
        heard: list[dict[str, int]] = []
        for row in rows:
            read = [m for m in dict.fromkeys(row.prompt_message_ids or ()) if m in said]
            human = [m for m in read if said[m].origin in HUMAN]
            people = sorted({said[m].person_id for m in human if said[m].person_id is not None})
            heard += [{"message_id": m, "generation_id": row.id} for m in human]
            if human or not row.prompt_has_human:
                origins.append({"of": row.id, "new": sorted({said[m].origin for m in read})})
            if people and row.prompt is not None:
                prompt = sealing.seal(unescape(row.prompt), [keys[p] for p in people])
                sealed.append({"of": row.id, "new": prompt, "people": people})
        _update(connection, generation, "prompt_origins", origins)
        _update(connection, generation, "prompt", sealed)
        _update(
            connection,
            generation,
            "prompt_sealed_by",
            [{"of": change["of"], "new": change["people"]} for change in sealed],
        )
        if heard:
            connection.execute(sa.insert(heard_in), heard)


def _not_by_selves(connection: sa.Connection, ids: Iterable[int]) -> dict[int, Any]:
    """What no self said, of these messages, by id."""
    said: dict[int, Any] = {}
    wanted = sorted(ids)
    for start in range(0, len(wanted), AT_ONCE):
        found = connection.execute(
            sa.select(message.c.id, message.c.origin, message.c.person_id).where(
                message.c.id.in_(wanted[start : start + AT_ONCE]), message.c.origin != "self"
            )
        )
        said.update((row.id, row) for row in found)
    return said


def unseal(connection: sa.Connection) -> None:
    """Open what people said; what cannot be opened any more is erased."""
    keys = {row.person_id: row.key for row in connection.execute(sa.select(person_key))}
    words = sa.select(message.c.id, message.c.person_id, message.c.text)
    for rows in _pages(connection, message, words.where(message.c.person_id.is_not(None))):
        changes = [{"of": row.id, "new": _open(row.text, [row.person_id], keys)} for row in rows if row.text]
        _update(connection, message, "text", [{**change, "new": change["new"] or ""} for change in changes])
    prompts = sa.select(generation.c.id, generation.c.prompt, generation.c.prompt_sealed_by)
    for rows in _pages(connection, generation, prompts.where(generation.c.prompt.is_not(None))):
        _update(
            connection,
            generation,
            "prompt",
            [
                {"of": row.id, "new": _open(row.prompt, row.prompt_sealed_by, keys)}
                for row in rows
                if row.prompt_sealed_by is not None
            ],
        )
    connection.execute(sa.update(message).where(message.c.status == "forgotten").values(status="deleted"))
    connection.execute(sa.update(message).where(message.c.origin == "parlor").values(person_id=None))
    # what else points at people is about to be dropped
    for name in ("consent", "feedback", "person_key"):
        connection.execute(sa.delete(sa.table(name)))
    connection.execute(sa.delete(person).where(person.c.platform == "parlor"))


def _open(sealed: str, people: Sequence[int], keys: dict[int, str]) -> str | None:
    try:
        return escape(sealing.unseal(sealed, [keys[person_id] for person_id in people]))
    except (KeyError, ValueError):
        return None


def _pages(
    connection: sa.Connection, table: sa.TableClause, query: sa.Select[Any]
) -> Iterator[Sequence[Any]]:
    last = 0
    page = query.order_by(table.c.id).limit(AT_ONCE)
    while rows := connection.execute(page.where(table.c.id > last)).all():
        yield rows
        last = rows[-1].id


def _update(
    connection: sa.Connection, table: sa.TableClause, column: str, changes: Sequence[dict[str, Any]]
) -> None:
    """Set a column of rows: `of` is a row's id, `new` the value."""
    if not changes:
        return
    new = sa.bindparam("new", type_=table.c[column].type)
    statement = sa.update(table).where(table.c.id == sa.bindparam("of")).values({column: new})
    connection.execute(statement, [{"of": change["of"], "new": change["new"]} for change in changes])
