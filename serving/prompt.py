"""What a self is given to read before it speaks, and what of its answer is its own line. Pure.

A transcript self (a base age) continues plain text, in the format it was trained on:

    <Ash> Hi! How are you today?
    <Ember>

A chat self gets messages for its template: who it is, its own lines as assistant, all others' as user.
Both windows are small, so the newest lines win.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from selves.cast import Persona
from selves.speech import ChatMessage, Prompt, Sampling

if TYPE_CHECKING:
    from serving.voice import ModelInfo

Count = Callable[[str | tuple[ChatMessage, ...]], int]
"""Tokens that a text takes, or a chat through the model's template."""

NAME_CHARACTERS = 32
NAMES_FROM_PARAMETERS = 300_000_000
"""SmolLM2-135M answers a group sensibly only without names in front of its lines."""
FRAME_TOKENS, TURN_TOKENS = 512, 16
"""What a chat template may add at most, around everything and around each turn."""
SILENCE = "…"
"""Stands for another's turn where a chat template needs one and nobody has spoken."""


class Line(NamedTuple):
    """One thing that was said in a scene."""

    speaker: str
    text: str
    message_id: int | None = None
    """The stored message, if it is stored."""
    human: bool = False
    """Whether a person wrote it."""


def make_sampling(
    info: ModelInfo, persona: Persona, names: Collection[str] = (), *, seed: int = 0
) -> Sampling:
    """Return how this persona's next line is drawn, with the stop strings that end a line of its form."""
    others = [plain_name(name) for name in names if plain_name(name) != plain_name(persona.name)]
    if info.form == "transcript":
        stop = ("\n", *(f"<{name}>" for name in dict.fromkeys(others)))
    else:
        stop = tuple(f"\n{name}:" for name in dict.fromkeys(others))
    return Sampling(**persona.sampling.model_dump(), stop=stop, seed=seed)


