"""Branches of a conversation: going on from any line, and saying a line again to keep the better one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

from app.chorus import PERSON
from app.votes import vote
from bots import filters
from bots.kinds import KINDS
from bots.lines import finish
from bots.purse import Purse
from memory.posted import messages_until
from memory.store import Store
from memory.types import Message, Scene
from selves.cast import Cast, SceneSpec
from selves.errors import UsageError
from selves.speech import Utterance, seed_from
from serving.prompt import clean
from serving.voice import Voice

PLACE = "web"
BRANCHES = 3
"""A fork of a fork of a fork: no farther back."""
REMEMBERED = 200
"""Of what was said before a fork, so many lines are heard."""


OWN = "own-premise"
"""What a scene is called whose premise and first line a person made up."""


class Branching(Store):
    """A store in which a scene that branched off begins with what was said before it.

    `told` is a person's line that selves are told before they speak, instead of hearing it.
    """

    def __init__(self, store: Store, told: Message | None = None) -> None:
        vars(self).update(vars(store))  # the same open store, seen another way
        self._told = told

    async def messages(self, scene_id: int, *, last: int | None = None) -> list[Message]:
        """Return a scene's messages in order, those before the branch first."""
        own = await super().messages(scene_id, last=last)
        if last is not None and len(own) >= last:
            return own
        found = [*await before(self, await super().scene(scene_id)), *own]
        if self._told is not None:
            found = [line for line in found if not (line.human and line.text == self._told.text)]
        return found if last is None else found[-last:]

    async def keep_turn(
        self, scene_id: int, *, utterances: Sequence[Utterance], **more: Any
    ) -> Message | None:
        """Keep a turn before it is posted; what its speaker was told is noted as read."""
        if self._told is not None:
            utterances = [_having_read(self._told, one) for one in utterances]
        return await super().keep_turn(scene_id, utterances=utterances, **more)

    async def scene(self, scene_id: int) -> Scene:
        """Return a scene as it is now; in a kind with parts, turns taken before the branch count too."""
        scene = await super().scene(scene_id)
        if KINDS[scene.spec.kind].order is None:
            return scene
        taken = sum(line.speaker in scene.spec.cast for line in await before(self, scene))
        return replace(scene, turns=scene.turns + taken)


def _having_read(told: Message, said: Utterance) -> Utterance:
    ids = (told.id, *said.prompt.message_ids)
    return said.model_copy(
        update={"prompt": said.prompt.model_copy(update={"message_ids": ids, "has_human": True})}
    )


async def begin_own(
    store: Store, spec: SceneSpec, *, key: str, from_message_id: int | None = None
) -> tuple[Scene, Branching]:
    """Begin a scene that a person made up, or find it; return it, and the store in which it plays.

    Its premise and first line are kept as that person's lines and nowhere else: sealed, and used for nothing
    that they do not allow.
    """
    bare = spec.model_copy(update={"premise": "", "opening": ""})
    scene = await store.begin_scene(bare, place=PLACE, key=key, from_message_id=from_message_id)
    lines = await Branching(store).messages(scene.id)
    told = next((line for line in lines if line.human and line.text == spec.premise), None)
    say = partial(store.say, scene.id, speaker=PERSON, origin="parlor")
    if told is None and spec.premise:
        told = await say(text=spec.premise)
    if not lines and spec.opening:
        await say(text=spec.opening)
    return scene, Branching(store, told)


async def before(store: Store, scene: Scene) -> list[Message]:
    """Return what was said before a scene branched off, oldest first; nothing if it did not."""
    lines: list[Message] = []
    for _ in range(BRANCHES):
        if scene.from_message_id is None:
            break
        origin = await store.message(scene.from_message_id)
        lines = [*await messages_until(store, origin, REMEMBERED), *lines]
        scene = await Store.scene(store, origin.scene_id)  # as it is, without what was before it
    return lines


class Again(NamedTuple):
    """A line that was said again: the former one, the new one, and the scene that goes on with it."""

    former: Message
    new: Message | None
    """None when nothing that can be posted came."""
    scene: Scene


async def say_again(store: Store, voice: Voice, cast: Cast, message_id: int, key: str) -> Again:
    """Draw a line once more from the same prompt, into a scene that branches off before it.

    Both lines stay. Raises UsageError when it cannot be said again, EngineError.
    """
    found = await store.provenance(message_id)
    made, message = found.generation, found.message
    if made is None or made.prompt is None:
        raise UsageError("this line cannot be said again", "its prompt is gone, or no self said it")
    lines = await messages_until(store, message, 2)
    origin = lines[0].id if len(lines) == 2 else found.scene.from_message_id
    sampling = made.sampling.model_copy(update={"seed": seed_from("again", made.id, key)})
    said = await voice.say(made.address, made.prompt, sampling)
    names = [*found.scene.spec.cast, *{line.speaker for line in lines}]
    text = finish(clean(said.text, message.speaker, names), was_cut=said.finish_reason == "length")
    text = filters.plain(text)
    refused = said.error or filters.refuse(cast.filter, message.speaker, text)
    scene = await store.begin_scene(found.scene.spec, place=PLACE, key=key, from_message_id=origin)
    new = await store.keep_turn(
        scene.id,
        speaker=message.speaker,
        utterances=[said],
        chosen=0 if text and not refused else None,
        text=text,
        spent_in=Purse(store, cast.budget, PLACE).scopes(message.speaker),
    )
    if new is not None:
        new = await store.mark_posted(new.id)
    return Again(message, new, scene)


async def keep_better(store: Store, again: Again, *, new_is_better: bool) -> None:
    """Note which of the two is better, a preference; the branch ends if it is the former one."""
    former, new = again.former.generation_id, again.new.generation_id if again.new else None
    if former is not None and new is not None:
        better: Literal["first", "second"] = "second" if new_is_better else "first"
        await vote(store, former, new, better, blind=False, person_id=None)
    if not new_is_better:
        await store.end_scene(again.scene.id, "left")
