"""A conversation among selves: a cast, a scene or a premise of one's own, and it plays.

Whoever watches may step in, pause, go on from any line another way, or have a line said again.
"""

from __future__ import annotations

import uuid
from typing import Any

import streamlit as st
from pydantic import ValidationError
from streamlit.delta_generator import DeltaGenerator

from app.chorus import PERSON
from app.common import all_ages, background, notice_clicks, page, serving_url, show_error, tell_store
from app.company import company, first_cast
from app.forks import OWN, PLACE, Again, keep_better, say_again
from app.play import Growing, Play
from bots.kinds import KINDS
from memory.show import visible, words_of
from memory.store import open_store
from memory.types import Message
from selves.cast import CAST_SIZES, Cast, SceneKind, SceneSpec, load_cast_or_empty
from selves.endings import ending
from selves.errors import SelvesError
from selves.settings import House
from serving.voice import Voice

MADE_UP = "a premise of my own"
TICK_S = 1 / 48
"""How often it is looked whether somebody clicked."""
TICKS = 4
"""After so many, what has changed is drawn."""


@page
def conversation(house: House) -> None:
    """Draw the page."""
    st.title("A conversation among selves", anchor=False)
    cast = load_cast_or_empty(house.cast_path)
    everybody = company(cast, all_ages(house))
    spec = choose(cast, everybody)
    if spec is not None:
        begin(house, Play(everybody, spec, key=new_key()))
    if "play" in st.session_state:
        show(house, st.session_state["play"])


def new_key() -> str:
    """Return what makes a scene of this page single."""
    return f"{PLACE}/{uuid.uuid4().hex[:12]}"


def begin(house: House, play: Play) -> None:
    """Let a scene play; the one that played until now stays where it is."""
    if "play" in st.session_state:
        st.session_state["play"].stop()
    st.session_state["play"] = play
    st.session_state.pop("again", None)
    play.begin(background(), serving_url(house), house)


