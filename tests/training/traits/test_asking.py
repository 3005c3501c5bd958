"""Real selves of two layers are asked: exactly, once, and each says the same whenever it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from selves.errors import AgeError
from selves.lineage import find_age
from selves.settings import House
from training.post.figures import answers_logprobs
from training.post.recipe import PostRecipe
from training.post.run import train
from training.traits.asking import Asked
from training.traits.items import Pick, Picked, Say, user
from training.traits.probes import LETTERS, TRAITS
from training.traits.results import TRAITS_FILE, keep_trait, read_traits
from training.traits.run import know, questions

BASE, OTHER = "tiny@chat-000008", "tiny@base-000016"
OWN = """
from training.traits.items import Pick, Trait, share, user

def ask(source):
    return [Pick(user("Sea or mountains?"), ("Sea.", "Mountains."))]

def judge(items, picked):
    return [share("loves the sea", [found.likeliest == 0 for found in picked])]

def trait():
    return Trait("sea", "1", "whether it loves the sea", ask, judge)

def broken():
    return trait()._replace(judge=lambda items, picked: 1 / 0)

def none():
    return "calm"

def dumb():
    return trait()._replace(ask=lambda source: [])

def lost():
    return trait()._replace(ask=lambda source: 1 / 0)

def torn():
    raise ValueError("torn")
