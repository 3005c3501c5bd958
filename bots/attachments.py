"""Text files that people attach, as words of theirs. What is no text, or too long, is left out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiohttp
import discord

log = logging.getLogger("selves.bots")

MOST_BYTES = 64 << 10
MOST_FILES = 3
MOST_CHARACTERS = 8000
"""Of one file that are kept: no small self reads more."""
PATIENCE_S = 10.0
ENDINGS = (".txt", ".md", ".csv", ".json", ".jsonl", ".log", ".py", ".toml", ".yaml", ".yml", ".html", ".tex")


@dataclass(frozen=True)
class File:
    """A file that may be text."""

    name: str
    size: int
    url: str


def text_files(attachments: Sequence[discord.Attachment]) -> tuple[File, ...]:
    """Return those that say that they are text and are not too long."""
    return tuple(
        File(attachment.filename, attachment.size, attachment.url)
        for attachment in attachments
        if attachment.size <= MOST_BYTES and _is_text(attachment)
    )[:MOST_FILES]


def _is_text(attachment: discord.Attachment) -> bool:
    kind = (attachment.content_type or "").partition(";")[0]
    return kind.startswith("text/") or attachment.filename.lower().endswith(ENDINGS)


async def with_files(text: str, files: Sequence[File], fetch: Callable[[str], Awaitable[bytes]]) -> str:
    """Return a message's text and what its files say. A file that cannot be had is left out, and logged."""
    parts = [text] if text else []
    for file in files:
        try:
            async with asyncio.timeout(PATIENCE_S):
                body = await fetch(file.url)
        except (discord.HTTPException, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("an attached file could not be read: %s", error)
            continue
        if words := read(body):
            parts.append(f"[{file.name}]\n{words}")
    return "\n".join(parts)


def read(body: bytes) -> str:
    """Return the text in a file, cut where it is too long; "" when it is none."""
    if len(body) > MOST_BYTES or b"\0" in body:
        return ""
    try:
        text = body.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return ""
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
