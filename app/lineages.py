"""The life of a lineage: its curves with its ages as dots, what it can do and is, its family, its space."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.common import all_ages, page
from app.lives import branches, dots, family_of, kinship, read_curve, space, traits_of
from app.read_diaries import draw_age
from selves.lineage import Age
from selves.settings import House
from training.evals.results import Result, read_results
from training.traits.matrix import Cell
from training.traits.pictures import draw

RED = "#c4533a"
GREY = "#9a8f80"


@page
def lineages(house: House) -> None:
    """Draw the page."""
    st.title("The life of a lineage", anchor=False)
    ages = all_ages(house, away=True)
    lives: dict[str, list[Age]] = {}
    for age in ages:
        lives.setdefault(age.address.lineage, []).append(age)
    names = sorted(lives, key=lambda name: -len(lives[name]))
    name = st.selectbox("Lineage", names, format_func=lambda n: f"{n} · {len(lives[n])} ages", key="of_life")
    folder = house.checkpoints / name
    chosen = draw_curve(folder_rows := read_curve(folder), lives[name])
    if not folder_rows:
        st.caption("No training of this lineage was logged here.")
    by_age = {age.address.age: age for age in lives[name]}
    if chosen in by_age and st.session_state.get("dot") != chosen:
        st.session_state["dot"] = st.session_state["age_of_life"] = chosen
    if st.session_state.get("age_of_life") not in by_age:
        st.session_state["age_of_life"] = list(by_age)[-1]
    if len(by_age) > 1:
        st.select_slider("Age", list(by_age), key="age_of_life")
    draw_age(by_age[st.session_state["age_of_life"]])
    st.header("What it can do", anchor=False)
    draw_results(read_results(folder), lives[name])
    draw_traits(family_of(name, ages), ages)
    st.header("Family", anchor=False)
    draw_family(ages)
    st.header("Space", anchor=False)
    draw_space(house, ages)


def draw_curve(rows: list[dict[str, Any]], life: list[Age]) -> str | None:
    """Draw loss over tokens with the ages as dots; return the age whose dot was clicked."""
    if not rows:
        return None
    # a logarithm has no place for the newborn: it stands left of all others
    birth = min((row["tokens"] for row in rows if row["tokens"]), default=1) / 2
    curve = [{**row, "tokens": row["tokens"] or birth} for row in rows]
    held_out = [row for row in curve if row.get("bits_per_byte") is not None]
    x = {
        "field": "tokens",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False, "padding": 10},
        "axis": {"values": [10**power for power in range(2, 15)], "format": "~s"},
        "title": "tokens read",
    }
    loss = {"field": "loss", "type": "quantitative", "title": "loss", "scale": {"zero": False}}
    tooltip = [{"field": name} for name in ("address", "tokens", "loss", "bits_per_byte")]
    spec = {
        "layer": [
            {
                "data": {"values": curve},
                "mark": {"type": "line", "color": GREY, "strokeWidth": 1},
                "encoding": {"x": x, "y": loss, "detail": {"field": "stage"}},
            },
            {
                "data": {"values": dots(curve, life)},
                "params": [{"name": "dots", "select": {"type": "point", "fields": ["address"]}}],
                "mark": {
                    "type": "point",
                    "filled": True,
                    "opacity": 1,
                    "size": 110,
                    "color": RED,
                    "cursor": "pointer",
                },
                "encoding": {"x": x, "y": loss, "tooltip": tooltip},
            },
        ],
        "height": 260,
        # so that each dot can be found and named by a screen reader
        "usermeta": {"embedOptions": {"renderer": "svg"}},
    }
    event = st.vega_lite_chart(spec, key="curve", on_select="rerun", width="stretch")
    st.caption("Loss in nats per token; each dot is an age. Click one, or use the slider, to read its words.")
    if len(held_out) > 1:
        bits: dict[str, Any] = {"field": "bits_per_byte", "type": "quantitative", "title": "bits per byte"}
        bits |= {"scale": {"zero": False}}
        st.vega_lite_chart(
            {
                "data": {"values": held_out},
                "mark": {"type": "line", "color": RED, "point": {"color": RED}},
                "encoding": {"x": x, "y": bits, "detail": {"field": "stage"}},
                "height": 180,
            },
            key="bits",
            width="stretch",
        )
        st.caption("Bits per byte of text that it did not read: lower is better.")
    picked = event.selection.get("dots", []) if "selection" in event else []
    return str(picked[0]["address"]).partition("@")[2] if picked else None


def draw_results(results: dict[str, dict[str, Result]], life: list[Age]) -> None:
    """Draw what was measured, age by age."""
    suites = list(dict.fromkeys(suite for found in results.values() for suite in found))
    if not suites:
        st.caption("Nothing was measured yet. In a terminal:")
        st.code(f"selves evals run {life[0].address.lineage}", language=None)
        return
    rows = []
    for age in life:
        found = results.get(age.card.address, {})
        if found:
            rows.append(
                {"age": age.address.age, **{s: in_words(found[s]) if s in found else "" for s in suites}}
            )
    st.table(rows)


def draw_traits(selves: list[Age], ages: list[Age]) -> None:
    """Draw what a lineage, and who was raised from it, were found to be; nothing if nobody was asked."""
    matrix, again, gone = traits_of(selves, {age.card.address: age.card for age in ages})
    if not (matrix.cells or again or gone):
        return
    st.header("What it is like", anchor=False)
    if matrix.cells:
        source = f"data:image/svg+xml;base64,{b64encode(draw(matrix).encode()).decode()}"
        picture = f'<img src="{source}" style="max-width: none" alt="The table below, in colours">'
        # wider than a phone: it is moved within its own frame, with the keyboard too
        st.html(f'<div tabindex="0" style="overflow-x: auto">{picture}</div>')
        with st.expander("As a table"):
            st.table([{"self": who, **in_table(row, matrix.traits)} for who, row in matrix.cells.items()])
            st.caption(f"{matrix.asked}.")
    if again:
        st.caption("Asked otherwise than selves are asked today, and so left out. In a terminal:")
        st.code(again, language=None)
    if gone:
        st.caption(f"Asked once, and so left out; {gone}.")


def in_table(row: Mapping[str, Cell], traits: Sequence[str]) -> dict[str, str]:
    """Return what was found of one self, by trait, with its interval (pure)."""
    return {name: f"{row[name].figure} {row[name].mark}".strip() if name in row else "" for name in traits}


def in_words(result: Result) -> str:
    """Return a result with its interval, and what guessing scores (pure)."""
    if result.chance is None:
        return f"{result.score:.2f} ({result.low:.2f} to {result.high:.2f})"
    return f"{result.score:.0%} ({result.low:.0%} to {result.high:.0%}; chance {result.chance:.0%})"


def draw_family(ages: list[Age]) -> None:
    """Draw which lineage branched off from which."""
    st.graphviz_chart(kinship(ages), width="content")
    for parent, child in branches(ages):
        st.caption(f"{child} branched off from {parent}.")


def draw_space(house: House, ages: list[Age]) -> None:
    """Draw what every age takes, and where it is."""
    found = space(house.checkpoints, ages)
    total = sum(row.bytes for row in found if row.where.startswith("here"))
    st.caption(
        f"{total / 1e6:,.0f} MB here in all. `selves ages prune` gives space back, and `selves ages fetch` "
        "brings back what is on the Hub."
    )
    with st.expander("Every age"):
        st.table([{"age": r.address, "MB": f"{r.bytes / 1e6:,.1f}", "where": r.where} for r in found])
