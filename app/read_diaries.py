"""Diaries to read: a slider over a life, and what the age there wrote."""

from __future__ import annotations

import streamlit as st

from app.common import all_ages
from memory.show import visible
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


def read_diaries(house: House) -> None:
    """Draw a slider over a life, and what the age there wrote."""
    ages = all_ages(house)
    lineages = list(dict.fromkeys(age.address.lineage for age in ages if age.writings()))
    if not lineages:
        st.info("No age here wrote anything when it was kept: their recipes ask for no samples.")
        return
    lineage = st.selectbox("Lineage", lineages, key="lineage")
    life = {age.address.age: age for age in ages if age.address.lineage == lineage}
    draw_age(life[slide(list(life))])


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
