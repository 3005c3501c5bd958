"""The reading room: scenes, search, diaries, letters, what was picked, books, and what goes out."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app.common import page
from app.read_books import read_books
from app.read_diaries import read_diaries
from app.read_letters import read_letters
from app.read_out import read_out
from app.read_picks import read_picks
from app.read_scenes import read_scenes
from app.read_search import read_search
from selves.settings import House

SHELVES: dict[str, Callable[[House], None]] = {
    "Scenes": read_scenes,
    "Search": read_search,
    "Diaries": read_diaries,
    "Letters": read_letters,
    "Picks": read_picks,
    "Books": read_books,
    "Exports": read_out,
}


@page
def reading_room(house: House) -> None:
    """Draw the page."""
    st.title("Reading room", anchor=False)
    st.session_state.setdefault("shelf", "Scenes")
    shelf = st.segmented_control(
        "Shelf", list(SHELVES), key="shelf", required=True, label_visibility="collapsed"
    )
    SHELVES[shelf or "Scenes"](house)
