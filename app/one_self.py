"""A talk with one self, and beside it who it is: its diary, its letters, its lineage."""

from __future__ import annotations

import streamlit as st

from app.common import all_ages, ask_store, background, notice_clicks, page, serving_url, show_error
from app.company import company
from app.read_diaries import draw_entries, draw_writing
from app.read_letters import Correspondence, correspondence, draw_letter
from app.talking import Talk
from memory.show import visible, words_of
from memory.types import Message
from selves.cast import Persona, load_cast_or_empty
from selves.lineage import Age
from selves.settings import House

TICK_S = 1 / 48
"""How often it is looked whether somebody clicked."""
TICKS = 4
"""After so many, what has changed is drawn."""
LETTERS = 10


@page
def one_self(house: House) -> None:
    """Draw the page."""
    st.title("Talk with one self", anchor=False)
    ages = all_ages(house)
    everybody = {p.name: p for p in company(load_cast_or_empty(house.cast_path), ages).persona}
    st.session_state.setdefault("whom", default_name(everybody, ages))
    if st.session_state["whom"] not in everybody:
        st.session_state["whom"] = default_name(everybody, ages)
    name = st.selectbox(
        "Self", list(everybody), format_func=lambda name: f"{name} · {everybody[name].address}", key="whom"
    )
    persona = everybody[name]
    talk = st.session_state.get("talk")
    if talk is None or talk.persona != persona:
        if talk is not None:
            talk.stop()
        talk = st.session_state["talk"] = Talk(persona)
    talk_at, beside = st.columns([3, 2], gap="large")
    with beside:
        draw_beside(house, persona, ages)
    with talk_at:
        draw_talk(house, talk)


def default_name(everybody: dict[str, Persona], ages: list[Age]) -> str:
    """Return whom one talks with at first: the newest age that was taught to talk, or anybody (pure)."""
    chat = [age.card.address for age in ages if age.card.form == "chat" and age.card.origin == "trained"]
    named = [name for name, persona in everybody.items() if persona.address in chat]
    return named[-1] if named else next(iter(everybody))


def draw_talk(house: House, talk: Talk) -> None:
    """Draw what was said, the answer that grows, and where the person types."""
    lines_at, growing_at, below = st.container(), st.empty(), st.container()
    with below:
        said = st.chat_input(f"Say something to {talk.persona.name}", key="say_to", max_chars=2000)
        if said and said.strip():
            talk.begin(background(), serving_url(house), house, said.strip())
        ways(house, talk)
    shown, grown = 0, None
    while True:
        with lines_at:
            for message in talk.messages[shown:]:
                draw_message(message)
        shown = len(talk.messages)
        if not talk.running:
            break
        if grown != talk.growing:
            grown = talk.growing
            growing_at.text(visible(grown) or "…")
        for _ in range(TICKS):
            talk.take_for(TICK_S)
            notice_clicks()
        if not talk.running:
            st.rerun()  # the buttons are others now
    growing_at.empty()
    if talk.error is not None:
        show_error(talk.error)


def ways(house: House, talk: Talk) -> None:
    """Draw Stop, another answer, and a new talk."""
    if talk.running:
        if st.button("Stop", key="stop_talk", icon=":material/stop_circle:"):
            talk.stop()
            st.rerun()
        return
    if not talk.messages:
        return
    row = st.container(horizontal=True)
    if row.button("Another answer", key="another", icon=":material/refresh:"):
        talk.begin(background(), serving_url(house), house, None)
        st.rerun()
    if row.button("A new talk", key="anew", icon=":material/add:"):
        st.session_state["talk"] = Talk(talk.persona)
        st.rerun()


def draw_message(message: Message) -> None:
    """Draw one line."""
    with st.container(border=not message.human):
        st.caption(message.address or visible(message.speaker))
        st.text(words_of(message))


def draw_beside(house: House, persona: Persona, ages: list[Age]) -> None:
    """Draw who this self is."""
    age = next((age for age in ages if age.card.address == persona.address), None)
    if persona.about:
        st.text(visible(persona.about))
    if age is None:
        st.info(f"{persona.address} is not here: train or import it, or choose another self.")
        return
    diary, letters, lineage = st.tabs(["Diary", "Letters", "Lineage"])
    with diary:
        entries = draw_entries(house, persona.name)
        writings = age.writings()
        for writing in writings:
            draw_writing(writing)
        if not writings and not entries:
            st.caption("It wrote nothing when it was kept.")
    with letters:
        draw_letters(house, persona)
    with lineage:
        draw_lineage(age, ages)


def draw_letters(house: House, persona: Persona) -> None:
    """Draw the letters that a self wrote or got."""
    nothing: list[Correspondence] = []
    names = {persona.name, persona.address}
    found = [
        (delivery, answers)
        for delivery, answers in ask_store(house, correspondence, nothing)
        if names & {delivery.letter.address, delivery.reader, delivery.to}
    ]
    for delivery, answers in found[:LETTERS]:
        draw_letter(delivery, answers)
    if not found:
        st.caption("It wrote no letter and got none.")


def draw_lineage(age: Age, ages: list[Age]) -> None:
    """Draw where a self stands in the life of its lineage."""
    if age.card.parent:
        st.caption(f"It grew from {age.card.parent}.")
    for other in ages:
        if other.address.lineage == age.address.lineage:
            here = "→ " if other.card.address == age.card.address else ""
            bits = other.card.bits_per_byte
            measured = "" if bits is None else f" · {bits:.2f} bits per byte"
            st.text(f"{here}{other.address.age}{measured}")
