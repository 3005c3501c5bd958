"""One prompt, n ages: their answers stream side by side, or one life is asked and walked through in time.

Workers only produce, into one queue; this script's thread alone draws. The answers live in the session: a
click on anything ends the script and not the answers, which the next script goes on drawing. The button ends
them, and so does closing the tab or going to another page: then nobody looks any more.
"""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.answers import WAITING, Answer, Answers, remembered
from app.asking import ask
from app.common import all_ages, background, notice_clicks, page, serving_url, show_error
from app.link import Show, View, find_kept, read_link
from app.surprise import shade, surprises
from app.votes import EQUAL, shuffled, star, vote_for
from memory.show import visible
from memory.store import open_store
from selves.errors import SelvesError
from selves.settings import House

TICK_S = 1 / 48
"""How often it is looked whether somebody clicked."""
TICKS = 4
"""After so many, what has changed is drawn: all columns at once, for each time the page is laid out."""
IN_A_ROW = 4
"""Columns beside each other; more ages go into another row."""

Places = dict[str, tuple[DeltaGenerator, DeltaGenerator]]


@page
def side_by_side(house: House) -> None:
    """Draw the page."""
    st.title("One prompt, n ages", anchor=False)
    st.caption(
        "The same beginning, given to every age you choose. Base ages continue it, chat ages answer it."
    )
    ages = all_ages(house)
    linked = None if "answers" in st.session_state else read_link(st.query_params.to_dict())
    view = ask(ages, linked)
    if view is not None:
        begin(house, view)
    elif linked is not None and linked.scene_id is not None:
        recall(house, linked)
    if "answers" in st.session_state:
        show(house, st.session_state["answers"], st.session_state["shown_as"])


def begin(house: House, view: View) -> None:
    """Let the ages answer; what was being said until now ends."""
    if "answers" in st.session_state:
        st.session_state["answers"].stop()
    answers = Answers(view.question)
    answers.begin(background(), serving_url(house), house)
    st.session_state.update(answers=answers, shown_as=view.show, shades={}, thanks="")
    st.query_params.from_dict(view.as_query())


def recall(house: House, view: View) -> None:
    """Take the answers that a link names from the database, if they are there."""

    async def read() -> Answers | None:
        async with open_store(house.database_url, create=False) as store:
            if view.scene_id is None or not await find_kept(store, view):
                return None
            messages = await store.messages(view.scene_id)
            return remembered(view.question, view.scene_id, messages, await store.generations(view.scene_id))

    try:
        answers = background().run(read())
    except SelvesError as error:
        show_error(error)
        return
    if answers is not None:
        st.session_state.update(answers=answers, shown_as=view.show, shades={}, thanks="")


def show(house: House, answers: Answers, how: Show) -> None:
    """Draw the answers: those that still grow until they have come, then what can be done with them."""
    blind = how == "columns" and bool(st.session_state.get("blind")) and len(answers.by_age) > 1
    order = answers.question.addresses
    if blind:
        order = shuffled(order, answers.question.model_dump_json())
    stop_at = st.empty()
    if answers.running and stop_at.button("Stop", key="stop", icon=":material/stop_circle:"):
        answers.stop()
        stop_at.empty()
    hidden = blind and not st.session_state.get("thanks")
    if how == "life":
        places = life(order)
    else:
        places = columns(order, {a: letter(n) for n, a in enumerate(order)} if hidden else {})
    listen(answers, places, hidden=hidden)
    stop_at.empty()
    if answers.error is not None:
        show_error(answers.error)
    if answers.scene_id is not None:
        outcome(house, answers, order, how, blind=blind, hidden=hidden)


def listen(answers: Answers, places: Places, *, hidden: bool) -> None:
    """Draw the answers as they come."""
    drawn: dict[str, tuple[str, str]] = {}
    while True:
        for address, place in places.items():
            answer = answers.by_age[address]
            if drawn.get(address) != (answer.text, answer.status):
                drawn[address] = answer.text, answer.status
                draw(address, answer, place, hidden=hidden)
        if not answers.running:
            return
        for _ in range(TICKS):
            answers.take_for(TICK_S)
            notice_clicks()


