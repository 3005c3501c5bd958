"""Real selves of two layers are asked: exactly, once, and each says the same whenever it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from selves.lineage import find_age
from selves.settings import House
from training.post.figures import answers_logprobs
from training.post.recipe import PostRecipe
from training.post.run import train
from training.traits.asking import Asked
from training.traits.items import Pick, Picked, Say, user
from training.traits.probes import TRAITS
from training.traits.results import TRAITS_FILE, read_traits
from training.traits.run import know, questions

BASE = "tiny@chat-000008"
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


def test_a_self_says_the_same_whenever_it_is_asked(traits_house: House) -> None:
    items = [Say(user(f"Hello {n}?"), max_tokens=6) for n in range(3)]
    first, again = (Asked(find_age(traits_house.checkpoints, BASE)).answer(items) for _ in range(2))
    assert first == again
    assert len(set(first)) > 1


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
    assert found[BASE]["remembers"][0]["n"] == 10
    assert run_traits("plot", *whom, "-o", "traits.svg") == 0
    assert BASE in Path("traits.svg").read_text("utf-8")
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
        (("run", BASE, "--trait", "bad_trait:broken"), "failed: ZeroDivisionError"),
        (("show", BASE), "asked yet"),
        (("tell-apart", BASE), "asked yet"),
    ):
        assert run_traits(*argv) != 0
        assert problem in capsys.readouterr().err
    (traits_house.checkpoints / "tiny" / TRAITS_FILE).write_text("{")
    assert run_traits("show", BASE) == 1
    assert "is damaged" in capsys.readouterr().err


def test_what_was_said_once_is_not_said_again_for_another_trait(
    traits_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    age = find_age(traits_house.checkpoints, BASE)
    whole = know(age, [TRAITS["prose"], TRAITS["principles"]], lambda _: None, again=True)
    (traits_house.checkpoints / "tiny" / TRAITS_FILE).unlink()
    know(age, [TRAITS["prose"]], lambda _: None)
    monkeypatch.setattr(Asked, "answer", None)
    assert know(age, [TRAITS["principles"]], lambda _: None)["principles"] == whole["principles"]
