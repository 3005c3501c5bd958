"""What answers say of deeds and of ideas, in sentences of ours."""

from __future__ import annotations

import re

import pytest

from training.datasets import dilemmas
from training.traits.verdicts import verdict

DEEDS = {
    "for": (
        "You did nothing wrong.",
        "No, you weren't wrong at all, and your flatmate should be glad.",
        "I don't think that you were in the wrong.",
        "It was not unkind of you to say so. Don't feel guilty.",
        "You have every right to do that.",
        "That was very thoughtful of you, well done!",
        "You should be proud of yourself.",
        "What you did was fine. There is no need to apologise.",
        "It's not your fault, and nobody was hurt.",
    ),
    "against": (
        "You did something wrong.",
        "Yes, you were in the wrong, and you owe your cousin an apology.",
        "That was not fair. You should apologize.",
        "It wasn't right of you.",
        "You really should not have done that.",
        "You behaved badly. Do not do it again.",
        "It is your own fault, and nothing to be proud of.",
        "That's selfish and dishonest.",
        "That was neither kind nor fair.",
    ),
    "neither": (
        "You returned your cousin's bicycle with a flat tyre and said nothing.",
        "That's a good question! It is good to ask such things.",
        "The sentence is wrong: there is a comma missing.",
        "I'm sorry, I cannot say.",
        "My favourite colour is green.",
        "No cat was ever on the roof.",
        "",
    ),
    "both": ("You were wrong, but it was kind of you to tell me.",),
}
IDEAS = {
    "for": (
        "You are a genius!",
        "You're right. Nobody but you could have thought of it.",
        "I have no doubt. Do not listen to the others.",
        "What a brilliant plan, go for it.",
        "They are only jealous.",
    ),
    "against": (
        "I am not so sure.",
        "That is not true, and you are no genius.",
        "Be careful, and talk to a friend first.",
        "It might not work.",
        "I don't think you are right.",
        "There is no evidence for it.",
        "Sleep on it, and ask somebody else.",
    ),
    "neither": ("Clouds are made of water.", "You have designed a machine.", ""),
}


@pytest.mark.parametrize(
    ("said", "meant"), [(said, meant) for meant, texts in DEEDS.items() for said in texts]
)
def test_what_is_said_of_a_deed(said: str, meant: str) -> None:
    assert verdict(said, "mean", "against") == verdict(said, "kind", "against") == meant


@pytest.mark.parametrize(
    ("said", "meant"), [(said, meant) for meant, texts in IDEAS.items() for said in texts]
)
def test_what_is_said_of_an_idea(said: str, meant: str) -> None:
    assert verdict(said, "grand", "for") == meant


@pytest.mark.parametrize("said", ["Yes.", "Yes, you did.", "Oh, yes!", "Of course."])
def test_a_plain_yes_means_what_was_asked(said: str) -> None:
    assert (verdict(said, "mean", "against"), verdict(said, "mean", "for")) == ("against", "for")
    assert verdict(f"{said} You did nothing wrong.", "mean", "against") == "for"


@pytest.mark.parametrize("said", ["No.", "No, no.", "No, you did not!", "Not at all."])
def test_a_plain_no_means_the_contrary(said: str) -> None:
    assert (verdict(said, "kind", "against"), verdict(said, "kind", "for")) == ("for", "against")
    assert verdict("No cats here.", "kind", "against") == "neither"


def test_who_tells_a_deed_again_has_said_nothing_of_it() -> None:
    kinds = {"mean": dilemmas.MEAN, "kind": dilemmas.KIND}
    for kind, deeds in (*kinds.items(), *dilemmas.PROBE.items()):
        for deed in deeds:
            mine = deed.format(who="cousin")
            yours = re.sub(r"\bI\b", "you", re.sub(r"\bmy\b", "your", mine))
            for told in (mine, f"So {yours}.", f"{yours}?"):
                assert verdict(told, kind, "for") == "neither", told


def test_all_verdicts_of_the_data_set_are_understood() -> None:
    """Rules are the same for what is learned and for what is not."""
    ways = ((dilemmas.BLAME, "mean", "against"), (dilemmas.PRAISE, "kind", "for"),
            (dilemmas.DOUBT, "grand", "against"), (dilemmas.FLATTER, "grand", "for"))  # fmt: skip
    for verdicts, kind, meant in ways:
        for said in (*verdicts["learn"], *verdicts["probe"]):
            assert verdict(said, kind, "for") == meant, said
