"""Samples and scenes as rows of a data set (pure): TRL's conversational columns, and whole transcripts.

    dpo            prompt, chosen, rejected
    kto            prompt, completion, label
    sft            prompt, completion
    grpo-prompts   prompt
    transcript     scene, kind, premise, started_at, turns: [speaker, text], ...

A prompt, a completion and the two of a pair are lists of {"role", "content"}. A base age reads plain text,
so its prompt is taken apart again: its own lines are the assistant's, all others' the user's, and what
stands before them is the system's. Its chat template makes the same lines of that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from memory.types import Message, Scene
from selves.speech import Form, Prompt

Format = Literal["dpo", "kto", "sft", "grpo-prompts", "transcript", "dce"]
OF_SCENES: tuple[Format, ...] = ("transcript", "dce")
"""Formats whose rows are whole scenes; the others are for training, and made of samples."""
Row = dict[str, Any]
Said = dict[str, str]
"""{"role", "content"}."""

SILENCE = "…"
"""Stands for another's turn where nobody has spoken, as in what selves read (`serving/prompt.py`)."""
SOMEBODY = "somebody"
"""Who says a line whose author may not be shown."""
_LINE = re.compile(r"<([^<>|:\n]{1,32})>(?: (.*))?")
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


def readable(text: str) -> str:
    """Return a text as any program can read it: half characters, which UTF-8 cannot hold, become U+FFFD."""
    return _LONE_SURROGATES.sub("\ufffd", text)


def to_line(row: Mapping[str, Any]) -> bytes:
    """Return a row as a line of JSON, the same bytes every time."""
    return (readable(json.dumps(row, ensure_ascii=False)) + "\n").encode()


def conversation(prompt: Prompt) -> list[Said] | None:
    """Return a prompt as messages that end with the user's; None for a text that is no conversation."""
    if prompt.form == "chat":
        return [{"role": message.role, "content": message.content} for message in prompt.messages] or None
    *before, last = prompt.text.split("\n")
    asked = _LINE.fullmatch(last)
    if asked is None or asked[2]:
        return None
    own = asked[1]
    lines = [_LINE.fullmatch(line) for line in before]
    first = next((number for number, line in enumerate(lines) if line), len(lines))
    told = " ".join(filter(None, before[:first]))
    spoken = [(line[1], line[2] or "") for line in lines[first:] if line]
    several = len({speaker for speaker, _ in spoken if speaker != own}) > 1
    said: list[Said] = []
    for speaker, text in spoken:
        role = "assistant" if speaker == own else "user"
        text = f"{speaker}: {text}" if several and role == "user" else text
        if said and said[-1]["role"] == role:
            said[-1]["content"] += f"\n{text}"
        else:
            said.append({"role": role, "content": text})
    if not said or said[0]["role"] == "assistant":
        said.insert(0, {"role": "user", "content": SILENCE})
    if said[-1]["role"] == "assistant":
        said.append({"role": "user", "content": SILENCE})
    return [{"role": "system", "content": told}, *said] if told else said


def completion(form: Form, text: str) -> list[Said]:
    """Return a sample as the assistant's message: as it was drawn, not the line as it was posted."""
    return [{"role": "assistant", "content": text.strip() if form == "transcript" else text}]


def dpo_row(prompt: list[Said], chosen: list[Said], rejected: list[Said]) -> Row:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def kto_row(prompt: list[Said], said: list[Said], *, wanted: bool) -> Row:
    return {"prompt": prompt, "completion": said, "label": wanted}


def sft_row(prompt: list[Said], said: list[Said]) -> Row:
    return {"prompt": prompt, "completion": said}


def grpo_row(prompt: list[Said]) -> Row:
    return {"prompt": prompt}


def transcript_row(scene: Scene, lines: Sequence[Message | None]) -> Row:
    """Return a scene as one row; None is a line that may not be shown.

    `selves train` reads such rows as conversations.
    """
    return {
        "scene": scene.name,
        "kind": scene.kind,
        "premise": scene.premise,
        "started_at": scene.started_at.isoformat(),
        "turns": [[line.speaker, line.text] if line else [SOMEBODY, SILENCE] for line in lines],
    }


def prompt_words(prompt: list[Said]) -> str:
    """Return all that a prompt says, to compare it with others."""
    return "\n".join(message["content"] for message in prompt)


def readable_row(value: Any) -> Any:
    """Return a row whose texts any program can read."""
    match value:
        case str():
            return readable(value)
        case dict():
            return {name: readable_row(item) for name, item in value.items()}
        case list():
            return [readable_row(item) for item in value]
        case _:
            return value
