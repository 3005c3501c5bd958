"""One prompt, n ages: their answers stream side by side, from random weights to the newest self.

Workers only produce, into one queue; this script's thread alone draws, at most twelve times a second. What
was said is held in the session before it is drawn, so pressing Stop, or anything else, loses nothing.
"""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass, field

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.chorus import Answered, Event, Finished, Piece, Question, Trouble, choose_ages, sing
from app.common import all_ages, background, page, serving_url, show_error
from memory.show import visible
from selves.errors import SelvesError
from selves.lineage import Age
from selves.settings import House
from selves.speech import Sampling

REDRAW_S = 1 / 12
SETTLE_S = 3.0
"""How long an answer that was stopped may take to be kept."""
WAITING = "…"
IN_A_ROW = 4
"""Columns beside each other; more ages go into another row."""


@dataclass
class Answer:
    """What one age has said so far."""

    text: str = ""
    status: str = WAITING


@dataclass
class Answers:
    """One question and what came of it; lives in the session and is changed while it comes."""

    question: Question
    by_age: dict[str, Answer] = field(init=False)
    error: SelvesError | None = None
    scene_id: int | None = None
    running: bool = True
    events: queue.Queue[Event] = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        self.by_age = {address: Answer() for address in self.question.addresses}

    def take(self, event: Event) -> None:
        """Note one thing that happened."""
        match event:
            case Piece(address, text):
                self.by_age[address].text = text
            case Answered(utterance):
                answer = self.by_age[utterance.address]
                answer.text = utterance.text
                tokens = len(utterance.token_ids)
                answer.status = utterance.error or f"{tokens} tokens in {utterance.duration_s:.1f} s"
            case Trouble(None, error):
                self.error = error
            case Trouble(str() as address, error):
                self.by_age[address].status = f"{error.problem}. {error.fix}"
            case Finished(scene_id):
                self.scene_id, self.running = scene_id, False


@page
def side_by_side(house: House) -> None:
    """Draw the page."""
    st.title("One prompt, n ages", anchor=False)
    st.caption(
        "The same beginning, given to every age you choose. Base ages continue it, chat ages answer it."
    )
    question = ask(all_ages(house))
    if question is not None:
        listen(house, question)
    elif "answers" in st.session_state:
        answers: Answers = st.session_state["answers"]
        settle(answers)
        draw(answers, columns(answers.question.addresses))
        draw_outcome(answers)


def ask(ages: list[Age]) -> Question | None:
    """Draw the form; return the question when it has just been asked."""
    known = [age.card.address for age in ages]
    measured = {age.card.address: age.card.bits_per_byte for age in ages}

    def label(address: str) -> str:
        bits_per_byte = measured[address]
        return address if bits_per_byte is None else f"{address} · {bits_per_byte:.2f} bits per byte"

    with st.form("question", enter_to_submit=False):
        chosen = st.multiselect("Ages", known, choose_ages(ages), format_func=label, key="ages")
        prompt = st.text_area("Prompt", "When I grow up, I", height=80, max_chars=4000, key="prompt")
        seed_at, temperature_at, tokens_at = st.columns(3)
        seed = seed_at.number_input(
            "Seed", 0, 2**31 - 1, 1, key="seed", help="The same seed, the same words."
        )
        temperature = temperature_at.slider(
            "Temperature", 0.0, 2.0, 0.8, 0.05, key="temperature", help="0 always takes the likeliest token."
        )
        max_tokens = tokens_at.slider("At most, tokens", 8, 512, 64, 8, key="max_tokens")
        asked = st.form_submit_button("Ask them", type="primary", key="ask")
    if not asked:
        return None
    if not chosen or not prompt.strip():
        st.warning("Choose at least one age, and write a prompt for it.")
        return None
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, seed=int(seed))
    return Question(prompt=prompt, addresses=tuple(chosen), sampling=sampling)


def listen(house: House, question: Question) -> None:
    """Draw the answers as they come. Whatever ends this script ends them too."""
    answers = st.session_state["answers"] = Answers(question)
    stop_at = st.empty()
    stop_at.button("Stop", key="stop", icon=":material/stop_circle:")
    places = columns(question.addresses)
    work = background().start(
        sing(serving_url(house), house.api_key, house.database_url, question, answers.events.put)
    )
    try:
        while answers.running:
            take_for(answers, REDRAW_S)
            draw(answers, places)
    finally:
        work.cancel()
    stop_at.empty()
    draw_outcome(answers)


def take_for(answers: Answers, duration_s: float) -> None:
    """Take what comes within a time, or until nothing more comes."""
    until = time.monotonic() + duration_s
    while answers.running and (left := until - time.monotonic()) > 0:
        try:
            answers.take(answers.events.get(timeout=left))
        except queue.Empty:
            return


def settle(answers: Answers) -> None:
    """Take what came after Stop, or another click, had ended the script that listened."""
    take_for(answers, SETTLE_S)
    answers.running = False
    for answer in answers.by_age.values():
        if answer.status == WAITING:
            answer.status = "stopped"


def columns(addresses: tuple[str, ...]) -> dict[str, tuple[DeltaGenerator, DeltaGenerator]]:
    """Return for each age where its words go, and below them its status."""
    places = {}
    for start in range(0, len(addresses), IN_A_ROW):
        row = addresses[start : start + IN_A_ROW]
        for address, column in zip(row, st.columns(len(row), border=True), strict=True):
            with column:
                st.markdown(f"**{address}**")  # an address holds nothing that Markdown knows
                places[address] = (st.empty(), st.empty())
    return places


def draw(answers: Answers, places: dict[str, tuple[DeltaGenerator, DeltaGenerator]]) -> None:
    """Show how far everybody is. Model text is text: never Markdown."""
    for address, (words, status) in places.items():
        answer = answers.by_age[address]
        words.text(visible(answer.text))
        status.text(answer.status)


def draw_outcome(answers: Answers) -> None:
    """Say whether it was kept, or what went wrong."""
    if answers.error is not None:
        show_error(answers.error)
    if answers.scene_id is not None:
        st.caption(f"Kept as scene {answers.scene_id}: the reading room shows it again.")
