"""What one row of post-training data is (pure): messages of a prompt, and what is learned of the answer.

    sft     prompt, completion            or messages, or turns, or prompt and completion as plain text
    dpo     prompt, chosen, rejected; so also reward
    kto     prompt, completion, label
    grpo    prompt, and any other columns, which the rewards are given
    sdft    prompt, privileged_context: a text that the base reads beside the prompt

A column `group` says which rows are held out together: what is known of one is known of the others. The turns
of one conversation are, and so are conversations that begin with the same words.

Rows come from anywhere, so each is looked at before training begins, and what is wrong is named with its
place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from selves.errors import CorpusError
from selves.files import sha256_text
from selves.lineage import texts_in
from training.post.recipe import BY_REWARD, Method

Row = dict[str, Any]
Message = dict[str, str]
ROLES = ("system", "user", "assistant")
LEARNED: dict[str, tuple[str, ...]] = {
    "sft": ("completion",),
    "dpo": ("chosen", "rejected"),
    "reward": ("chosen", "rejected"),
    "kto": ("completion",),
}
"""The columns that hold answers."""
BESIDES: dict[str, tuple[str, ...]] = {"kto": ("label",), "sdft": ("privileged_context",)}
"""The columns that a method reads besides prompts and answers."""


def read_rows(method: Method, raw: Any, where: str) -> list[Row]:
    """Return the rows that one raw row makes; conversations make one for each of the self's turns.

    Raises CorpusError saying where, what is wrong, and what a row looks like.
    """
    fix = f"a row for {method} has {', '.join(_columns(method))}; lists of role and content, or plain text"
    if not isinstance(raw, Mapping):
        raise CorpusError(f"{where}: a row is a JSON object, not {type(raw).__name__}", fix)
    try:
        if method == "sft" and "prompt" not in raw:
            return _conversation(raw)
        row: Row = {"prompt": _prompt(raw["prompt"])}
        for name in LEARNED.get(method, ()):
            row[name] = _answer(raw[name])
        if method == "kto":
            if not isinstance(raw["label"], bool):
                raise ValueError(f"label is {raw['label']!r}, not true or false")
            row["label"] = raw["label"]
        if "chosen" in row and row["chosen"] == row["rejected"]:
            raise ValueError("chosen and rejected are the same")
        if method == "sdft":
            if not isinstance(raw["privileged_context"], str) or not raw["privileged_context"].strip():
                raise ValueError("privileged_context is a text that the base reads beside the prompt")
            if row["prompt"][-1]["role"] != "user":
                raise ValueError("prompt ends with the user's turn")
        row |= {name: value for name, value in raw.items() if name not in row}
    except KeyError as error:
        raise CorpusError(
            f"{where}: {error} is missing; there are {', '.join(raw) or 'none'}", fix
        ) from error
    except (TypeError, ValueError) as error:
        raise CorpusError(f"{where}: {error}", fix) from error
    return [row]


def learned_of(method: Method, row: Row) -> Row:
    """Return of a row what a method reads; rewards may read all of it."""
    if method in BY_REWARD:
        return row
    columns = _columns(method)
    return {name: value for name, value in row.items() if name in columns}


def fingerprint(rows: Iterable[Row]) -> str:
    """Return the sha256 of rows as JSON."""
    return sha256_text("\n".join(json.dumps(row, sort_keys=True, default=str) for row in rows))


def without_doubles(rows: Iterable[Row]) -> list[Row]:
    """Return rows in order, each once."""
    return list({json.dumps(row, sort_keys=True, default=str): row for row in rows}.values())


def hold_out(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Part rows into those to learn and those to measure with; no group is in both, or where none, no prompt.

    Which are held out is decided by a hash of each, so more rows do not move the old ones.
    """
    bar = round(share * 2**32)
    held = [int(sha256_text(f"{seed} {together(row)}")[:8], 16) < bar for row in rows]
    return (
        [row for row, out in zip(rows, held, strict=True) if not out],
        [row for row, out in zip(rows, held, strict=True) if out],
    )


def together(row: Row) -> str:
    """Return what rows that are held out together have in common: their group, or where none, the prompt."""
    return str(row["group"]) if row.get("group") is not None else said(row["prompt"])


def decontaminated(rows: Iterable[Row], asked: Iterable[str]) -> list[Row]:
    """Return rows of which no text holds one of the probes' questions, of 12 characters or more, in whatever
    case and however it is spaced.
    """
    questions = {plain for question in asked if len(plain := _plain(question)) >= 12}

    def is_clean(row: Row) -> bool:
        text = _plain(" ".join(texts_in(row)))
        return not any(question in text for question in questions)

    return [row for row in rows if is_clean(row)]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def said(messages: Sequence[Message]) -> str:
    return "\n".join(message["content"] for message in messages)


def text_of(row: Row) -> str:
    """Return all that is said in a row."""
    return "\n".join(said(value) for value in row.values() if is_messages(value))


def is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "content" in value[0]


def _columns(method: Method) -> tuple[str, ...]:
    return ("prompt", *LEARNED.get(method, ()), *BESIDES.get(method, ()))


def _conversation(raw: Mapping[str, Any]) -> list[Row]:
    turns = raw.get("messages", raw.get("turns"))
    if turns is None:
        raise KeyError("prompt")
    messages = _messages(turns, "messages")
    group = raw.get("group") or said(list(takewhile(lambda one: one["role"] != "assistant", messages)))
    rows = [
        {"prompt": messages[:at], "completion": [message], "group": group}
        for at, message in enumerate(messages)
        if at and message["role"] == "assistant" and messages[at - 1]["role"] != "assistant"
    ]
    if not rows:
        raise ValueError("nobody answers in it: there is no turn of the assistant after another's")
    return rows


def _prompt(value: Any) -> list[Message]:
    messages = [{"role": "user", "content": value}] if isinstance(value, str) else _messages(value, "prompt")
    if messages[-1]["role"] == "assistant":
        raise ValueError("prompt ends with the assistant's turn, so nobody is to answer")
    return messages


def _answer(value: Any) -> list[Message]:
    messages = (
        [{"role": "assistant", "content": value}] if isinstance(value, str) else _messages(value, "answer")
    )
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise ValueError("an answer is one turn of the assistant")
    if not messages[0]["content"].strip():
        raise ValueError("an answer is empty")
    return messages


def _messages(value: Any, name: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name} is {value!r:.40}, not a list of messages")
    found = []
    for message in value:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise ValueError(f"{message!r:.60} is not a message with role and content")
        if message.get("role") not in ROLES:
            raise ValueError(f"role {message.get('role')!r} is none of {', '.join(ROLES)}")
        found.append({"role": message["role"], "content": message["content"]})
    return found
