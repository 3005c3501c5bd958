"""Correspondences between ages: each letter, whom it reaches, and what was answered."""

from __future__ import annotations

import streamlit as st

from app.common import ask_store
from bots.post_office import Delivery, deliveries
from memory.show import visible
from memory.store import Store
from memory.types import Message
from selves.settings import House

NEWEST = 50


def read_letters(house: House) -> None:
    """Draw the letters, the newest first."""

    async def load(store: Store) -> list[tuple[Delivery, list[Message]]]:
        sent = (await deliveries(store, diaries=False))[-NEWEST:]
        return [
            (one, await store.messages(one.answer.id) if one.answer is not None else [])
            for one in reversed(sent)
        ]

    nothing: list[tuple[Delivery, list[Message]]] = []
    letters = ask_store(house, load, nothing)
    if not letters:
        st.info("No letter was sent yet. A scene of kind `letter` with `to` sends one; diaries hold more:")
        st.code("selves scene letters", language=None)
        return
    for delivery, answers in letters:
        draw_letter(delivery, answers)


def draw_letter(delivery: Delivery, answers: list[Message]) -> None:
    """Draw one letter and its answer."""
    letter = delivery.letter
    with st.container(border=True):
        st.text(
            f"{visible(letter.speaker)} ({letter.address}) to {delivery.to}, {letter.created_at:%d %B %Y}"
        )
        st.text(visible(letter.text))
        if answers:
            for answer in answers:
                with st.container(border=True):
                    st.text(f"{visible(answer.speaker)} ({answer.address}), {answer.created_at:%d %B %Y}")
                    st.text(visible(answer.text))
        elif delivery.reader is None:
            st.caption("It waits: the age that it goes to does not exist yet.")
        else:
            st.caption(f"It has reached {delivery.reader}, and is not answered yet.")
