"""The house: who runs, what comes next, what is spent, who sleeps, and what the person here allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import streamlit as st

from app.common import ask_store, page, serving_url, show_error, tell_store
from app.person import KEPT, PURPOSES, allowed, set_allowed
from bots import settings, status
from memory.consent import Consents, Purpose
from memory.spending import spent
from memory.store import Store
from selves.cast import Cast, load_cast_or_empty
from selves.errors import SelvesError
from selves.settings import House

PATIENCE_S = 3.0
LOOK_S = 10.0
"""How often it is looked again who answers."""
NEXT = 5


@page
def house_page(house: House) -> None:
    """Draw the page."""
    st.title("House", anchor=False)
    cast = load_cast_or_empty(house.cast_path)
    live(draw_engines, house)
    draw_consent(house)
    if cast is None:
        st.info(f"There is no cast file at {house.cast_path}: nobody has a name, a schedule or a budget.")
    else:
        draw_sleep(house, cast)
        draw_schedule(cast)
        draw_budget(house, cast)
    live(draw_discord, house)
    draw_database(house)


@st.fragment(run_every=LOOK_S)
def live(draw: Callable[[House], None], house: House) -> None:
    """Draw a part of the page that is looked at again by itself."""
    try:
        draw(house)
    except SelvesError as error:
        show_error(error)


def draw_engines(house: House) -> None:
    """Draw which engines answer, asked now."""
    st.header("Engines", anchor=False)
    url = serving_url(house)
    found = health(url)
    if found is None:
        st.text(f"✗ Nobody answers at {url}.")
        st.caption("Start the engine in a terminal; `selves app` does it too when ages are there.")
        st.code("selves serve", language=None)
        return
    engines = found.get("engines") or {found.get("engine", "engine"): found.get("status", "ok")}
    for name, state in engines.items():
        st.text(f"{'✓' if state == 'ok' else '✗'} {name}: {state}")
    st.text(f"at {url}")


def health(url: str) -> Mapping[str, Any] | None:
    """Return what a serving address says of itself; None when nobody answers."""
    try:
        answer = httpx.get(
            f"{url.rstrip('/').removesuffix('/v1')}/health", timeout=PATIENCE_S, trust_env=False
        )
        said = answer.json() if answer.content else {}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    return said if isinstance(said, dict) else {}


def draw_consent(house: House) -> None:
    """Draw what may be done with what the person types here: nothing, if not switched on."""
    st.header("Your words", anchor=False)
    st.caption(
        "What you type here is read by the selves you talk with, kept sealed with a key of your own, and "
        "used for nothing else unless you switch it on. Every switch can be turned back at any time."
    )
    nothing: Consents = {}
    said = ask_store(house, allowed, nothing)
    for purpose, words in PURPOSES.items():
        key = f"allow-{purpose}"
        st.session_state[key] = said.get(purpose, purpose == KEPT)
        st.toggle(words, key=key, on_change=change_consent, args=(house, purpose))
    if (trouble := st.session_state.pop("consent_trouble", None)) is not None:
        show_error(trouble)
    st.caption("Forget everything you said here, in a terminal: `selves memory forget You`")


def change_consent(house: House, purpose: Purpose) -> None:
    """Keep what was just switched."""
    granted = bool(st.session_state[f"allow-{purpose}"])
    try:
        tell_store(house, lambda store: set_allowed(store, purpose, granted=granted))
    except SelvesError as error:
        st.session_state["consent_trouble"] = error


def draw_sleep(house: House, cast: Cast) -> None:
    """Draw who sleeps, and the switches that put everybody or one to sleep."""
    st.header("Halt and wake", anchor=False)
    st.caption("Who sleeps says nothing anywhere: not in scenes, not on Discord.")
    sleepers = ask_store(house, settings.asleep, set[str]())
    row = st.container(horizontal=True)
    names = [persona.name for persona in cast.persona]
    if row.button("Halt all", key="halt", icon=":material/bedtime:", disabled=sleepers >= set(names)):
        tell_store(house, lambda store: put_to_sleep(store, names))
        st.rerun()
    if row.button("Wake all", key="wake", icon=":material/wb_sunny:", disabled=not sleepers):
        tell_store(house, lambda store: wake(store, names))
        st.rerun()
    for name in names:
        row = st.container(
            horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", gap="small"
        )
        row.text(f"{name} sleeps" if name in sleepers else f"{name} is awake")
        words = f"Wake {name}" if name in sleepers else f"Let {name} sleep"
        if row.button(words, key=f"sleep-{name}", type="tertiary"):
            act = wake if name in sleepers else put_to_sleep
            tell_store(house, lambda store, act=act, name=name: act(store, [name]))  # type: ignore[misc]
            st.rerun()


async def put_to_sleep(store: Store, names: list[str]) -> None:
    """Let selves be silent until they are woken."""
    for name in names:
        await settings.send_to_sleep(store, name, None)


async def wake(store: Store, names: list[str]) -> None:
    """Let selves speak again."""
    for name in names:
        await settings.wake(store, name)


def draw_schedule(cast: Cast) -> None:
    """Draw what is played next by itself."""
    st.header("Schedule", anchor=False)
    if not cast.schedule:
        st.caption("Nothing is played by itself: the cast file has no [[schedule]].")
        return
    try:
        from bots.schedule import upcoming
    except ModuleNotFoundError:
        st.caption('The schedule needs more packages: pip install "selves[discord]"')
        return
    for occurrence in upcoming(cast.schedule, datetime.now(UTC), NEXT):
        st.text(f"{occurrence.at:%A, %d %B, %H:%M %Z}: {occurrence.schedule.scene}")


def draw_budget(house: House, cast: Cast) -> None:
    """Draw what was drawn today, and what may be."""
    st.header("Tokens today", anchor=False)
    scopes = {"all": ("all selves", cast.budget.all_per_day)}
    scopes |= {f"self:{p.name}": (p.name, cast.budget.self_per_day) for p in cast.persona}
    nothing: Mapping[str, int] = {}
    used = ask_store(house, lambda store: spent(store, store.clock().astimezone(UTC).date(), scopes), nothing)
    for scope, (name, cap) in scopes.items():
        limit = f"of {cap:,}" if cap else "no limit"
        st.text(f"{name}: {used.get(scope, 0):,} ({limit})")


def draw_discord(house: House) -> None:
    """Draw which bots are on Discord, as their processes last said."""
    st.header("On Discord", anchor=False)
    told = ask_store(house, status.read_status, status.Status(()))
    for _, line in status.lines(told):
        st.text(line)


def draw_database(house: House) -> None:
    """Draw how much is kept."""
    st.header("Memory", anchor=False)
    kept = ask_store(house, lambda store: store.stats(), None)
    if kept is None:
        st.caption("Nothing is kept yet.")
        return
    people = "person" if kept.people == 1 else "people"
    st.text(
        f"{kept.scenes:,} scenes, {kept.messages:,} lines, {kept.generations:,} samples, "
        f"{kept.ages:,} ages, {kept.people:,} {people}, {kept.size_bytes / 1e6:,.1f} MB"
    )
