"""The form of one prompt and n ages: whom to ask, what, and how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.chorus import Question, choose_ages
from app.link import Show, View
from selves.lineage import Age
from selves.speech import Sampling

DEFAULTS = {"how": "columns", "prompt": "When I grow up, I", "seed": 1, "temperature": 0.8, "max_tokens": 64}
LIFE_AT_MOST = 24
"""Of a longer life so many ages are asked, spread over it."""
WAYS: dict[Show, str] = {"columns": "ages side by side", "life": "one life, through time"}


def ask(ages: Sequence[Age], linked: View | None) -> View | None:
    """Draw the form, filled as a link says; return the view when it has just been asked for."""
    known = [age.card.address for age in ages]
    if linked is not None and "prompt" not in st.session_state:
        fill(linked, known)
    for key, value in DEFAULTS.items():
        st.session_state.setdefault(key, value)
    how = st.segmented_control(
        "Whom to ask", list(WAYS), format_func=WAYS.__getitem__, key="how", required=True
    )
    with st.form("question", enter_to_submit=False):
        addresses = whole_life(ages) if how == "life" else side_by_side(ages, known)
        prompt = st.text_area("Prompt", height=80, max_chars=4000, key="prompt")
        seed_at, temperature_at, tokens_at = st.columns(3)
        seed = seed_at.number_input("Seed", 0, 2**31 - 1, key="seed", help="The same seed, the same words.")
        temperature = temperature_at.slider(
            "Temperature", 0.0, 2.0, step=0.05, key="temperature", help="0 always takes the likeliest token."
        )
        max_tokens = tokens_at.slider("At most, tokens", 8, 512, step=8, key="max_tokens")
        if how == "columns":
            st.toggle("Blind: hide who says what until I have voted", key="blind")
        asked = st.form_submit_button("Ask them", type="primary", key="ask")
    if not asked:
        return None
    if not addresses or not prompt.strip():
        st.warning("Choose at least one age, and write a prompt for it.")
        return None
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, seed=int(seed))
    question = Question(prompt=prompt, addresses=tuple(addresses), sampling=sampling)
    return View(question=question, show="life" if how == "life" else "columns")


def side_by_side(ages: Sequence[Age], known: list[str]) -> list[str]:
    """Draw the choice of ages."""
    measured = {age.card.address: age.card.bits_per_byte for age in ages}

    def label(address: str) -> str:
        bits_per_byte = measured[address]
        return address if bits_per_byte is None else f"{address} · {bits_per_byte:.2f} bits per byte"

    chosen = st.session_state.get("ages", choose_ages(ages))
    # an age may have vanished since it was chosen
    st.session_state["ages"] = [address for address in chosen if address in measured]
    return st.multiselect("Ages", known, format_func=label, key="ages")


def whole_life(ages: Sequence[Age]) -> list[str]:
    """Draw the choice of a lineage, and return ages of all its life."""
    lives: dict[str, list[str]] = {}
    for age in ages:
        lives.setdefault(age.address.lineage, []).append(age.card.address)
    lineage = st.selectbox(
        "Lineage",
        sorted(lives, key=lambda name: -len(lives[name])),
        format_func=lambda name: f"{name} · {len(lives[name])} ages",
        key="life_of",
    )
    return spread(lives[lineage], LIFE_AT_MOST)


def spread(life: Sequence[str], most: int) -> list[str]:
    """Return at most so many of a life's ages, first and last among them, evenly spread (pure)."""
    if len(life) <= most:
        return list(life)
    return [life[round(n * (len(life) - 1) / (most - 1))] for n in range(most)]


def fill(view: View, known: Sequence[str]) -> None:
    """Fill the form as a link says."""
    question, sampling = view.question, view.question.sampling
    st.session_state.update(
        how=view.show,
        ages=[address for address in question.addresses if address in known],
        prompt=question.prompt,
        seed=min(sampling.seed, 2**31 - 1),
        temperature=sampling.temperature,
        max_tokens=max(8, min(512, round(sampling.max_tokens / 8) * 8)),
    )
    if view.show == "life":
        st.session_state["life_of"] = question.addresses[0].partition("@")[0]