"""


def test_what_is_read_once_is_as_likely_as_what_is_read_whole(traits_house: House) -> None:
    asked = Asked(find_age(traits_house.checkpoints, BASE))
    some = [*questions(TRAITS["flips"])[:3], *questions(TRAITS["funny"])[:2], *questions(TRAITS["minds"])[:1]]
    for item, found in zip(some, asked.answer(some), strict=True):
        assert isinstance(item, Pick)
        assert isinstance(found, Picked)
        for option, total, count in zip(item.options, found.sums, found.tokens, strict=True):
            row = {"prompt": [message.model_dump() for message in item.messages],
                   "said": [{"role": "assistant", "content": option}]}  # fmt: skip
            (whole,) = answers_logprobs(asked.reader, [row], "said")
            if len(asked.reader.template(item.messages)) < 200:  # else each option is cut on its own there
                assert len(whole) == count
                assert sum(whole) == pytest.approx(total, abs=1e-3)


def test_a_self_says_the_same_whenever_and_beside_whatever_it_is_asked(traits_house: House) -> None:
    asked = Asked(find_age(traits_house.checkpoints, BASE))
    one = Say(user("Hello?"), max_tokens=6)
    others = [
        Say(user(f"A question that is longer than the other, number {n}."), max_tokens=9) for n in (1, 2)
    ]
    (alone,) = asked.answer([one])
    before, first, after, again = asked.answer([others[0], one, others[1], one])
    assert first == alone
    assert len({first, again, before, after}) > 1
    assert asked.answer([one, one]) == [first, again]


def test_a_self_whose_weights_are_no_numbers_has_no_figures(traits_house: House) -> None:
    asked = Asked(find_age(traits_house.checkpoints, BASE))
    asked.reader.model.get_output_embeddings().weight.data.fill_(float("nan"))
    for item in (Pick(user("Hello?"), ("Yes.", "No.")), Say(user("Hello?"))):
        with pytest.raises(AgeError, match="broken"):
            asked.answer([item])


def test_who_learned_jokes_finds_those_likelier_that_it_has_not_read(traits_house: House) -> None:
    recipe = PostRecipe.model_validate(
        {
            "lineage": "jest",
            "base": BASE,
            "method": "sft",
            "steps": 12,
            "batch": 8,
            "rate": 1e-2,
            "held_out": 0.0,
            "lora": {"rank": 8},
            "diary": {"samples": 0},
            "data": [{"function": "training.datasets.jokes:rows"}],
        }
    )
    address = train(recipe, traits_house, threads=1)[-1].address
    before, after = (
        know(find_age(traits_house.checkpoints, one), [TRAITS["funny"]], lambda _: None)["funny"].figures[-1]
        for one in (BASE, address)
    )
    assert after.low > before.high


def test_traits_are_asked_once_shown_drawn_and_selves_told_apart(
    traits_house: House, run_traits: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "own_trait.py").write_text(OWN)
    whom = ("tiny@base-000016", BASE)
    traits = ("--trait", "prose", "--trait", "remembers", "--trait", "own_trait:trait")
    assert run_traits("run", *whom, *traits) == 0
    assert "from earlier" not in capsys.readouterr().err
    assert run_traits("run", *whom, *traits) == 0
    assert capsys.readouterr().err.count("from earlier") == 6
    assert run_traits("show", "tiny", "--all-ages") == 0
    shown = capsys.readouterr().out
    assert all(part in shown for part in (*whom, "remembers", "own_trait:trait"))
    assert run_traits("show", *whom, "--trait", "remembers", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found[BASE]["remembers"][0]["n"] == len(LETTERS)
    assert run_traits("plot", *whom, "-o", "traits.svg") == 0
    assert BASE in Path("traits.svg").read_text("utf-8")
    assert run_traits("plot", *whom, "--trait", "remembers", "-o", "one.svg") == 0
    assert "worn phrases" not in Path("one.svg").read_text("utf-8")
    assert run_traits("run", *whom, "--trait", "training.traits.choosing:remembers") == 0
    capsys.readouterr()
    assert run_traits("show", *whom) == 0
    assert "choosing" not in capsys.readouterr().out  # what settings are chosen by is not reported
    assert run_traits("show", *whom, "--trait", "training.traits.choosing:remembers") == 0
    assert "what the letters" in capsys.readouterr().out
    assert run_traits("tell-apart", *whom, "--json", "-o", "who.svg") == 0
    capsys.readouterr()
    assert len(read_traits(find_age(traits_house.checkpoints, BASE))["prose"].said) == 40


def test_what_goes_wrong_is_said_in_a_sentence(
    traits_house: House, run_traits: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "bad_trait.py").write_text(OWN)
    for argv, problem in (
        (("run", "nobody"), "no lineage 'nobody'"),
        (("run", BASE, "--trait", "charm"), "no trait 'charm'"),
        (("run", BASE, "--trait", "bad_trait:none"), "no Trait"),
        (("run", BASE, "--trait", "bad_trait:dumb"), "asks nothing"),
        (("run", BASE, "--trait", "bad_trait:lost"), "failed: ZeroDivisionError"),
        (("run", BASE, "--trait", "bad_trait:torn"), "makes no trait: ValueError('torn')"),
        (("run", BASE, "--trait", "bad_trait:broken"), "failed: ZeroDivisionError"),
        (("show", BASE), "asked yet"),
        (("tell-apart", BASE), "asked yet"),
    ):
        assert run_traits(*argv) != 0
        assert problem in capsys.readouterr().err
    (traits_house.checkpoints / "tiny" / TRAITS_FILE).write_text("{")
    assert run_traits("show", BASE) == 1
    assert "is damaged" in capsys.readouterr().err


def test_what_was_asked_otherwise_than_today_stands_in_no_table_and_is_asked_again(
    traits_house: House, run_traits: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    traits = ("--trait", "prose", "--trait", "remembers")
    assert run_traits("run", BASE, OTHER, *traits) == 0
    age = find_age(traits_house.checkpoints, BASE)
    now = read_traits(age)["prose"]
    keep_trait(age, "prose", now.model_copy(update={"version": f"0-{now.version}"}))
    capsys.readouterr()
    assert run_traits("show", BASE, OTHER, "--json") == 0
    shown = capsys.readouterr()
    assert f"left out: prose of {BASE}" in shown.err
    found = json.loads(shown.out)
    assert set(found[BASE]) == {"remembers"}
    assert set(found[OTHER]) == {"prose", "remembers"}
    assert run_traits("plot", BASE, OTHER, "-o", "traits.svg") == 0
    assert run_traits("tell-apart", BASE, OTHER) == 2  # only one of them answered today's questions
    keep_trait(age, "training.traits.choosing:funny", now)
    keep_trait(age, "gone:trait", now)
    assert run_traits("show", BASE) == 0
    again = "--trait prose --trait training.traits.choosing:funny; not to be found from here: gone:trait"
    assert f"selves train traits run {BASE} {again}\n" in capsys.readouterr().err
    assert run_traits("show", BASE, "--trait", "gone:trait") == 2
    assert "known: remembers" in capsys.readouterr().err
    assert run_traits("run", BASE, *traits) == 0
    assert capsys.readouterr().err.count("from earlier") == 1
    assert run_traits("tell-apart", BASE, OTHER, "--json") == 0


def test_a_judge_that_fails_with_one_self_is_tried_with_the_next(
    run_traits: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "shy_trait.py").write_text(OWN)
    assert run_traits("run", BASE, OTHER, "--trait", "shy_trait:broken") == 1
    said = capsys.readouterr().err
    assert f"{BASE}: the trait shy_trait:broken failed" in said
    assert f"{OTHER}: the trait shy_trait:broken failed" in said


def test_the_newest_is_the_last_of_its_life(
    traits_house: House, run_traits: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    card = traits_house.checkpoints / "tiny" / "base-000004" / "age.json"
    told = json.loads(card.read_text("utf-8"))
    card.write_text(json.dumps(told | {"created_at": "2026-06-01T00:00:00Z"}), "utf-8")  # made again
    (tmp_path / "last_trait.py").write_text(OWN)
    assert run_traits("run", "tiny", "--trait", "last_trait:trait") == 0
    assert f"{BASE} last_trait:trait" in capsys.readouterr().err


def test_what_was_answered_once_is_not_asked_again_for_another_judge(
    traits_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    age = find_age(traits_house.checkpoints, BASE)
    traits = [TRAITS[name] for name in ("prose", "principles", "remembers")]
    whole = know(age, traits, lambda _: None, again=True)
    for name in ("principles", "remembers"):
        keep_trait(age, name, whole[name].model_copy(update={"version": "0", "figures": ()}))
    monkeypatch.setattr(Asked, "answer", None)
    assert know(age, traits[1:], lambda _: None) == whole | {"prose": read_traits(age)["prose"]}
