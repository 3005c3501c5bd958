"""What the parlor's pages share: where the house is, its ages, errors in plain words."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TypeVar

import streamlit as st

from app.background import Background
from memory.store import Store, open_store
from selves.cast import Serving, load_cast_or_empty
from selves.errors import SelvesError
from selves.lineage import Age, list_ages
from selves.settings import House


@st.cache_resource(show_spinner=False)
def background() -> Background:
    """Return the one event loop of this server."""
    return Background()


Result = TypeVar("Result")

LOCK_WAIT_S = 5.0
"""How long a page waits for whoever holds the database."""


def ask_store(house: House, what: Callable[[Store], Awaitable[Result]], default: Result) -> Result:
    """Ask the database; `default` when nothing was ever kept, and no database is made. Raises StoreError."""
    if not house.database_url_setting and not (house.home / "selves.db").exists():
        return default
    return tell_store(house, what)


def tell_store(house: House, what: Callable[[Store], Awaitable[Result]]) -> Result:
    """Do something with the database, which is made if there is none. Raises StoreError."""

    async def do() -> Result:
        async with open_store(house.database_url, lock_wait_s=LOCK_WAIT_S) as store:
            return await what(store)

    return background().run(do())


def serving_url(house: House) -> str:
    """Return where the ages are served: as `selves app` has set it, or the cast file. Raises ConfigError."""
    if house.serving_url_setting:
        return house.serving_url_setting
    cast = load_cast_or_empty(house.cast_path)
    serving = cast.serving if cast else Serving()
    return f"http://{serving.host}:{serving.port}"


def notice_clicks() -> None:
    """Let Streamlit end this script here if somebody clicked: whatever reads the session's state does."""
    _ = "answers" in st.session_state


def all_ages(house: House, *, away: bool = False) -> list[Age]:
    """Return all ages, with `away` also those that are on the Hub alone. Raises AgeError.

    When there are none, say on the page what to do, and end it.
    """
    ages = list_ages(house.checkpoints, away=away)
    if not ages:
        st.info(
            "Nobody lives here yet. Raise a model from random weights first, in a terminal:",
            icon=":material/cruelty_free:",
        )
        st.code("selves train run recipes/demo.toml", language=None)
        st.caption("It takes about two minutes. `make demo` does that and everything after it.")
        st.text(f"Looked in {house.checkpoints}")
        st.stop()
    return ages


def show_error(error: SelvesError) -> None:
    """Show one of the house's own errors: what is wrong, and what to do."""
    with st.container(border=True):
        st.text(f"⚠ {error.problem}")
        if error.fix:
            st.text(f"What to do: {error.fix}")


def page(draw: Callable[[House], None]) -> Callable[[], None]:
    """Make a page of a function: the house's own errors are shown as words, never as tracebacks."""

    @functools.wraps(draw)
    def run() -> None:
        try:
            draw(House.from_environment())
        except SelvesError as error:
            show_error(error)

    return run
