"""What came to a self by way of another, on both databases: who may read it, and what is called back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memory.consent import allow, permit
from memory.export import export, exports
from memory.firewall import facts_of_messages, verdict
from memory.forget import forget
from memory.hearsay import Hearsay
from memory.passages import read_material, record_book
from memory.person_export import everything_of
from memory.publishing import publishable
from memory.store import Store
from memory.types import Message
from memory.wanted import Wanted
from selves.errors import StoreError
from tests.memory.parts import NOON, SPEC, reading, utterance

FOR_ALL = Wanted(format="transcript", purpose="publish")
TO_LEARN = [
    Wanted(format="sft", sources=()),
    Wanted(format="dpo", sources=("best_of",)),
    Wanted(format="transcript"),
]


async def say(store: Store, text: str, *read: Message) -> Message:
    """A self's line in a scene of its own, which it said after reading others."""
    scene = await store.begin_scene(SPEC, place="diary")
    prompt = reading(*(one.id for one in read), has_human=any(one.human for one in read))
    samples = [utterance(words, prompt=prompt) for words in (text, "Hm.")]
    line = await store.keep_turn(scene.id, speaker="Ember", utterances=samples, chosen=0)
    assert line is not None
    return line


async def retold(store: Store) -> tuple[int, list[Message]]:
    """Somebody is heard, a day is made of it, a week of the day, a letter of the week."""
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(scene.id, platform_id=1, user_id=1, text="A private word.", created_at=NOON)
    assert heard.person_id is not None
    day = await say(store, "She said: a private word.", heard)
    week = await say(store, "A private word was said.", day)
    return heard.person_id, [day, week, await say(store, "What a word!", week)]


def learned(folder: Path) -> str:
    return (folder / "data/train.jsonl").read_text("utf-8")


async def let_publish(store: Store, person: int) -> None:
    await allow(store, person, "publish", granted=True, notice="1", via="test")


def turns(folder: Path) -> list[str]:
    rows = (folder / "data/train.jsonl").read_text("utf-8").splitlines()
    return [text for row in rows for _, text in json.loads(row)["turns"]]


async def test_it_is_found_at_whatever_hand_and_also_when_asked_about_in_parts(store: Store) -> None:
    _, told = await retold(store)
    other = await say(store, "The moon is a lamp.")
    async with store.reading() as session:
        near = await facts_of_messages(session, [line.id for line in told])
        hearsay = Hearsay(session)
        far = [(await hearsay.of_messages([line.id]))[line.id] for line in (*told, other)]
        at_once = await Hearsay(session).of_messages([line.id for line in (*told, other)])
        samples = await hearsay.of_generations([line.generation_id or 0 for line in told])
    assert [len(near[line.id].read) for line in told] == [1, 0, 0]
    assert [len(facts.read) for facts in far] == [1, 1, 1, 0]
    assert [at_once[line.id] for line in (*told, other)] == far
    assert [len(facts.read) for facts in samples.values()] == [1, 1, 1]


async def test_it_goes_out_to_everybody_only_with_consent(store: Store, tmp_path: Path) -> None:
    person, told = await retold(store)
    await say(store, "The moon is a lamp.")
    await export(store, FOR_ALL, tmp_path / "before")
    assert turns(tmp_path / "before") == ["The moon is a lamp."]
    inward = await export(store, FOR_ALL.model_copy(update={"purpose": "diary"}), tmp_path / "inward")
    assert inward.id is not None
    with pytest.raises(StoreError, match="3 because its prompt holds a person's words"):
        await publishable(store, inward.id)

    await let_publish(store, person)
    await export(store, FOR_ALL, tmp_path / "after")
    assert set(turns(tmp_path / "after")) >= {line.text for line in told}
    assert (await publishable(store, inward.id)).id == inward.id


@pytest.mark.parametrize("wanted", TO_LEARN, ids=lambda wanted: wanted.format)
async def test_no_self_learns_it_without_consent_and_who_takes_that_back_calls_it_back(
    store: Store, tmp_path: Path, wanted: Wanted
) -> None:
    person, told = await retold(store)
    other = await say(store, "The moon is a lamp.")
    untouched = await export(store, wanted, tmp_path / "before")
    assert [line.text in learned(tmp_path / "before") for line in (*told, other)] == [
        False,
        False,
        False,
        True,
    ]

    await permit(store, "discord", "train", granted=True, statement="a letter")
    await allow(store, person, "train", granted=True, notice="1", via="test")
    await export(store, wanted, tmp_path / "after")
    assert all(line.text in learned(tmp_path / "after") for line in (*told, other))

    await allow(store, person, "train", granted=False, notice="1", via="test")
    assert [one.id for one in await exports(store) if one.invalid_at is None] == [untouched.id]


async def test_what_prints_only_an_answer_is_called_back_with_who_was_answered(
    store: Store, tmp_path: Path
) -> None:
    person, told = await retold(store)
    other = await say(store, "The moon is a lamp.")
    await let_publish(store, person)
    for number, line in enumerate((*told, other)):
        await record_book(
            store,
            tmp_path,
            {f"{number}.pdf": str(number) * 64},
            of="book",
            samples=[],
            lines=[line.id],
            forgotten=0,
        )
    await export(store, FOR_ALL, tmp_path / "all")
    assert (await everything_of(store, "guest-1")).exports == (1, 2, 3, 5)
    await forget(store, "guest-1")
    assert [one.id for one in await exports(store) if one.invalid_at] == [1, 2, 3, 5]
    material = await read_material(store, lines=[line.id for line in (*told, other)])
    assert [one.allowed for one in material.line_verdicts.values()] == [False, False, False, True]


async def test_what_somebody_allowed_counts_no_more_when_they_are_forgotten(store: Store) -> None:
    person, told = await retold(store)
    await let_publish(store, person)
    await forget(store, "guest-1")
    async with store.reading() as session:
        facts = await facts_of_messages(session, [told[0].id])
    assert not verdict("publish", facts[told[0].id]).allowed
    assert (await everything_of(store, "guest-1")).consents[0]["granted"]  # it stays in the ledger
