"""Search: words and filters, newest first or best first, near-duplicates folded."""

from __future__ import annotations

from datetime import UTC, datetime, time
from html import escape

import streamlit as st

from app.common import ask_store
from app.line import line_dialog
from app.votes import EDITOR
from memory.filters import KINDS, SAID, Filters
from memory.query import Snippet
from memory.search import SORTS, Hit, Page, Sort, search
from memory.show import visible
from selves.cast import CAST_SIZES
from selves.lineage import list_ages
from selves.settings import House

ANY = "any"
AT_ONCE = 20


def read_search(house: House) -> None:
    """Draw the search and what it finds."""
    typed = st.text_input(
        "Search",
        key="typed",
        placeholder='lamp "old moon" -rain dream*',
        help="Nothing typed finds everything.",
    )
    filters, sort = ask_filters(house)
    places = st.session_state.setdefault("places", [None])
    asked = (typed, filters, sort)
    if st.session_state.get("searched") != asked:
        st.session_state["searched"], places[:] = asked, [None]
    found = ask_store(
        house,
        lambda store: search(
            store, typed, filters, limit=AT_ONCE, after=places[-1] if sort == "newest" else None, sort=sort
        ),
        Page((), None, 0),
    )
    if not found.hits:
        st.info("Nothing was found. Fewer words or filters find more.")
    for number, hit in enumerate(found.hits):
        draw_hit(house, hit, number)
    turn_pages(places, found.next if sort == "newest" else None)


def ask_filters(house: House) -> tuple[Filters, Sort]:
    """Draw the filters; return them, and the order."""
    ages = list_ages(house.checkpoints)
    lineages = list(dict.fromkeys(age.address.lineage for age in ages))
    stages = list(dict.fromkeys(age.address.stage for age in ages))
    sort_at, kinds_at = st.columns([1, 2])
    sort = sort_at.selectbox("Order", SORTS, key="sort")
    kinds = kinds_at.multiselect("What", KINDS, default=SAID, key="kinds")
    with st.expander("Filters"):
        first = st.columns(4)
        lineage = first[0].selectbox("Lineage", [ANY, *lineages], key="in_lineage")
        age = first[1].selectbox("Age", [ANY, *(age.card.address for age in ages)], key="in_age")
        stage = first[2].selectbox("Stage", [ANY, *stages], key="in_stage")
        scene_kind = first[3].selectbox("Kind of scene", [ANY, *CAST_SIZES], key="in_kind")
        second = st.columns(4)
        speaker = second[0].text_input("Speaker", key="in_speaker")
        tag = second[1].text_input("Tag", key="in_tag")
        since = second[2].date_input("Since", None, key="in_since")
        until = second[3].date_input("Before", None, key="in_until")
        third = st.columns(3)
        starred = third[0].checkbox("Starred", key="in_starred")
        unread = third[1].checkbox("Not read yet", key="in_unread")
        people = third[2].checkbox(
            "People's words too", key="in_people", help="They are sealed: they are opened one by one."
        )
    return (
        Filters(
            age=None if age == ANY else age,
            lineage=None if lineage == ANY else lineage,
            stage=None if stage == ANY else stage,
            scene_kind=None if scene_kind == ANY else scene_kind,
            speaker=speaker.strip() or None,
            tag=tag.strip() or None,
            since=None if since is None else datetime.combine(since, time(), UTC),
            until=None if until is None else datetime.combine(until, time(), UTC),
            kinds=tuple(kinds) or SAID,
            starred=starred,
            unvisited_by=EDITOR if unread else None,
            people=people,
        ),
        "newest" if sort == "best" and not st.session_state["typed"].strip() else sort,
    )


def draw_hit(house: House, hit: Hit, number: int) -> None:
    """Draw one text that was found, the words that were looked for marked."""
    found = hit.found
    with st.container(border=True):
        st.html(f'<div class="words">{marked(hit.snippet)}</div>')
        facts = [found.address or found.origin, found.kind, f"{found.at:%d %B %Y}"]
        if found.scene_id is not None:
            facts.append(f"scene {found.scene_id}")
        facts += [f"{name} {value:.2f}" for name, value in hit.scores.items()]
        if hit.alike:
            facts.append(f"and {len(hit.alike)} that say almost the same")
        row = st.container(horizontal=True, vertical_alignment="center", gap="small")
        if found.speaker and found.speaker != found.address:
            row.text(visible(found.speaker))
        row.caption(" · ".join(facts))
        if found.message_id is not None and row.button(
            "Open", key=f"open-{number}", type="tertiary", icon=":material/open_in_full:"
        ):
            line_dialog(house, found.message_id)


def marked(shown: Snippet) -> str:
    """Return a snippet as HTML: all of it escaped, what was looked for marked (pure)."""
    parts, at = [], 0
    for start, end in shown.marks:
        parts.append(escape(visible(shown.text[at:start])))
        parts.append(f"<mark>{escape(visible(shown.text[start:end]))}</mark>")
        at = end
    return "".join([*parts, escape(visible(shown.text[at:]))])


def turn_pages(places: list[str | None], after: str | None) -> None:
    """Draw the ways to the page before and behind."""
    back, on = st.columns(2)
    if len(places) > 1 and back.button("Newer", key="newer"):
        places.pop()
        st.rerun()
    if after is not None and on.button("Older", key="older"):
        places.append(after)
        st.rerun()
