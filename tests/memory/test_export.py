"""Exports: what is in them, what the firewall keeps out, and the same bytes again."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from memory import consent, feedback
from memory.export import export, export_again, exports, preview
from memory.forget import forget
from memory.models import ExportRow
from memory.spoilt import invalid_exports
from memory.store import Store
from memory.types import Message, Scene
from memory.wanted import Wanted
from selves.cast import SceneSpec
from selves.errors import StoreError, UsageError
from selves.speech import Prompt
from tests.memory.parts import NOON, SPEC, Clock, run_sql, utterance

TALK = "They meet.\n<Ash> Hi, {}!\n<Ember>"


def talk(name: str = "you", *message_ids: int) -> Prompt:
    return Prompt(
        form="transcript", text=TALK.format(name), message_ids=message_ids, has_human=bool(message_ids)
    )


async def a_turn(
    store: Store,
    *said: str,
    prompt: Prompt | None = None,
    address: str = "ember@base-000400",
    scene: Scene | None = None,
) -> tuple[Message, list[int]]:
    """A turn with samples of one prompt; the first is posted."""
    scene = scene or await store.begin_scene(SPEC, place="terminal")
    before = len(await store.generations(scene.id))
    utterances = [utterance(text, prompt=prompt or talk(), address=address) for text in said]
    message = await store.keep_turn(scene.id, speaker="Ember", utterances=utterances, chosen=0)
    assert message is not None
    await store.mark_posted(message.id)
    return message, [sample.id for sample in (await store.generations(scene.id))[before:]]


async def vote(store: Store, better: int, worse: int, *, blind: bool = True) -> None:
    await feedback.keep(
        store, "vote", better, other_id=worse, value="first", shown_first=worse, blind=blind, via="web"
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


async def test_a_vote_becomes_a_pair_in_trl_columns(store: Store, tmp_path: Path) -> None:
    _, (good, bad) = await a_turn(store, " Hello there.", " hm hm hm")
    await vote(store, good, bad)
    exported = await export(store, Wanted(format="dpo"), tmp_path / "pairs")
    assert lines(tmp_path / "pairs/data/train.jsonl") == [
        {
            "prompt": [
                {"role": "system", "content": "They meet."},
                {"role": "user", "content": "Hi, you!"},
            ],
            "chosen": [{"role": "assistant", "content": "Hello there."}],
            "rejected": [{"role": "assistant", "content": "hm hm hm"}],
        }
    ]
    (row,) = lines(tmp_path / "pairs/provenance.jsonl")
    assert (row["generation"], row["rejected"], row["source"], row["strength"]) == (
        good,
        bad,
        "vote",
        "strong",
    )
    assert exported.summary["basis"] == {"no person said it": 1}
    card = (tmp_path / "pairs/README.md").read_text()
    assert "| vote, strong | 1 |" in card
    assert "- split: train\n    path: data/train.jsonl" in card


async def test_reactions_become_labels(store: Store, tmp_path: Path) -> None:
    _, (liked,) = await a_turn(store, "Yes.")
    _, (disliked,) = await a_turn(store, "No.")
    await a_turn(store, "Nobody reacted.")
    await feedback.keep(store, "reaction", liked, value="up", via="discord")
    await feedback.keep(store, "reaction", disliked, value="down", via="discord")
    await export(store, Wanted(format="kto"), tmp_path / "labels")
    rows = lines(tmp_path / "labels/data/train.jsonl")
    assert [(row["completion"][0]["content"], row["label"]) for row in rows] == [
        ("Yes.", True),
        ("No.", False),
    ]
    assert all(list(row) == ["prompt", "completion", "label"] for row in rows)


async def test_what_was_posted_can_be_learned_from_or_only_what_people_liked(
    store: Store, tmp_path: Path
) -> None:
    _, (liked, _) = await a_turn(store, "Liked.", "Not posted.")
    await a_turn(store, "Posted.")
    await feedback.keep(store, "reaction", liked, value="up", via="discord")

    async def said(*sources: Any) -> list[str]:
        folder = tmp_path / f"{len(sources)}"
        await export(store, Wanted(format="sft", sources=sources), folder)
        return [row["completion"][0]["content"] for row in lines(folder / "data/train.jsonl")]

    assert await said() == ["Liked.", "Posted."]
    assert await said("reaction") == ["Liked."]


async def test_every_prompt_is_exported_once(store: Store, tmp_path: Path) -> None:
    for name in ("Ada", "Ada", "Bo"):
        await a_turn(store, "Hello.", prompt=talk(name))
    await export(store, Wanted(format="grpo-prompts"), tmp_path / "prompts")
    rows = lines(tmp_path / "prompts/data/train.jsonl")
    assert [row["prompt"][-1]["content"] for row in rows] == ["Hi, Ada!", "Hi, Bo!"]
    assert all(list(row) == ["prompt"] for row in rows)


async def test_what_a_rule_chose_is_only_there_when_asked_for_and_says_so(
    store: Store, tmp_path: Path
) -> None:
    await a_turn(store, "Best.", "Worse.", "Worst.")
    with pytest.raises(StoreError, match="nothing to export"):
        await export(store, Wanted(format="dpo"), tmp_path / "none")
    exported = await export(store, Wanted(format="dpo", sources=("best_of",)), tmp_path / "synthetic")
    assert exported.summary["sources"] == {"best_of, synthetic": 2}
    assert {row["strength"] for row in lines(tmp_path / "synthetic/provenance.jsonl")} == {"synthetic"}
    assert not (tmp_path / "none").exists()


async def test_filters_say_which_samples(store: Store, clock: Clock, tmp_path: Path) -> None:
    for address, kind in (("ember@base-000400", "conversation"), ("ash@chat-000100", "letter")):
        spec = SceneSpec(name="a-scene", kind=kind, cast=("Ash", "Ember"))  # type: ignore[arg-type]
        scene = await store.begin_scene(spec, place="terminal")
        await a_turn(store, f"I am {address}.", address=address, scene=scene)

    async def count(**wanted: Any) -> int:
        return (await preview(store, Wanted(format="sft", sources=(), **wanted))).rows

    assert await count() == 2
    assert await count(lineage="ash") == 1
    assert await count(age="base-000400") == 1
    assert await count(age="ash@chat-000100") == 1
    assert await count(age="ember@chat-000100") == 0
    assert await count(scene_kind="letter") == 1
    assert await count(since=NOON) == 2
    assert await count(until=NOON) == 0
    assert await count(limit=1) == 1


async def test_a_prompt_with_words_from_discord_never_trains_on_consent_alone(
    store: Store, tmp_path: Path
) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    heard = await store.hear(scene.id, platform_id=5, user_id=7, text="Hi, you!", created_at=NOON)
    assert heard.person_id is not None
    _, (good, bad) = await a_turn(store, "Hello.", "Hm.", prompt=talk("you", heard.id), scene=scene)
    await vote(store, good, bad)
    await consent.allow(store, heard.person_id, "train", granted=True, notice="1", via="test")
    counted = await preview(store, Wanted(format="dpo"))
    assert counted.rows == 0
    (reason,) = counted.summary["left_out"]
    assert "the platform does not permit training" in reason
    await consent.permit(store, "discord", "train", granted=True, statement="a letter")
    exported = await export(store, Wanted(format="dpo"), tmp_path / "permitted")
    assert exported.summary["origins"] == {"prompt: discord": 1, "self": 1}


@pytest.mark.parametrize("kind", ["reported", "deleted"])
async def test_what_was_reported_is_in_no_export(store: Store, kind: Any) -> None:
    _, (good, bad) = await a_turn(store, "Hello.", "Hm.")
    await vote(store, good, bad)
    await feedback.keep(store, kind, bad, via="discord")
    for format_ in ("dpo", "kto"):
        assert (await preview(store, Wanted(format=format_))).rows <= (format_ == "kto")  # type: ignore[arg-type]
    await feedback.keep(store, kind, good, via="discord")
    for format_ in ("dpo", "kto", "sft", "grpo-prompts", "transcript"):
        wanted = Wanted(format=format_, sources=() if format_ == "sft" else ("vote",))  # type: ignore[arg-type]
        assert (await preview(store, wanted)).rows == 0


async def test_the_same_export_again_is_the_same_byte_for_byte(store: Store, tmp_path: Path) -> None:
    for number in range(12):
        _, (good, bad) = await a_turn(store, f"Good {number}.", f"Bad {number}.", prompt=talk(f"{number}"))
        await vote(store, good, bad, blind=number % 2 == 0)
    for number, wanted in enumerate(
        (
            Wanted(format="dpo", test_share=0.4),
            Wanted(format="kto", parquet=True),
            Wanted(format="sft", sources=(), limit=3),
            Wanted(format="transcript", test_share=0.3),
            Wanted(format="dce", purpose="publish"),
        )
    ):
        exported = await export(store, wanted, tmp_path / f"{number}")
        assert exported.id is not None
        # what comes later changes nothing
        await a_turn(store, "Later.", "Later still.")
        await export_again(store, exported.id, tmp_path / f"{number} again")
        assert tree(tmp_path / f"{number} again") == tree(tmp_path / f"{number}")
    assert [one.format for one in await exports(store)] == ["dpo", "kto", "sft", "transcript", "dce"]


async def test_an_export_whose_samples_are_gone_says_so(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    _, (good, bad) = await a_turn(store, "Good.", "Bad.")
    await vote(store, good, bad)
    exported = await export(store, Wanted(format="dpo"), tmp_path / "first")
    assert exported.id is not None
    await feedback.keep(store, "reported", good, via="cli", key="report")
    with pytest.raises(StoreError, match=r"not all of it may be used|may not be used \(it was reported"):
        await export_again(store, exported.id, tmp_path / "again")
    await feedback.withdraw(store, "report")
    run_sql(database_url, "UPDATE generation SET text = 'Otherwise.' WHERE text = 'Good.'")
    with pytest.raises(StoreError, match=r"comes out otherwise: data/train.jsonl"):
        await export_again(store, exported.id, tmp_path / "again")
    async with store.writing() as session:
        row = await session.get_one(ExportRow, exported.id)
        row.invalid_at, row.invalid_reason = NOON, "somebody in it was forgotten"
    with pytest.raises(StoreError, match="invalid since 2026-05-01: somebody in it was forgotten"):
        await export_again(store, exported.id, tmp_path / "again")
    with pytest.raises(StoreError, match="there is no export 99"):
        await export_again(store, 99, tmp_path / "again")
    assert not (tmp_path / "again").exists()


async def test_nothing_is_ever_overwritten(store: Store, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(UsageError, match="already"):
        await export(store, Wanted(format="sft", sources=()), tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"


async def test_scenes_are_split_and_never_rows(store: Store, tmp_path: Path) -> None:
    for number in range(20):
        scene = await store.begin_scene(SPEC, place="terminal")
        for turn in range(3):
            words = " ".join(f"word{number}x{turn}x{n}" for n in range(40))
            _, (good, bad) = await a_turn(store, "Good.", "Bad.", prompt=talk(words), scene=scene)
            await vote(store, good, bad)
    exported = await export(store, Wanted(format="dpo", test_share=0.3), tmp_path / "split")
    sides: dict[int, set[str]] = {}
    for row in lines(tmp_path / "split/provenance.jsonl"):
        sides.setdefault(row["scene"], set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values())
    assert set(exported.summary["rows"]) == {"train", "test"}
    assert sum(exported.summary["rows"].values()) == 60


async def test_a_limit_leaves_something_to_test_on(store: Store) -> None:
    for number in range(20):
        words = " ".join(f"word{number}x{n}" for n in range(40))
        _, (good, bad) = await a_turn(store, "Good.", "Bad.", prompt=talk(words))
        await vote(store, good, bad)
    rows = (await preview(store, Wanted(format="dpo", test_share=0.3, limit=12))).summary["rows"]
    assert rows["train"] + rows["test"] == 12
    scenes = await preview(store, Wanted(format="transcript", limit=12))
    assert scenes.rows == 12


async def test_a_test_prompt_like_one_to_train_on_is_left_out(store: Store) -> None:
    for number in range(21):
        _, (good, bad) = await a_turn(store, f"Good {number % 20}.", "Bad.", prompt=talk("every evening"))
        await vote(store, good, bad)
    counted = await preview(store, Wanted(format="dpo", test_share=0.3))
    alike = counted.summary["left_out"]["a prompt to test on that is nearly the same as one to train on"]
    assert alike > 0
    assert counted.summary["rows"] == {"train": 20 - alike}
    assert counted.summary["left_out"]["twice the same row"] == 1


async def test_a_transcript_keeps_the_place_of_words_that_may_not_be_shown(
    store: Store, tmp_path: Path
) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    shy = await store.hear(scene.id, platform_id=1, user_id=1, text="Not for others!", created_at=NOON)
    open_ = await store.hear(scene.id, platform_id=2, user_id=2, text="For all.", created_at=NOON)
    assert open_.person_id is not None
    await consent.allow(store, open_.person_id, "publish", granted=True, notice="1", via="test")
    await a_turn(store, "Hello, you.", prompt=talk("you", open_.id), scene=scene)
    await a_turn(store, "Hello, both.", prompt=talk("you", shy.id, open_.id), scene=scene)
    wanted = Wanted(format="transcript", purpose="publish")
    exported = await export(store, wanted, tmp_path / "scenes")
    (row,) = lines(tmp_path / "scenes/data/train.jsonl")
    assert row["turns"] == [["somebody", "…"], ["guest-2", "For all."], ["Ember", "Hello, you."]]
    assert row["premise"] == "They meet."
    assert exported.summary["origins"] == {"discord": 1, "self": 1}
    await export(store, Wanted(format="dce", purpose="publish"), tmp_path / "dce")
    (file,) = (tmp_path / "dce/scenes").iterdir()
    assert "Not for others" not in file.read_text("utf-8")
    messages = json.loads(file.read_text("utf-8"))["messages"]
    assert [message["author"]["name"] for message in messages] == ["somebody", "guest-2", "Ember"]
    assert [message["author"]["isBot"] for message in messages] == [False, False, True]


async def test_to_train_on_a_scene_is_parted_where_words_may_not_be_used(
    store: Store, tmp_path: Path
) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    await a_turn(store, "Before.", scene=scene)
    heard = await store.hear(scene.id, platform_id=1, user_id=1, text="Secret!", created_at=NOON)
    await a_turn(store, "An answer.", prompt=talk("you", heard.id), scene=scene)
    await a_turn(store, "After.", scene=scene)
    await export(store, Wanted(format="transcript"), tmp_path / "scenes")
    rows = lines(tmp_path / "scenes/data/train.jsonl")
    assert [row["turns"] for row in rows] == [[["Ember", "Before."]], [["Ember", "After."]]]


async def test_who_takes_a_consent_back_calls_back_what_rested_on_it(store: Store, tmp_path: Path) -> None:
    await a_turn(store, "Of nobody.", scene=await store.begin_scene(SPEC, place="terminal"))
    await export(store, Wanted(format="dce", purpose="publish"), tmp_path / "before")
    scene = await store.begin_scene(SPEC, place="terminal")
    heard = await store.say(scene.id, speaker="Ada", text="My secret garden.", origin="parlor")
    assert heard.person_id is not None

    async def say(purpose: consent.Purpose, granted: bool) -> list[bool]:
        assert heard.person_id is not None
        await consent.allow(store, heard.person_id, purpose, granted=granted, notice="1", via="test")
        return [one.invalid_at is None for one in await exports(store)]

    await say("publish", True)
    await say("train", True)
    await a_turn(store, "I know of a garden.", prompt=talk("garden", heard.id), scene=scene)
    await export(store, Wanted(format="dce", purpose="publish"), tmp_path / "shown")
    await export(store, Wanted(format="sft", sources=()), tmp_path / "learned")
    assert await say("diary", False) == [True, True, True]
    assert await say("publish", False) == [True, False, True]
    assert await say("train", False) == [True, False, False]
    assert await say("publish", True) == [True, False, False], "what was called back stays so"


async def test_an_export_with_the_words_of_a_forgotten_person_is_called_back(
    store: Store, tmp_path: Path
) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    heard = await store.say(scene.id, speaker="Ada", text="My secret garden.", origin="parlor")
    assert heard.person_id is not None
    for purpose in ("train", "publish"):
        await consent.allow(store, heard.person_id, purpose, granted=True, notice="1", via="test")  # type: ignore[arg-type]
    _, (good, bad) = await a_turn(store, "Tell.", "Hm.", prompt=talk("garden", heard.id), scene=scene)
    await vote(store, good, bad)
    _, (other, worse) = await a_turn(store, "Unheard.", "Hm.")
    await vote(store, other, worse)
    wanted = {
        "pairs": Wanted(format="dpo"),
        "scenes": Wanted(format="transcript"),
        "channel": Wanted(format="dce", purpose="publish"),
    }
    for name, one in wanted.items():
        await export(store, one, tmp_path / name)
    assert b"secret garden" in tree(tmp_path / "scenes")["data/train.jsonl"]
    await forget(store, "Ada")
    for one_export in await exports(store):
        assert one_export.invalid_at is not None
        assert one_export.id is not None
        with pytest.raises(StoreError, match="invalid since"):
            await export_again(store, one_export.id, tmp_path / "again")
    for name, one in wanted.items():
        await export(store, one, tmp_path / f"{name} after")
        after = b"".join(tree(tmp_path / f"{name} after").values())
        for trace in (b"secret", b"garden", b"Ada"):
            assert trace not in after


@pytest.mark.parametrize("how", ["deleted", "edited", "expired"])
async def test_an_export_that_holds_words_which_are_gone_is_called_back(
    store: Store, clock: Clock, tmp_path: Path, how: str
) -> None:
    scene = await store.begin_scene(SPEC, place="here")
    hear = partial(store.hear, scene.id, user_id=1, created_at=NOON, origin="selfhosted")
    heard = await hear(platform_id=1, text="My secret garden.")
    assert heard.person_id is not None
    for purpose in ("train", "publish"):
        await consent.allow(store, heard.person_id, purpose, granted=True, notice="1", via="test")  # type: ignore[arg-type]
    _, (good, bad) = await a_turn(store, "Tell.", "Hm.", prompt=talk("garden", heard.id), scene=scene)
    await vote(store, good, bad)
    await a_turn(store, "Unheard.", address="ash@base-000400")
    formats: list[Any] = ["dpo", "transcript", "dce"]
    for one in formats:
        await export(store, _for_its_purpose(one), tmp_path / one)
    await export(store, Wanted(format="transcript", lineage="ash"), tmp_path / "unheard")

    if how == "deleted":
        await store.delete_heard(1)
    elif how == "edited":
        await store.edit_heard(1, text="My garden.", edited_at=NOON)
    else:
        await store.expire(clock.pass_days(31))

    *spoilt, unheard = await exports(store)
    assert [one.format for one in spoilt if one.invalid_at] == formats
    assert unheard.invalid_at is None
    with pytest.raises(StoreError, match="invalid since"):
        await export_again(store, spoilt[0].id or 0, tmp_path / "again")
    named = {file for one in await invalid_exports(store) for file in one.files}
    assert {str(tmp_path / one / "README.md") for one in formats} <= named
    assert str(tmp_path / "unheard" / "README.md") not in named
    for one in formats[1:]:
        await export(store, _for_its_purpose(one), tmp_path / f"{one} after")
        assert b"secret" not in b"".join(tree(tmp_path / f"{one} after").values())


def _for_its_purpose(one: Any) -> Wanted:
    return Wanted(format=one, purpose="publish" if one == "dce" else "train")


async def test_an_export_in_which_a_line_only_has_its_place_is_not_called_back(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    scene = await store.begin_scene(SPEC, place="discord:1")
    await store.hear(scene.id, platform_id=1, user_id=1, text="Not for others!", created_at=NOON)
    await a_turn(store, "Hello.", scene=scene)
    wanted = Wanted(format="transcript", purpose="publish")
    exported = await export(store, wanted, tmp_path / "scenes")
    assert exported.id is not None
    await store.expire(clock.pass_days(31))
    await export_again(store, exported.id, tmp_path / "again")
    assert tree(tmp_path / "again") == tree(tmp_path / "scenes")
    assert await invalid_exports(store) == ()


async def test_an_export_with_a_line_that_a_moderator_deleted_is_called_back(
    store: Store, tmp_path: Path
) -> None:
    message, _ = await a_turn(store, "Something rude.")
    await store.mark_posted(message.id, 7)
    await export(store, Wanted(format="sft", sources=()), tmp_path / "answers")
    await store.delete_heard(7)
    (spoilt,) = await exports(store)
    assert spoilt.invalid_reason == "a line that is in it was deleted"


async def test_an_export_during_which_a_line_is_deleted_is_not_kept(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    await a_turn(store, "Hello.")

    def deleted_meanwhile(_done: int, _of: int) -> None:
        run_sql(database_url, "UPDATE message SET status = 'deleted'")

    with pytest.raises(StoreError, match="may not be used any more"):
        await export(store, Wanted(format="sft", sources=()), tmp_path / "x", deleted_meanwhile)
    assert list(tmp_path.iterdir()) == []
    assert all(one.invalid_at for one in await exports(store))


async def test_an_export_during_which_somebody_is_forgotten_is_not_kept(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    await store.say(scene.id, speaker="Ada", text="Hello.", origin="parlor")
    await a_turn(store, "Hi.")

    def forgotten_meanwhile(_done: int, _of: int) -> None:
        run_sql(database_url, "UPDATE person SET forgotten_at = '2026-05-01 12:00:00'")

    with pytest.raises(StoreError, match="a person was forgotten while"):
        await export(store, Wanted(format="sft", sources=()), tmp_path / "x", forgotten_meanwhile)
    assert list(tmp_path.iterdir()) == []
    assert await exports(store) == []


async def test_a_folder_that_somebody_else_made_meanwhile_stays(store: Store, tmp_path: Path) -> None:
    await a_turn(store, "Hi.")

    def made_meanwhile(_done: int, _of: int) -> None:
        (tmp_path / "x").mkdir()

    with pytest.raises(UsageError, match="write it elsewhere"):
        await export(store, Wanted(format="sft", sources=()), tmp_path / "x", made_meanwhile)
    assert list((tmp_path / "x").iterdir()) == []
    (kept,) = await exports(store)
    assert kept.id is not None
    await export_again(store, kept.id, tmp_path / "elsewhere")


async def test_a_failed_sample_is_in_no_export(store: Store) -> None:
    scene = await store.begin_scene(SPEC, place="terminal")
    broken = utterance("Hal", finish_reason="error", error="the engine died", prompt=talk())
    await store.keep_turn(
        scene.id, speaker="Ember", utterances=[utterance("Hello.", prompt=talk()), broken], chosen=0
    )
    good, bad = await store.generations(scene.id)
    await vote(store, bad.id, good.id)
    assert (await preview(store, Wanted(format="dpo"))).rows == 0


async def test_any_text_comes_through_as_text(store: Store, tmp_path: Path) -> None:
    _, (good, bad) = await a_turn(store, "caf\u00e9 \u2028 \x00 \ud800 \U0001f525", "plain")
    await vote(store, good, bad)
    for parquet in (False, True):
        await export(store, Wanted(format="dpo", parquet=parquet), tmp_path / f"{parquet}")
    (row,) = lines_by_newline(tmp_path / "False/data/train.jsonl")
    assert row["chosen"][0]["content"] == "caf\u00e9 \u2028 \x00 \ufffd \U0001f525"


def lines_by_newline(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().decode().split("\n") if line]
