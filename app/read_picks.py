"""What was picked: stars, quotations, tags and notes, with who wrote them and what they were chosen from."""

from __future__ import annotations

import streamlit as st

from app.common import ask_store, tell_store
from app.read_scenes import in_words
from app.votes import EDITOR
from memory.curate import MARKS, Picked, picks, retract
from memory.show import visible
from selves.settings import House

NEWEST = 200


def read_picks(house: House) -> None:
    """Draw the picks that stand, the newest first."""
    nothing: list[Picked] = []
    found = ask_store(house, lambda store: picks(store, last=NEWEST), nothing)
    if not found:
        st.info("Nothing is picked yet. Star a line, or select words in a scene to quote them.")
        return
    kinds = st.pills("Show", MARKS, selection_mode="multi", key="pick_kinds", label_visibility="collapsed")
    tags = sorted({p.pick.value for p in found if p.pick.kind == "tag" and p.pick.value})
    tag = st.selectbox("Tag", ["any", *tags], key="pick_tag") if tags else "any"
    for picked in reversed(found):
        right_kind = not kinds or picked.pick.kind in kinds
        right_tag = tag == "any" or picked.pick.value == tag
        if right_kind and right_tag:
            draw_pick(house, picked)


def draw_pick(house: House, picked: Picked) -> None:
    """Draw one pick."""
    pick = picked.pick
    with st.container(border=True):
        st.text(visible(picked.text) if picked.intact else "(it says something else by now, or was erased)")
        if pick.value:
            st.text(f"{pick.kind}: {visible(pick.value)}")
        facts = [pick.kind, picked.address or "", f"{pick.at:%d %B %Y}"]
        if picked.scene_id is not None:
            facts.append(f"scene {picked.scene_id}")
        st.caption(" · ".join(filter(None, facts)))
        st.caption(in_words(picked.figures))
        if st.button("Take back", key=f"unpick-{pick.id}", type="tertiary"):
            tell_store(house, lambda store: retract(store, pick.id, editor=EDITOR))
            st.rerun()
