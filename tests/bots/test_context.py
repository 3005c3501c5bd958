"""What a self reads before it answers: nothing that nobody could read."""

from __future__ import annotations

from pathlib import Path

from bots.context import lines_before
from memory.outbox import give_up
from memory.store import Store, open_store
from memory.types import Message, Scene
from selves.cast import SceneSpec
from tests.memory.parts import utterance


async def ask(store: Store, scene: Scene, text: str) -> Message:
    return await store.say(scene.id, speaker="Anna", text=text, origin="operator")


async def answer(store: Store, scene: Scene, text: str, reply_to: int) -> Message:
    kept = await store.keep_turn(
        scene.id, speaker="Ember", utterances=[utterance(text)], chosen=0, reply_to=reply_to
    )
    assert kept is not None
    return kept


async def test_an_answer_that_discord_refused_is_not_read_at_the_next_question(tmp_path: Path) -> None:
    async with open_store(f"sqlite+aiosqlite:///{tmp_path}/memory.db") as store:
        spec = SceneSpec(name="channel", cast=("Anna", "Ember"))
        scene = await store.begin_scene(spec, place="discord:1/2")
        first = await ask(store, scene, "Who are you?")
        refused = await answer(store, scene, "A word that may not be said.", first.id)
        await give_up(store, refused, "blocked")
        second = await ask(store, scene, "Are you there?")
        _, lines = await lines_before(store, second.id, 20)
    assert [line.text for line in lines] == ["Who are you?", "Are you there?"]


async def test_a_second_answer_that_was_refused_leaves_the_first_one_standing(tmp_path: Path) -> None:
    async with open_store(f"sqlite+aiosqlite:///{tmp_path}/memory.db") as store:
        spec = SceneSpec(name="channel", cast=("Anna", "Ember"))
        scene = await store.begin_scene(spec, place="discord:1/2")
        asked = await ask(store, scene, "Who are you?")
        await answer(store, scene, "I am Ember.", asked.id)
        await give_up(store, await answer(store, scene, "Refused.", asked.id), "blocked")
        second = await ask(store, scene, "Are you there?")
        _, lines = await lines_before(store, second.id, 20)
    assert [line.text for line in lines] == ["Who are you?", "I am Ember.", "Are you there?"]
