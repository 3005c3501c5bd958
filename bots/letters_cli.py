"""`selves scene letters`: what went to another age, and the answers of those who are there by now."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from selves.cast import Cast
from selves.errors import UsageError
from selves.settings import House

if TYPE_CHECKING:
    from bots.post_office import Delivery
    from memory.store import Store

log = logging.getLogger("selves.letters")


async def letters(house: House, cast: Cast, deliver: int | None, *, as_json: bool) -> int:
    """List the letters, or with `deliver` (a letter's number, 0: all) have them answered; the exit code."""
    from bots.post_office import deliveries
    from memory.show import to_json
    from memory.store import open_store
    from selves.lineage import list_ages

    async with open_store(house.database_url) as store:
        for age in list_ages(house.checkpoints):
            await store.register_age(age)
        found = await deliveries(store)
        if deliver is not None:
            await answer_all(house, cast, store, _chosen(found, deliver))
            found = await deliveries(store)
    if as_json:
        entries = [
            {
                "letter": d.letter.id,
                "from": d.letter.address,
                "to": d.to,
                "reader": d.reader,
                "state": state_of(d),
                "answer_scene": d.answer.id if d.answer else None,
                "text": d.letter.text,
            }
            for d in found
        ]
        print(to_json(entries))
    elif deliver is None:
        if not found:
            print('there are no letters to other ages yet; a scene of kind "letter" with `to` writes one')
        for d in found:
            where = f" at {d.reader}" if d.reader and d.to == "future" else ""
            print(f"{d.letter.id:5}  {d.letter.address} to {d.to}{where}: {state_of(d)}")
    return 0


def _chosen(found: Sequence[Delivery], number: int) -> list[Delivery]:
    """Return the letters to deliver. Raises UsageError for one that cannot be."""
    if not number:
        return [d for d in found if d.reader and state_of(d) != "answered"]
    for d in found:
        if d.letter.id == number:
            if d.reader is None:
                raise UsageError(
                    f"letter {number} goes to {d.to}, and that age is not there yet",
                    "train on: it is delivered when the age is registered",
                )
            return [d]
    raise UsageError(f"there is no letter {number}", "`selves scene letters` lists them")


async def answer_all(house: House, cast: Cast, store: Store, chosen: Sequence[Delivery]) -> None:
    from bots.post_office import answer_of, reader_in
    from bots.scene import find_voices, play
    from bots.terminal import TerminalChannel
    from serving.address import serving_address
    from serving.voice import Voice

    if not chosen:
        log.info("no letter has arrived that is not answered")
        return
    async with (
        serving_address(house, cast, on_wait=log.info) as url,
        Voice(url, house.api_key) as voice,
    ):
        for delivery in chosen:
            assert delivery.reader is not None
            reader = reader_in(cast, delivery.reader)
            everybody = cast.model_copy(update={"persona": (*cast.persona, reader)})
            channel = TerminalChannel([reader])
            await find_voices(voice, [reader])
            spec = answer_of(delivery, reader)
            await store.begin_scene(
                spec, place=channel.place, key=delivery.key, from_message_id=delivery.letter.id
            )
            channel.open(spec, [reader], [delivery.letter])
            played = await play(store, voice, channel, everybody, spec, key=delivery.key, age_restricted=True)
            channel.close(played.stop_reason)


def state_of(delivery: Delivery) -> str:
    if delivery.answer is not None and delivery.answer.status == "ended":
        return "answered" if delivery.answer.stop_reason == "answered" else "read, and not answered"
    return "waits to be answered" if delivery.reader else "waits for that age"
