"""What can be set from Discord itself: how a channel is listened to, how a self speaks there, who sleeps.

Kept as states in the database, so that it outlives a process and holds for several.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from memory import states
from memory.store import Store
from selves.cast import Persona, PersonaSampling
from selves.errors import UsageError
from selves.speech import Frozen

SELF = "self:"
"""Begins the keys of what is known of selves."""
Hearing = Literal["all", "consenting"]
Settings = TypeVar("Settings", "PlaceSettings", "SelfSettings")


class PlaceSettings(Frozen):
    """How the selves behave in one channel; a thread has its channel's."""

    hear: Hearing | None = None
    """`consenting`: what is said to a self, and what people say who allowed `context`. `all`: everything,
    but for people who refused `context`. By default as the cast file says."""
    stream: bool = False
    """Whether people see an answer grow while it is drawn."""
    names: bool = True
    """Whether a self answers when its name is said; otherwise only mentions and replies count."""
    files: bool = True
    """Whether text files that people attach are read."""
    lines: int = Field(35, ge=1, le=200)
    """How many of the newest lines a self is given to read."""
    quiet_s: float | None = Field(None, ge=0, le=60)
    """How long somebody must have been quiet before a name is answered."""
    selves: tuple[str, ...] = ()
    """Who may speak here with people; empty: everybody."""


class SelfSettings(Frozen):
    """How one self speaks in one channel, where it differs from the cast file."""

    temperature: float | None = Field(None, ge=0, le=5)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=1024)
    repetition_penalty: float | None = Field(None, ge=0.5, le=3)

    def put_on(self, persona: Persona) -> Persona:
        """Return the persona as it speaks with these."""
        changed = self.model_dump(exclude_none=True)
        if not changed:
            return persona
        sampling = PersonaSampling.model_validate({**persona.sampling.model_dump(), **changed})
        return persona.model_copy(update={"sampling": sampling})


async def of_place(store: Store, place: str) -> PlaceSettings:
    """Return what a place is set to; what an older version wrote and makes no sense any more is left out."""
    return _read(PlaceSettings, await states.get(store, f"place:{place}"))


async def of_self(store: Store, place: str, name: str) -> SelfSettings:
    """Return what a self is set to in a place."""
    return _read(SelfSettings, await states.get(store, f"place:{place}:self:{name}"))


async def change_place(store: Store, place: str, key: str, value: str) -> PlaceSettings:
    """Set one thing of a place from words; an empty value sets it back. Raises UsageError."""
    new = _changed(await of_place(store, place), key, value)
    await states.put(store, f"place:{place}", new.model_dump(mode="json", exclude_defaults=True) or None)
    return new


async def change_self(store: Store, place: str, name: str, key: str, value: str) -> SelfSettings:
    """Set one thing of a self in a place from words; an empty value sets it back. Raises UsageError."""
    new = _changed(await of_self(store, place, name), key, value)
    kept = new.model_dump(mode="json", exclude_defaults=True) or None
    await states.put(store, f"place:{place}:self:{name}", kept)
    return new


async def asleep(store: Store) -> set[str]:
    """Return the names of the selves that sleep now."""
    return _asleep(await states.get_all(store, (), SELF), store.clock())


async def of_place_and_sleep(store: Store, place: str) -> tuple[PlaceSettings, set[str]]:
    """Return what a place is set to and who sleeps, in one reading."""
    found = await states.get_all(store, [f"place:{place}"], SELF)
    return _read(PlaceSettings, found.get(f"place:{place}")), _asleep(found, store.clock())


async def of_place_and_self(store: Store, place: str, name: str) -> tuple[PlaceSettings, SelfSettings]:
    """Return what a place is set to and what a self is set to in it, in one reading."""
    keys = f"place:{place}", f"place:{place}:self:{name}"
    found = await states.get_all(store, keys)
    return _read(PlaceSettings, found.get(keys[0])), _read(SelfSettings, found.get(keys[1]))


def _asleep(found: Mapping[str, Any], now: datetime) -> set[str]:
    return {
        key.split(":")[1]
        for key, value in found.items()
        if key.startswith(SELF) and key.endswith(":asleep") and not _is_over(value.get("until"), now)
    }


async def send_to_sleep(store: Store, name: str, until: datetime | None) -> None:
    """Let a self be silent until then, or until it is woken."""
    value = {"until": until.isoformat() if until else None}
    await states.put(store, f"self:{name}:asleep", value)


async def wake(store: Store, name: str) -> None:
    """Let a self speak again."""
    await states.put(store, f"self:{name}:asleep", None)


def _is_over(until: str | None, now: datetime) -> bool:
    return until is not None and datetime.fromisoformat(until) <= now


def _read(kind: type[Settings], value: Any) -> Settings:
    try:
        return kind.model_validate(value or {})
    except ValidationError:
        return kind()


def _changed(old: Settings, key: str, value: str) -> Settings:
    kind = type(old)
    if key not in kind.model_fields:
        raise UsageError(f"nothing is called {key!r}", f"there are {', '.join(kind.model_fields)}")
    kept = old.model_dump(exclude_defaults=True)
    kept.pop(key, None)
    words = [word.strip() for word in value.split(",") if word.strip()]
    if words:
        kept[key] = words if key == "selves" else {"on": True, "off": False}.get(value.strip(), value.strip())
    try:
        return kind.model_validate(kept)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise UsageError(
            f"{key} cannot be {value!r}: {why}", kind.model_fields[key].description or ""
        ) from error
