"""Correspondences between ages: each letter, whom it reaches, and what was answered."""

from __future__ import annotations

import streamlit as st

from app.common import ask_store
from bots.post_office import Delivery, deliveries
from memory.show import visible
from memory.store import Store
from memory.types import Message, Scene
from selves.settings import House

NEWEST = 50
SCENES = 200
"""Among so many scenes, the newest, letters are looked for."""

Correspondence = tuple[Delivery, list[Message]]


def read_letters(house: House) -> None:
    """Draw the letters, the newest first."""
    nothing: list[Correspondence] = []
    letters = ask_store(house, correspondence, nothing)
    if not letters:
        st.info("No letter was written yet. A scene of kind letter is one, with `to` to an age of its own:")
        st.code("selves scene letters", language=None)
        return
    for delivery, answers in letters[:NEWEST]:
        draw_letter(delivery, answers)


async def correspondence(store: Store) -> list[Correspondence]:
    """Return letters to ages and letters of scenes, each with what was answered, the newest first."""
    sent = await deliveries(store, diaries=False)
    found = [(one, await store.messages(one.answer.id) if one.answer else []) for one in sent[-NEWEST:]]
    letters = {one.letter.scene_id for one in sent}
    for scene in await store.scenes(last=SCENES):
        if scene.kind == "letter" and scene.id not in letters:
            lines = [line for line in await store.messages(scene.id) if line.address]
            found += [(Delivery(lines[0], to_whom(scene, lines[0]), None, scene), lines[1:])] if lines else []
    return sorted(found, key=lambda pair: pair[0].letter.id, reverse=True)


def to_whom(scene: Scene, letter: Message) -> str:
    """Return who gets a letter in a scene of two (pure)."""
    return next((name for name in scene.spec.cast if name != letter.speaker), "")


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
        elif delivery.answer is not None:
            st.caption("It was not answered.")
        elif delivery.reader is None:
            st.caption("It waits: the age that it goes to does not exist yet.")
        else:
            st.caption(f"It has reached {delivery.reader}, and is not answered yet.")