def columns(addresses: tuple[str, ...], names: dict[str, str]) -> Places:
    """Return for each age where its words go, and below them its status."""
    places: Places = {}
    for start in range(0, len(addresses), IN_A_ROW):
        row = addresses[start : start + IN_A_ROW]
        for address, column in zip(row, st.columns(len(row), border=True), strict=True):
            with column:
                # neither an address nor a letter holds anything that Markdown knows
                st.markdown(f"**{names.get(address, address)}**")
                places[address] = (st.empty(), st.empty())
    return places


def life(addresses: tuple[str, ...]) -> Places:
    """Draw the slider through a life, and return where the age there speaks."""
    chosen = addresses[0]
    if len(addresses) > 1:
        chosen = str(st.select_slider("Drag through its life", addresses, value=addresses[-1], key="moment"))
    with st.container(border=True):
        st.markdown(f"**{chosen}**")
        return {chosen: (st.empty(), st.empty())}


def letter(position: int) -> str:
    """Return what the one at this place is called while nobody may know who it is."""
    return f"Answer {position + 1}" if position >= 26 else f"Answer {chr(ord('A') + position)}"


def draw(address: str, answer: Answer, place: tuple[DeltaGenerator, DeltaGenerator], *, hidden: bool) -> None:
    """Show how far one age is. Model text is text: never Markdown."""
    words, status = place
    shaded = st.session_state.get("shades", {}).get(address)
    if shaded and st.session_state.get("shade"):
        words.html(shaded)
    else:
        words.text(visible(answer.text))
    # how long it took, or what failed, would tell who it is
    status.text("" if hidden and answer.status != WAITING else answer.status)


def outcome(
    house: House, answers: Answers, order: tuple[str, ...], how: Show, *, blind: bool, hidden: bool
) -> None:
    """Offer what can be done with answers that are kept."""
    view = View(question=answers.question, show=how, scene_id=answers.scene_id)
    st.query_params.from_dict(view.as_query())
    if how == "columns" and len(order) > 1:
        vote_row(house, answers, order, blind=blind, hidden=hidden)
    if hidden:
        return
    shade_at, star_at = st.columns([1, 1], vertical_alignment="bottom")
    shade_at.toggle(
        "Shade by surprise",
        key="shade",
        help="The redder a word, the less likely the age itself found it.",
        on_change=shade_all,
        args=(house, answers),
    )
    with star_at.popover("Save as pick", icon=":material/star:", key="save"):
        for address in order:
            kept = answers.by_age[address].kept
            if kept and st.button(address, key=f"pick-{address}", disabled=kept.message_id is None):
                background().run(star(house, kept))
                st.toast(f"Kept what {address} said as a pick.")
    if "shade_trouble" in st.session_state:
        show_error(st.session_state.pop("shade_trouble"))
    st.caption(
        f"Kept as scene {answers.scene_id}: the reading room shows it again, and so does the link in your "
        "address bar."
    )


def vote_row(house: House, answers: Answers, order: tuple[str, ...], *, blind: bool, hidden: bool) -> None:
    """Ask which answer is best; then say who it was."""
    if st.session_state.get("thanks"):
        st.success(st.session_state["thanks"], icon=":material/how_to_vote:")
        return
    names = {address: letter(n) if hidden else address for n, address in enumerate(order)}
    with st.form("vote", border=False):
        best = st.radio(
            "Which is best?",
            [*order, EQUAL],
            format_func=lambda address: names.get(address, "all alike"),
            horizontal=True,
            key="best",
            index=None,
        )
        voted = st.form_submit_button("Vote", key="vote")
    if voted and best is not None:
        votes = background().run(vote_for(house, answers, order, best, blind=blind))
        who = "you found them all alike" if best == EQUAL else f"you chose {best}"
        st.session_state["thanks"] = f"Thank you: {who}. {votes} comparisons were kept."
        st.rerun()


def shade_all(house: House, answers: Answers) -> None:
    """Ask the engine how surprised each age was, once for each answer."""
    shades = st.session_state["shades"]
    for address, answer in answers.by_age.items():
        if address not in shades and answer.utterance is not None:
            try:
                tokens = background().run(surprises(serving_url(house), house.api_key, answer.utterance))
            except SelvesError as error:
                st.session_state["shade_trouble"] = error
                return
            shades[address] = shade(tokens)