def choose(cast: Cast | None, everybody: Cast) -> SceneSpec | None:
    """Draw the choice of a scene; return it when Play is pressed."""
    known = {scene.name: scene for scene in (cast.scene if cast else ())}
    name = st.selectbox("Scene", [*known, MADE_UP], key="which")
    fields: dict[str, Any]
    with st.form("scene_form"):
        if name == MADE_UP:
            fields = ask_own(cast, everybody)
        else:
            st.caption(f"{known[name].kind}: {', '.join(known[name].cast)}")
            if known[name].premise:
                st.text(visible(known[name].premise))
            fields = known[name].model_dump()
        fields["max_turns"] = st.slider(
            "Turns", 2, 60, min(60, max(2, fields.get("max_turns", 12))), key=f"turns-{name}"
        )
        pressed = st.form_submit_button("Play", type="primary", icon=":material/play_arrow:", key="begin")
    if not pressed:
        return None
    try:
        return SceneSpec.model_validate(fields)
    except ValidationError as error:
        st.warning("; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors()))
        return None


def ask_own(cast: Cast | None, everybody: Cast) -> dict[str, Any]:
    """Draw the fields of a scene of one's own."""
    addresses = {persona.name: persona.address for persona in everybody.persona}
    st.session_state.setdefault("players", first_cast(cast, everybody))
    st.session_state["players"] = [name for name in st.session_state["players"] if name in addresses]
    players = st.multiselect(
        "Cast", list(addresses), format_func=lambda name: f"{name} · {addresses[name]}", key="players"
    )
    kinds: list[SceneKind] = [kind for kind in CAST_SIZES if kind not in ("answer", "letter")]
    kind = st.selectbox(
        "Kind", kinds, format_func=lambda kind: f"{kind}: {KINDS[kind].what}", key="kind_of_scene"
    )
    premise = st.text_area("Premise", key="premise", height=80, placeholder="What they are told before it.")
    opening = st.text_input("First line, said by you", key="opening", placeholder="Hi! How are you?")
    return {
        "name": OWN,
        "kind": kind,
        "cast": players,
        "premise": premise.strip(),
        "opening": opening.strip(),
    }


def show(house: House, play: Play) -> None:
    """Draw a scene: what was said, what is being said, and what a person can do."""
    stop_at = st.empty()
    with stop_at.container():
        buttons(house, play)
    if "again" in st.session_state:
        choose_better(house, play, st.session_state["again"])
    if play.before:
        st.caption("What was said before it branched off:")
        for message in play.before:
            st.text(f"{visible(message.speaker)}: {words_of(message)}")
        st.caption("And from there on:")
    lines_at = st.container(key="lines")
    with st.container(key="growing"):
        who, what = st.columns([3, 14], gap="small")
        growing_at = who.empty(), what.empty()
    end_at = st.container()
    if not play.stop_reason:
        with end_at:
            step_in(house, play)
    listen(house, play, lines_at, growing_at)
    if play.error is not None:
        show_error(play.error)
    if play.stop_reason and play.scene is not None:
        st.caption(f"{ending(play.stop_reason).capitalize()}. Kept as scene {play.scene.id}.")


def listen(
    house: House, play: Play, lines_at: DeltaGenerator, growing_at: tuple[DeltaGenerator, DeltaGenerator]
) -> None:
    """Draw lines, and the one that grows, as they come."""
    shown: set[int] = set()
    grown: Growing | None = None
    while True:
        for message in play.lines:
            if message.id not in shown:
                with lines_at:
                    draw_line(house, play, message)
                shown.add(message.id)
        if grown != play.growing:
            grown = play.growing
            draw_growing(grown, growing_at)
        if not play.running:
            return
        for _ in range(TICKS):
            play.take_for(TICK_S)
            notice_clicks()
        if not play.running:
            st.rerun()  # the buttons are others now


def buttons(house: House, play: Play) -> None:
    """Draw Pause, Go on and End."""
    if play.stop_reason:
        return
    row = st.container(horizontal=True, vertical_alignment="center")
    if play.running:
        asked = play.pausing.is_set()
        if row.button("Pause", key="pause", icon=":material/pause:", disabled=asked) and not asked:
            play.pause()
            st.rerun()
    elif row.button("Go on", key="go_on", icon=":material/play_arrow:"):
        play.begin(background(), serving_url(house), house)
        st.rerun()
    if row.button("End it", key="end", icon=":material/stop_circle:"):
        play.stop()
        if play.scene is not None:
            scene_id = play.scene.id
            tell_store(house, lambda store: store.end_scene(scene_id, "stopped"))
        play.stop_reason = "stopped"
        st.rerun()
    if play.running and play.pausing.is_set():
        row.caption("It pauses when this line has been said.")


def draw_line(house: House, play: Play, message: Message) -> None:
    """Draw one line, with the ways to go on from it another way."""
    with st.container(key=f"line-{message.id}"):
        who, what, icons = st.columns([3, 12, 2], gap="small")
        ways = icons.container(horizontal=True, gap="small")
        who.text(visible(message.speaker))
        with what:
            st.text(words_of(message) or f"({message.status})")
            if message.address:
                st.caption(message.address)
        if ways.button(
            f"Fork from line {message.id}",
            icon=":material/call_split:",
            key=f"icon-fork-{message.id}",
            type="tertiary",
        ):
            begin(house, Play(play.cast, play.spec, key=new_key(), from_message_id=message.id))
            st.rerun()
        if message.address and ways.button(
            f"Say line {message.id} again",
            icon=":material/refresh:",
            key=f"icon-again-{message.id}",
            type="tertiary",
        ):
            regenerate(house, play, message)


def draw_growing(growing: Growing | None, place: tuple[DeltaGenerator, DeltaGenerator]) -> None:
    """Draw the line that somebody is about to say."""
    who, what = place
    if growing is None:
        who.empty()
        what.empty()
        return
    who.text(visible(growing.speaker))
    what.text(visible(growing.text) or "…")


def step_in(house: House, play: Play) -> None:
    """Let the person say something in the scene."""
    said = st.chat_input("Step in: say something", key="say", max_chars=2000)
    if said and said.strip() and play.scene is not None:
        scene_id, text = play.scene.id, said.strip()
        message = tell_store(
            house, lambda store: store.say(scene_id, speaker=PERSON, text=text, origin="parlor")
        )
        play.hear(message)


def regenerate(house: House, play: Play, message: Message) -> None:
    """Have a line said again, and ask which of the two is better."""
    play.stop()

    async def draw() -> Again:
        async with open_store(house.database_url) as store, Voice(serving_url(house), house.api_key) as voice:
            return await say_again(store, voice, play.cast, message.id, new_key())

    try:
        with st.spinner(f"{message.speaker} thinks again"):
            st.session_state["again"] = background().run(draw())
    except SelvesError as error:
        play.error = error
    st.rerun()


def choose_better(house: House, play: Play, again: Again) -> None:
    """Draw both lines, and go on with the one that is kept."""
    with st.container(border=True, key="better"):
        st.text(f"{visible(again.former.speaker)} thought again. Which is better?")
        old_at, new_at = st.columns(2, border=True)
        old_at.text(words_of(again.former))
        new_at.text(words_of(again.new) if again.new else "(nothing that could be said)")
        old = old_at.button("Keep the old one", key="keep_old")
        new = new_at.button("Keep the new one", key="keep_new", disabled=again.new is None)
    if not old and not new:
        return
    tell_store(house, lambda store: keep_better(store, again, new_is_better=new))
    del st.session_state["again"]
    if new and again.scene.key is not None:
        begin(
            house,
            Play(play.cast, play.spec, key=again.scene.key, from_message_id=again.scene.from_message_id),
        )
    st.rerun()
