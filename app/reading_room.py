"""The reading room: what was said in scenes, and what each age wrote when it was kept."""

from __future__ import annotations

import streamlit as st

from app.common import all_ages, background, page
from memory.show import visible
from memory.store import open_store
from memory.types import Message, Scene
from selves.endings import ending
from selves.lineage import Age
from selves.settings import House
from selves.speech import Writing

KINDS = {
    "diary": "Diary",
    "letter": "Letter to its future self",
    "continuation": "What it made of the one prompt",
}
NEWEST = 200
"""How many scenes can be chosen from."""


@page
def reading_room(house: House) -> None:
    """Draw the page."""
    st.title("Reading room", anchor=False)
    scenes, diaries = st.tabs(["Scenes", "Diaries"])
    with scenes:
        read_scenes(house)
    with diaries:
        read_diaries(all_ages(house))


def read_scenes(house: House) -> None:
    """Draw a choice of scenes and the transcript of one."""
    scenes = background().run(load_scenes(house))
    if not scenes:
        st.info("Nothing was said here yet. Let the cast talk, in a terminal:")
        st.code("selves scene play first-meeting", language=None)
        return
    by_id = {scene.id: scene for scene in reversed(scenes)}
    chosen = st.selectbox(
        "Scene", list(by_id), format_func=lambda scene_id: label(by_id[scene_id]), key="scene"
    )
    scene = by_id[chosen]
    if scene.premise:
        st.text(visible(scene.premise))
    for message in background().run(load_messages(house, scene.id)):
        draw_message(message)
    st.caption(f"{ending(scene.stop_reason).capitalize()}.")


def label(scene: Scene) -> str:
    """Return how a scene is named in the choice."""
    return f"{scene.name} · {scene.started_at:%d %B %Y, %H:%M} UTC · {scene.messages} lines · {scene.place}"


def draw_message(message: Message) -> None:
    """Draw one line: who, from which weights, and what."""
    who, what = st.columns([1, 4])
    who.text(visible(message.speaker))
    with what:
        st.text(visible(message.text) or f"({message.status})")
        if message.address and message.address != message.speaker:
            st.caption(f"{message.address} · message {message.id}")
        else:
            st.caption(f"message {message.id}")


def read_diaries(ages: list[Age]) -> None:
    """Draw a slider over a life, and what the age there wrote."""
    lineages = list(dict.fromkeys(age.address.lineage for age in ages if age.writings()))
    if not lineages:
        st.info("No age here wrote anything when it was kept: their recipes ask for no samples.")
        return
    lineage = st.selectbox("Lineage", lineages, key="lineage")
    life = {age.address.age: age for age in ages if age.address.lineage == lineage}
    age = life[slide(list(life))]
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
    with st.container(border=True):
        st.caption(KINDS[writing.kind])
        st.text(
            visible(
                f"{given}{writing.utterance.text}"
                if prompt.form == "transcript"
                else f"{given}\n\n{writing.utterance.text}"
            )
        )
        st.caption(
            f"seed {writing.utterance.sampling.seed} · temperature {writing.utterance.sampling.temperature:g}"
        )


async def load_scenes(house: House) -> list[Scene]:
    """Return the newest scenes; none when nothing was ever kept. Raises StoreError."""
    if not house.database_url_setting and not (house.home / "selves.db").exists():
        return []  # opening the store would make the database
    async with open_store(house.database_url) as store:
        return await store.scenes(last=NEWEST)


async def load_messages(house: House, scene_id: int) -> list[Message]:
    """Return a scene's messages. Raises StoreError."""
    async with open_store(house.database_url) as store:
        return await store.messages(scene_id)
