"""Letters between selves: how one is asked for, and what of the answer is the letter.

A self that can be told things (a chat self with an `about`) is asked for a letter. Any other is given a
transcript in which it has just begun one: in this house every age has learned how those go on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from memory.types import Message
from selves.cast import Cast, Persona
from selves.lineage import Address
from selves.speech import ChatMessage, Prompt, Sampling
from serving.prompt import one_line, plain_name
from serving.voice import ModelInfo, Voice

LETTERS = 2
"""One is written, one answers it."""
TRIES = 3
"""Turns that each letter may take until there is one."""
LONGER = 2
"""A letter may be this many times as long as a line in conversation, and is drawn as many times as often."""
FUTURE = "future"
"""To the next age of the writer's lineage."""
BEGUN = "I"
"""How the body of a letter begins on the page that is to be continued."""


class Page(NamedTuple):
    """A letter to be written: who writes it to whom, what they are told, and what it answers."""

    writer: Persona
    reader: Persona
    premise: str
    received: Message | None


def salutation(page: Page) -> str:
    """How every letter begins."""
    return f"Dear {page.reader.name},"


def render(info: ModelInfo, page: Page, received: str) -> Prompt:
    """Return the prompt for a letter that answers `received` (empty: it is the first)."""
    ids = (page.received.id,) if page.received and received else ()
    if is_told(info, page.writer):
        wrote = f"{page.reader.name} wrote you this letter:\n\n{received}\n\n" if received else ""
        what = "Write a short letter back" if received else f"Write a short letter to {page.reader.name}"
        asked = f'{page.premise}\n{wrote}{what}. Begin it with "{salutation(page)}".'.strip()
        messages = (
            ChatMessage(role="system", content=page.writer.about),
            ChatMessage(role="user", content=asked),
        )
        return Prompt(form="chat", messages=messages, message_ids=ids)
    writer, reader = plain_name(page.writer.name), plain_name(page.reader.name)
    before = one_line(received) or f"What do you want to tell me, {writer}?"
    premise = f"{one_line(page.premise)}\n" if page.premise else ""
    text = f"{premise}<{reader}> {before}\n<{writer}> {salutation(page)} {BEGUN}"
    return Prompt(form="transcript", text=text, message_ids=ids)


async def compose(voice: Voice, info: ModelInfo, page: Page, *, seed: int) -> tuple[Prompt, Sampling]:
    """Return the prompt for a letter and how to draw it. Raises EngineError.

    When the letter that is answered does not fit into the window, its end is left out.
    """
    most = min(page.writer.sampling.max_tokens * LONGER, info.context_tokens // 2)
    stop = () if is_told(info, page.writer) else ("\n<",)
    sampling = Sampling(
        **page.writer.sampling.model_dump(exclude={"max_tokens"}), max_tokens=most, stop=stop, seed=seed
    )
    received = _safe(page.received.text) if page.received else ""
    while True:
        prompt = render(info, page, received)
        given = prompt.text if prompt.form == "transcript" else prompt.messages
        if not received or await voice.count_tokens(info.address, given) <= info.context_tokens - most:
            return prompt, sampling
        received = received[: len(received) * 3 // 4].rstrip()


def read(info: ModelInfo, page: Page, text: str, finish: Callable[[str], str]) -> str:
    """Return the letter in a sample: its lines as they are, without control characters and empty stretches.

    It ends where a transcript goes on (`<Name>`). `finish` takes its body and returns it without a dangling
    end. The beginning that stood on the page is part of the letter; "" means that nothing was written.
    """
    begun = "" if is_told(info, page.writer) else BEGUN
    lines: list[str] = []
    for line in (begun + text if text.strip() else "").strip().splitlines():
        line = one_line(line)
        if re.match(r"<[^\W_][^<>]{0,31}>", line):
            break
        if line or (lines and lines[-1]):
            lines.append(line)
    body = finish("\n".join(lines).strip())
    return f"{salutation(page)}\n{body}" if body and begun else body


def worth(text: str) -> float:
    """Return what a letter gains by its length: a quarter of a nat for each of up to four sentences."""
    return 0.25 * min(4, len(re.findall(r"[.!?…](?=\s|$)", text)))


def is_told(info: ModelInfo, writer: Persona) -> bool:
    """Whether this self is asked in words, or given a page to continue."""
    return info.form == "chat" and bool(writer.about)


def name_of(address: str) -> str:
    """Return what an age is called that nobody in the cast is: `Ember chat 150`."""
    parsed = Address.parse(address)
    lineage = " ".join(part.capitalize() for part in parsed.lineage.split("-"))
    return f"{lineage[:16].strip()} {parsed.stage[:8]} {parsed.step}"


def addressee(cast: Cast, to: str, writer: Persona) -> Persona:
    """Return to whom a letter goes whose reader is not there yet: a future self, or an age."""
    if to == FUTURE:
        return Persona(name="future self", address=writer.address)
    known = next((p for p in cast.persona if p.address == to and p.name != writer.name), None)
    return known or Persona(name=name_of(to), address=to)


def _safe(text: str) -> str:
    """A letter as it may stand in another's prompt: without what a tokenizer would read as special."""
    return "\n".join(one_line(line) for line in text.splitlines())
