"""The statements that a turn is made of, on plain tables (pure).

A turn is heard, read, kept and posted in some twenty statements. They are written once, so they are not built
anew each time, and what they return is rows as they are, not objects that are watched for changes. Everything
else of the room uses the models.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import BindParameter, Table, and_, bindparam, case, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from memory import models
from memory.types import HUMAN_ORIGINS

message, scene, generation, heard_in, person, person_key, house, consent, state, spent = (
    cast(Table, model.__table__)
    for model in (
        models.MessageRow,
        models.SceneRow,
        models.GenerationRow,
        models.HeardInRow,
        models.PersonRow,
        models.PersonKeyRow,
        models.HouseRow,
        models.ConsentRow,
        models.StateRow,
        models.SpendingRow,
    )
)
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)

# messages

MESSAGE = select(message).where(message.c.id == bindparam("id"))
MESSAGES_AT = select(message).where(message.c.platform_id.in_(_IDS))
"""`ids`: the platform's."""
MESSAGE_ID_AT = select(message.c.id).where(message.c.platform_id == bindparam("platform_id"))
NEWEST = (
    select(message)
    .where(message.c.scene_id == bindparam("scene_id"))
    .order_by(message.c.sequence.desc())
    .limit(bindparam("last"))
)
UP_TO = NEWEST.where(message.c.sequence <= bindparam("sequence"))
"""As NEWEST, from one message back."""
SAID = (
    select(*(message.c[name] for name in ("id", "origin", "status", "person_id", "edited_at", "expires_at")))
    .where(
        message.c.id.in_(_IDS),
        or_(
            message.c.origin.in_((*HUMAN_ORIGINS, "operator")),
            and_(message.c.status == "forgotten", message.c.origin == "self"),
        ),
    )
    .order_by(message.c.id)
)
"""Of these messages what no self said, and what selves said that quoted somebody who was forgotten."""
HOLD_SAID = SAID.with_for_update(read=True)
ADD_MESSAGE = insert(message).returning(message)
MARK_POSTED = (
    update(message)
    .where(message.c.id == bindparam("message_id"))
    .values(
        status=case((message.c.status == "pending", "posted"), else_=message.c.status),
        posted_at=case(
            (message.c.status == "pending", bindparam("now", type_=message.c.posted_at.type)),
            else_=message.c.posted_at,
        ),
        platform_id=func.coalesce(message.c.platform_id, bindparam("new_platform_id")),
    )
    .returning(message)
)

# scenes

SCENE = select(scene).where(scene.c.id == bindparam("id"))
HOLD_SCENE = SCENE.with_for_update()
COUNT_MESSAGE = (
    update(scene)
    .where(scene.c.id == bindparam("scene_id"))
    .values(messages=scene.c.messages + 1)
    .returning(scene.c.id, scene.c.messages, scene.c.place)
)
COUNT_MESSAGE_IF_OPEN = COUNT_MESSAGE.where(scene.c.status == "open")
COUNT_TURN = (
    update(scene)
    .where(scene.c.id == bindparam("scene_id"))
    .values(turns=scene.c.turns + 1)
    .returning(scene.c.turns, scene.c.place)
)

# samples

ADD_GENERATION = insert(generation).returning(generation.c.id)
ADD_HEARD_IN = insert(heard_in)

# people

PERSON = select(person.c.id, person.c.pseudonym).where(
    person.c.platform == bindparam("platform"), person.c.user_hash == bindparam("user_hash")
)
HOLD_PERSON = PERSON.with_for_update(read=True)
HOLD_HOUSE = select(house.c.id).where(house.c.id == 1).with_for_update()
COUNT_GUEST = update(house).where(house.c.id == 1).values(guests=house.c.guests + 1).returning(house.c.guests)
ADD_PERSON = insert(person).returning(person.c.id)
ADD_KEY = insert(person_key)
KEYS = select(person_key.c.person_id, person_key.c.key).where(person_key.c.person_id.in_(_IDS))
NEWEST_CONSENT = (
    select(consent.c.granted)
    .where(consent.c.person_id == bindparam("person_id"), consent.c.purpose == bindparam("purpose"))
    .order_by(consent.c.id.desc())
    .limit(1)
)

# what is spent


def _add_up(insert: Any) -> Any:
    """Return an INSERT that adds to what is there; each dialect has its own, spelled alike."""
    more = insert(spent)
    sums = {"tokens": spent.c.tokens + more.excluded.tokens}
    return more.on_conflict_do_update(index_elements=["day", "scope"], set_=sums)


ADD_SPENDING = {"sqlite": _add_up(sqlite.insert), "postgresql": _add_up(postgresql.insert)}

# states

STATES = select(state.c.key, state.c.value).where(state.c.key.in_(_IDS))
STATES_AND_ALL = select(state.c.key, state.c.value).where(
    or_(state.c.key.in_(_IDS), func.substr(state.c.key, 1, bindparam("length")) == bindparam("prefix"))
)
"""These, and all that begin with `prefix`, which is so long."""
