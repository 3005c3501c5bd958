"""Scenes to read: the transcript of one, what an editor marked in it, and who wrote how much of it."""

from __future__ import annotations

import streamlit as st

from app.common import ask_store, show_error, tell_store
from app.line import draw_message
from app.quoting import quote_by_selecting
from app.votes import EDITOR
from memory.curate import Picked, picks, scene_figures, visit
from memory.figures import Figures
from memory.filters import Filters
from memory.posted import messages_until
from memory.search import search
from memory.show import visible
from memory.store import Store
from memory.types import Message, Scene
from selves.endings import ending
from selves.settings import House

NEWEST = 200
"""How many scenes can be chosen from."""
LINES = 60
"""How many lines are shown at once."""
BEFORE = 30
"""Of what a fork branched off from, so many lines are shown."""


def read_scenes(house: House) -> None:
    """Draw a choice of scenes and the transcript of one."""
    none: list[Scene] = []
    scenes = ask_store(house, lambda store: store.scenes(last=NEWEST), none)
    if not scenes:
        nothing_said()
        return
    by_id = {scene.id: scene for scene in reversed(scenes)}
    wanted = st.query_params.get("scene", "")
    if wanted.isdecimal() and int(wanted) in by_id and "scene" not in st.session_state:
        st.session_state["scene"] = int(wanted)
    chosen = st.selectbox(
        "Scene", list(by_id), format_func=lambda scene_id: label(by_id[scene_id]), key="scene"
    )
    st.query_params.from_dict({"scene": str(chosen)})
    read_scene(house, by_id[chosen])


def nothing_said() -> None:
    """Say what to do when nothing was ever said."""
    st.info("Nothing was said here yet. Let the cast talk, on the page Scenes or in a terminal:")
    st.code("selves scene play first-meeting", language=None)


def label(scene: Scene) -> str:
    """Return how a scene is named in the choice."""
    return f"{scene.name} · {scene.started_at:%d %B %Y, %H:%M} UTC · {scene.messages} lines · {scene.place}"


def read_scene(house: House, scene: Scene) -> None:
    """Draw one scene."""

    async def load(store: Store) -> tuple[list[Message], list[Message], list[Picked], Figures, set[int]]:
        before = []
        if scene.from_message_id is not None:
            before = await messages_until(store, await store.message(scene.from_message_id), BEFORE)
        unread = await search(
            store, "", Filters(scene=scene.id, unvisited_by=EDITOR), limit=1000, folded=False
        )
        return (
            before,
            await store.messages(scene.id),
            await picks(store, scene_id=scene.id),
            await scene_figures(store, scene.id),
            {hit.found.message_id for hit in unread.hits if hit.found.message_id is not None},
        )

    before, messages, marked, figures, unread = tell_store(house, load)
    if (trouble := st.session_state.pop("trouble", None)) is not None:
        show_error(trouble)
    if scene.premise:
        st.text(visible(scene.premise))
    marks: dict[int, list[Picked]] = {}
    for picked in marked:
        if picked.pick.message_id is not None:
            marks.setdefault(picked.pick.message_id, []).append(picked)
    if before:
        st.caption(f"What was said before it branched off, in scene {before[-1].scene_id}:")
        for message in before:
            st.text(f"{visible(message.speaker)}: {visible(message.text)}")
        st.caption("And from there on:")
    for message in paged(messages):
        draw_message(house, message, marks, unread=message.id in unread)
    st.caption(f"{ending(scene.stop_reason).capitalize()}.")
    st.caption(in_words(figures))
    if unread and st.button("I have read it", key="read", icon=":material/done_all:"):
        tell_store(house, lambda store: visit(store, [m.id for m in messages], editor=EDITOR))
        st.rerun()
    quote_by_selecting(house)


def paged(messages: list[Message]) -> list[Message]:
    """Return the lines of the page that is chosen, where there is more than one."""
    if len(messages) <= LINES:
        return messages
    pages = -(-len(messages) // LINES)
    number = st.number_input(f"Page, of {pages}", 1, pages, key="page_of_scene")
    return messages[(number - 1) * LINES : number * LINES]


def in_words(figures: Figures) -> str:
    """Return who wrote it, and how much was chosen from, as published model text should say (pure)."""
    said = []
    if figures.contribution is not None:
        said.append(f"Contribution: a model wrote {figures.contribution:.0%} of the characters")
    if figures.selectivity_bits is not None:
        said.append(
            f"selectivity: {figures.published} of {figures.generated} samples "
            f"({figures.selectivity_bits:.1f} bits)"
        )
    return "; ".join(said) + "." if said else "Nobody said anything."