def build_prompt(
    info: ModelInfo,
    persona: Persona,
    lines: Sequence[Line],
    *,
    premise: str = "",
    names: Collection[str] = (),
    count: Count,
    sampling: Sampling,
) -> Prompt:
    """Return the prompt for `persona`'s next line: as many of the newest lines as its window holds.

    Room for the answer (`sampling.max_tokens`, at most half of the window) stays free. The last line is
    always in it, without its beginning if it must be; the premise gives way before the last line does.
    `names` are all who are present. `count` is called with whole prompts: not at all when everything fits by
    its length alone, once when everything fits, else O(log(lines)) times.
    """
    budget = info.context_tokens - min(sampling.max_tokens, info.context_tokens // 2)
    lines = [line._replace(text=one_line(line.text)) for line in lines]
    present = {plain_name(name) for name in (*names, persona.name, *(line.speaker for line in lines))}
    named = bool(persona.about) and len(present) > 2 and _reads_names(info)

    def render(chosen: Sequence[Line], premise: str) -> Prompt:
        body = (
            {"text": _transcript(persona, chosen, premise)}
            if info.form == "transcript"
            else {"messages": _messages(persona, chosen, premise, named=named)}
        )
        return Prompt(
            form=info.form,
            message_ids=tuple(line.message_id for line in chosen if line.message_id is not None),
            has_human=any(line.human for line in chosen),
            **body,
        )

    def fits(chosen: Sequence[Line], premise: str) -> bool:
        prompt = render(chosen, premise)
        if most_tokens(prompt) <= budget:
            return True
        return count(prompt.text if info.form == "transcript" else prompt.messages) <= budget

    premise = one_line(premise)
    if fits(lines, premise):
        return render(lines, premise)
    if premise and not fits(lines[-1:], premise):
        premise = ""
    if not lines:
        return render((), premise)
    kept = _largest(len(lines), lambda n: fits(lines[-n:], premise))
    if kept:
        return render(lines[-kept:], premise)
    last = lines[-1]

    def tail(characters: int) -> list[Line]:
        return [last._replace(text=last.text[len(last.text) - characters :].lstrip())]

    return render(tail(_largest(len(last.text), lambda n: fits(tail(n), ""))), "")


def most_tokens(prompt: Prompt) -> int:
    """Return how many tokens a prompt can take at most: no token of text is shorter than a byte."""
    size = len(prompt.text.encode("utf-8", "replace")) + sum(
        len(message.content.encode("utf-8", "replace")) + TURN_TOKENS for message in prompt.messages
    )
    return size + (FRAME_TOKENS if prompt.messages else TURN_TOKENS)


def clean(text: str, persona_name: str, names: Collection[str] = ()) -> str:
    """Return what of a generation is the persona's own line, on one line; "" is silence.

    Cut at the first line that another begins (`<Anyone>`, or `Name:` for those present), and where another's
    transcript mark stands inside a line. The persona's own prefixes, control characters and needless white
    space go. Cleaning twice is cleaning once.
    """
    own = plain_name(persona_name).casefold()
    others = {plain_name(name).casefold() for name in names} - {own}
    while (cleaned := _clean_once(text, own, others)) != text:
        text = cleaned
    return text


def one_line(text: str) -> str:
    """Return a text as it may stand in a prompt: one line, no control characters, no special tokens.

    Nobody can begin another's line with a line break, or end their turn with a token that a tokenizer would
    read as one (`<|end|>`).
    """
    return _collapse(text).replace("<|", "< |")


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """Return a speaker's name as it may stand in `<Name>`; people may be called anything."""
    return _collapse(re.sub(r"[<>|:]", " ", name))[:NAME_CHARACTERS].strip() or "Someone"


def _collapse(text: str) -> str:
    """Remove control, format, surrogate and unassigned characters; make all white space single spaces."""
    if text.isprintable():
        return re.sub(" +", " ", text).strip()
    spaced = (" " if character.isspace() else character for character in text)
    # joiners hold emoji and some scripts together, all other format characters only hide or turn text
    kept = (c for c in spaced if c in "\u200c\u200d" or not unicodedata.category(c).startswith("C"))
    return re.sub(" +", " ", "".join(kept)).strip()


def _transcript(persona: Persona, lines: Sequence[Line], premise: str) -> str:
    said = "".join(f"<{plain_name(line.speaker)}> {line.text}\n" for line in lines)
    return f"{premise}\n{said}<{persona.name}>" if premise else f"{said}<{persona.name}>"


def _reads_names(info: ModelInfo) -> bool:
    """Whether a chat self of this size reads `Name: text` as who speaks, and does not carry on with it."""
    return info.parameters is None or info.parameters >= NAMES_FROM_PARAMETERS


def _messages(
    persona: Persona, lines: Sequence[Line], premise: str, *, named: bool
) -> tuple[ChatMessage, ...]:
    """Return alternating user and assistant messages, a user's last, after a system message if any."""
    system = " ".join(filter(None, (persona.about.strip(), premise))) if persona.about else ""
    turns: list[tuple[Literal["user", "assistant"], str]] = []
    for line in lines:
        role: Literal["user", "assistant"] = (
            "assistant" if plain_name(line.speaker) == plain_name(persona.name) else "user"
        )
        text = f"{plain_name(line.speaker)}: {line.text}" if named and role == "user" else line.text
        if turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]}\n{text}")
        else:
            turns.append((role, text))
    told = "" if persona.about else premise
    if not turns or turns[0][0] == "assistant":
        turns.insert(0, ("user", told or SILENCE))
    elif told:
        turns[0] = ("user", f"{told}\n{turns[0][1]}")
    if turns[-1][0] == "assistant":
        turns.append(("user", SILENCE))
    messages = [ChatMessage(role=role, content=text) for role, text in turns]
    return (ChatMessage(role="system", content=system), *messages) if system else tuple(messages)


def _largest(limit: int, fits: Callable[[int], bool]) -> int:
    """Return the largest n in 1..limit for which `fits(n)`, 0 if none; `fits` must be monotone."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _clean_once(text: str, own: str, others: Collection[str]) -> str:
    """As `clean`, once; names are casefolded."""
    # no pattern is made of the names: there may be many, and others in every turn
    marks = re.finditer(r"<([^<>\n]*)>", text)
    end = next((mark.start() for mark in marks if mark[1].casefold() in others), None)
    kept: list[str] = []
    for line in text[:end].splitlines():
        rest = _collapse(line)
        while (name := _prefix(rest)) and name.casefold() == own:
            rest = rest[len(name) + (2 if rest[0] == "<" else 1) :].lstrip()
        if re.match(r"<[^\W_][^<>\n]{0,31}>", rest) or _prefix(rest).casefold() in others:
            break
        kept.append(rest)
    return _collapse(" ".join(kept))


def _prefix(line: str) -> str:
    """The name in `<Name>` or `Name:` that a line begins with, if it begins like that."""
    match = re.match(r"<([^<>]*)>|([^:<]*):", line)
    return (match[1] or match[2] or "") if match else ""
