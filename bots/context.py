"""What a self reads before it answers on Discord: the newest lines, the chain of replies, and what a thread
branched off from.
"""

from __future__ import annotations

from collections.abc import Sequence

from bots.lines import standing
from memory.posted import asked_in, messages_until
from memory.store import Store
from memory.types import Message

CHAIN = 10
"""So many messages of a chain of replies are read, however old they are."""
BRANCHES = 3
"""A thread in a thread in a thread: no farther back."""


async def lines_before(
    store: Store, message_id: int, most: int, *, until: bool = False
) -> tuple[Message, list[Message]]:
    """Return a message and what is read to answer it, oldest first: at most `most` lines, and the chain of
    replies.

    The lines end with the newest of all, or with the message itself (`until`); it is among them. Where the
    scene began at a message (a thread, a fork) and is short, what was said up to there comes before it.
    """
    asked, lines, scene = await asked_in(store, message_id, most, until=until)
    for _ in range(BRANCHES):
        branch = scene.from_message_id
        if branch is None or len(lines) >= most:
            break
        origin = await store.message(branch)
        lines = [*await messages_until(store, origin, most - len(lines)), *lines]
        scene = await store.scene(origin.scene_id)
    chain = await _chain(store, asked, {line.id for line in lines})
    # a refused answer must not displace the one that does stand there
    return asked, [*standing(chain), *newest_answers(standing(lines))]


async def _chain(store: Store, asked: Message, there: set[int]) -> list[Message]:
    """Return the messages that `asked` replies to, and those reply to, as far as they are not there."""
    found: list[Message] = [] if asked.id in there else [asked]
    at = asked
    for _ in range(CHAIN):
        if at.reply_to is None:
            break
        at = await store.message(at.reply_to)
        if at.id not in there:
            found.append(at)
    return found[::-1]


def newest_answers(lines: Sequence[Message]) -> list[Message]:
    """Leave out what a self said to a message that it answered anew."""
    newest = {(m.speaker, m.reply_to): m.id for m in lines if m.address and m.reply_to is not None}
    return [
        m
        for m in lines
        if not (m.address and m.reply_to is not None) or newest[m.speaker, m.reply_to] == m.id
    ]
