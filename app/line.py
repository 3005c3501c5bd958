"""One line of a scene on a page: who, from which weights, what; a star, and behind the dots all the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from app.common import ask_store, tell_store
from app.votes import EDITOR
from memory.curate import MARKS, Mark, Picked, pick, picks, retract
from memory.search import more_like
from memory.show import UNPOSTED, visible, words_of
from memory.store import Store
from memory.types import Message, Provenance
from selves.errors import SelvesError
from selves.settings import House

Actions = Callable[[Message], None]


def draw_message(
    house: House, message: Message, marks: Mapping[int, list[Picked]], *, unread: bool = False
) -> None:
    """Draw one line with its marks. What was said is text: never Markdown."""
    mine = marks.get(message.id, [])
    star = next((picked.pick for picked in mine if picked.pick.kind == "star"), None)
    with st.container(key=f"line-{message.id}"):
        who, what, icons = st.columns([3, 12, 2], vertical_alignment="top", gap="small")
        buttons = icons.container(horizontal=True, gap="small")
        who.text(visible(message.speaker))
        with what:
            st.text(words_of(message) or f"({message.status})")
            st.caption(about(message, mine, unread=unread))
        buttons.button(
            f"Star line {message.id}" if star is None else f"Take the star from line {message.id}",
            icon=":material/star:",
            key=f"icon-star-{message.id}" if star is None else f"icon-unstar-{message.id}",
            type="tertiary",
            on_click=set_star,
            args=(house, message.id, None if star is None else star.id),
        )
        if buttons.button(
            f"More of line {message.id}",
            icon=":material/more_horiz:",
            key=f"icon-more-{message.id}",
            type="tertiary",
        ):
            line_dialog(house, message.id)


def about(message: Message, marks: list[Picked], *, unread: bool) -> str:
    """Return what stands in small letters below a line (pure; nothing of it is a model's or a person's)."""
    parts = [f"message {message.id}"]
    if message.address and message.address != message.speaker:
        parts.insert(0, message.address)
    if message.status in UNPOSTED:
        parts.append(UNPOSTED[message.status])
    parts += [kind for kind in ("quote", "tag", "note") if any(m.pick.kind == kind for m in marks)]
    return " · ".join([*parts, "not read yet"] if unread else parts)


def set_star(house: House, message_id: int, pick_id: int | None) -> None:
    """Star a line, or take back a mark that it has."""

    async def change(store: Store) -> None:
        if pick_id is None:
            await pick(store, Mark("star"), editor=EDITOR, message_id=message_id)
        else:
            await retract(store, pick_id, editor=EDITOR)

    try:
        tell_store(house, change)
    except SelvesError as error:
        st.session_state["trouble"] = error


@st.dialog("A line", width="large")
def line_dialog(house: House, message_id: int) -> None:
    """Draw what can be done with a line, and what produced it."""

    async def look(store: Store) -> tuple[Provenance, list[Picked]]:
        found = await store.provenance(message_id)
        mine = [p for p in await picks(store, scene_id=found.scene.id) if p.pick.message_id == message_id]
        return found, mine

    try:
        found, mine = tell_store(house, look)
        message = found.message
        st.text(words_of(message))
        st.caption(f"message {message.id} of scene {message.scene_id}")
        mark_form(house, message)
        draw_marks(house, message_id, mine)
        draw_origin(found)
        if message.text and st.button("More like this", key=f"like-{message_id}", icon=":material/search:"):
            draw_alike(house, message_id)
    except SelvesError as error:
        st.text(f"⚠ {error.problem}")


def mark_form(house: House, message: Message) -> None:
    """Draw the form that quotes, tags or notes a line."""
    with st.form(f"mark-{message.id}", clear_on_submit=True):
        kind = st.radio("Mark it", MARKS[1:], horizontal=True, key=f"kind-{message.id}")
        value = st.text_input(
            "The words to quote as they stand there, the tag, or the note", key=f"value-{message.id}"
        )
        if st.form_submit_button("Keep", key=f"keep-{message.id}") and value.strip():
            mark = Mark("quote", quote=value) if kind == "quote" else Mark(kind, value=value.strip())
            tell_store(house, lambda store: pick(store, mark, editor=EDITOR, message_id=message.id))
            st.rerun()


def draw_marks(house: House, message_id: int, mine: list[Picked]) -> None:
    """Draw the marks that a line has, each of which can be taken back."""
    for picked in mine:
        what, away = st.columns([8, 1])
        said = picked.pick.value or (picked.text if picked.pick.kind == "quote" else "")
        what.text(f"{picked.pick.kind}: {visible(said)}" if said else picked.pick.kind)
        if away.button("Take back", key=f"away-{picked.pick.id}", type="tertiary"):
            set_star(house, message_id, picked.pick.id)
            st.rerun()


def draw_origin(found: Provenance) -> None:
    """Draw what produced a line, and the samples that were drawn beside it."""
    made = found.generation
    if made is None:
        st.caption(f"No self said this: it comes from {found.message.origin}.")
        return
    sampling = made.sampling
    st.caption(
        f"{made.address} · weights {made.weights_sha256[:12]} · seed {sampling.seed} · temperature "
        f"{sampling.temperature:g} · top-p {sampling.top_p:g} · one of {1 + len(found.siblings)} samples"
    )
    for sibling in found.siblings:
        with st.container(border=True):
            st.caption(f"not chosen: sample {sibling.id}")
            st.text(visible(sibling.error or sibling.text) or "(nothing)")


def draw_alike(house: House, message_id: int) -> None:
    """Draw lines that share this one's rarest words."""
    result = ask_store(house, lambda store: more_like(store, message_id, limit=5), None)
    for hit in result.hits if result else ():
        st.text(f"{visible(hit.found.speaker or '')}: {visible(hit.snippet.text)}")
        st.caption(f"scene {hit.found.scene_id} · message {hit.found.message_id}")
    if not result or not result.hits:
        st.caption("Nothing else here is like it.")
