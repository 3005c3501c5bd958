"""Diaries to read: what each age of a life wrote, along a slider, and what selves wrote of their days."""

from __future__ import annotations

import streamlit as st

from app.common import all_ages, ask_store
from memory.letters import DIARY
from memory.show import visible, words_of
from memory.store import Store
from memory.types import Message, Scene
from selves.lineage import Age
from selves.settings import House
from selves.speech import Writing

KINDS = {
    "diary": "Diary",
    "letter": "Letter to its future self",
    "letter-past": "Letter to the one it was",
    "continuation": "What it made of the one prompt",
    "portrait": "Self-portrait",
}
GROWING, DAYS = "while it grew", "days, weeks and chapters"
NEWEST = 50
"""So many days, weeks and chapters are shown at most."""


def read_diaries(house: House) -> None:
    """Draw what selves wrote while they grew, or what they wrote of their days."""
    nobody: list[str] = []
    if diarists := ask_store(house, who_keeps_one, nobody):
        which = st.segmented_control("What they wrote", (GROWING, DAYS), default=GROWING, key="which_diary")
        if which == DAYS:
            draw_entries(house, st.selectbox("Self", diarists, key="diarist"))
            return
    read_lives(house)


def read_lives(house: House) -> None:
    """Draw a slider over a life, and what the age there wrote."""
    ages = all_ages(house)
    lineages = list(dict.fromkeys(age.address.lineage for age in ages if age.writings()))
    if not lineages:
        st.info("No age here wrote anything when it was kept: their recipes ask for no samples.")
        return
    lineage = st.selectbox("Lineage", lineages, key="lineage")
    life = {age.address.age: age for age in ages if age.address.lineage == lineage}
    draw_age(life[slide(list(life))])


async def who_keeps_one(store: Store) -> list[str]:
    """Return the names of those who wrote of a day."""
    return sorted({scene.spec.cast[0] for scene in await entries(store)})


async def entries(store: Store) -> list[Scene]:
    """Return days, weeks and chapters in the order they were begun; letters lie at the same place."""
    return [scene for scene in await store.scenes(place=DIARY) if scene.kind == "retelling"]


def draw_entries(house: House, name: str) -> int:
    """Draw what a self wrote of its days, weeks and chapters, the newest first; return how many there are."""

    async def load(store: Store) -> list[tuple[Scene, list[Message]]]:
        mine = [scene for scene in await entries(store) if scene.spec.cast[0] == name]
        return [(scene, await store.messages(scene.id)) for scene in reversed(mine[-NEWEST:])]

    nothing: list[tuple[Scene, list[Message]]] = []
    found = ask_store(house, load, nothing)
    for scene, lines in found:
        with st.container(border=True):
            st.caption(f"{scene.name.capitalize()} {scene.spec.opening} · scene {scene.id}")
            for line in lines:
                st.text(words_of(line))
    return len(found)


def draw_age(age: Age) -> None:
    """Draw all that an age wrote."""
    bits_per_byte = "" if age.card.bits_per_byte is None else f"{age.card.bits_per_byte:.2f} bits per byte · "
    st.caption(f"{age.card.address} · {bits_per_byte}{age.card.tokens_seen:,} tokens read")
    for writing in age.writings():
        draw_writing(writing)


def slide(names: list[str]) -> str:
    """Draw the slider, if there is anything to slide between."""
    if len(names) == 1:
        return names[0]
    return str(st.select_slider("Age", names, value=names[-1], key="age"))


def draw_writing(writing: Writing) -> None:
    """Draw one writing: what it was given, then its own words."""
    prompt = writing.utterance.prompt
    given = prompt.text if prompt.form == "transcript" else prompt.messages[-1].content
    between = "" if prompt.form == "transcript" else "\n\n"
    with st.container(border=True):
        st.caption(KINDS.get(writing.kind, writing.kind.replace("-", " ").capitalize()))
        st.text(visible(f"{given}{between}{writing.utterance.text}"))
        st.caption(
            f"seed {writing.utterance.sampling.seed} · temperature {writing.utterance.sampling.temperature:g}"
        )
