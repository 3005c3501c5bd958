"""Small real parts for the memory room's tests: what selves say, an age on disk, a clock set by hand."""

from __future__ import annotations

import multiprocessing
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from selves.cast import SceneSpec
from selves.lineage import Age, AgeCard
from selves.speech import ChatMessage, Prompt, Sampling, Utterance, Writing, WritingKind

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
SPEC = SceneSpec(name="meeting", cast=("Ash", "Ember"), premise="They meet.")

processes = multiprocessing.get_context("forkserver")
"""Other processes, real ones. The rooms are imported once, before the first of them is forked."""
processes.set_forkserver_preload(["memory.store", "tests.memory.workers"])


class Clock:
    """Stands still until it is set forward."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_days(self, days: float) -> datetime:
        self.now += timedelta(days=days)
        return self.now


def utterance(text: str = "Hello.", **changes: Any) -> Utterance:
    """What an engine gave for a prompt."""
    values: dict[str, Any] = {
        "address": "ember@base-000400",
        "weights_sha256": "a" * 64,
        "engine": "embedded",
        "engine_version": "0.1.0",
        "prompt": Prompt(form="transcript", text="<Ash> Hi!\n<Ember>"),
        "sampling": Sampling(seed=7, stop=("\n",)),
        "text": text,
        "token_ids": (5, 1, 9),
        "mean_logprob": -1.25,
        "started_at": NOON,
        "duration_s": 0.5,
    }
    return Utterance(**{**values, **changes})


def reading(*message_ids: int, text: str = "prompt", has_human: bool = True) -> Prompt:
    """A chat prompt made of stored messages."""
    content = ChatMessage(role="user", content=text)
    return Prompt(form="chat", messages=(content,), message_ids=message_ids, has_human=has_human)


def age(
    folder: Path,
    address: str = "ember@base-000400",
    *,
    weights: str = "a",
    kinds: tuple[WritingKind, ...] = (),
) -> Age:
    """An age on disk, as far as memory looks at one: its card, and its diary with one writing per kind."""
    card = AgeCard(
        address=address,
        created_at=NOON,
        form="transcript",
        architecture="Qwen3ForCausalLM",
        parameters=1000,
        context_tokens=256,
        train_loss=float("nan"),
        weights_sha256=weights * 64,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "age.json").write_text(card.model_dump_json())
    writings = [
        Writing(
            kind=kind,
            to="future" if kind == "letter" else None,
            utterance=utterance(f"A {kind} of {address}.", address=address, weights_sha256=weights * 64),
        )
        for kind in kinds
    ]
    (folder / "diary.jsonl").write_text("".join(f"{w.model_dump_json()}\n" for w in writings))
    return Age(card, folder)


def sqlite_bytes(url: str) -> bytes | None:
    """Everything that a SQLite database has on disk, its log included; None for another database."""
    path = make_url(url).database
    if not url.startswith("sqlite") or path is None:
        return None
    return b"".join(
        Path(f"{path}{end}").read_bytes() for end in ("", "-wal") if Path(f"{path}{end}").exists()
    )


def every_cell(url: str) -> str:
    """Every value of every table, as text."""
    with _connect(url) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1"
            if url.startswith("sqlite")
            else "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        ).fetchall()
        return repr(
            [connection.execute(f'SELECT * FROM "{name}" ORDER BY 1').fetchall() for (name,) in tables]
        )


def run_sql(url: str, statement: str) -> None:
    """Change a database behind the store's back."""
    with _connect(url) as connection:
        connection.execute(statement)


def _connect(url: str) -> Any:
    if url.startswith("sqlite"):
        return sqlite3.connect(make_url(url).database or "")
    import psycopg

    return psycopg.connect(url)
