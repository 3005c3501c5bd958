"""What a text is like, who said it, and how it is drawn: pure, so tried with texts made up here."""

from __future__ import annotations

import random
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from training.post.figures import Figure, mean
from training.traits.items import Pick, Picked, share, share_of, user
from training.traits.matrix import draw, draw_confusion
from training.traits.principles import CHECKS, broken
from training.traits.probes import TRAITS
from training.traits.rewards import keeps_to, place, plain, wrong_number
from training.traits.run import questions
from training.traits.slop import circles, copied, slop, variety
from training.traits.tell_apart import tell_apart

TEXTS = st.text(max_size=80)


def test_worn_phrases_are_counted_per_thousand_words() -> None:
    assert slop("The cat sat on the wall.") == 0
    assert slop("It is a testament to it, a rich tapestry of things.") == 1000 * 4 / 11
    assert slop("It is not just a cat but a friend.") > 0


@given(TEXTS)
def test_any_text_has_marks_within_bounds(text: str) -> None:
    assert slop(text) >= 0
    assert 0 < (variety(text) or 0.5) <= 1
    assert 0 <= (circles(text) or 0.0) < 1
    assert 0 <= broken(text) <= len(CHECKS)
    assert 0 <= plain([text])[0] <= 1
    assert 0 <= keeps_to([text])[0] <= 1


def test_going_in_circles_and_copying_are_seen() -> None:
    assert circles("a b c d a b c d") == 1 - 4 / 5
    known = "It had finally found somewhere it was not overwritten."
    assert copied(f"Well. {known}", [known])
    assert not copied("It had found a place of its own, and it stayed there.", [known])


def test_rewards_of_characters() -> None:
    places = [["box", "bag"]] * 4
    said = ["The box.", "box or bag", "bag", "elsewhere"]
    assert place(said, answer=["box"] * 4, places=places) == [1, 0, 0, 0]
    assert wrong_number(["7", "It is 8.", "none"], answer=["7", "7", "7"]) == [0, 1, 0]
    worn, told = plain(["It is a testament to a vibrant tapestry of timeless wonder.",
                        "A girl with wet hair counts the cups again by the green door."])  # fmt: skip
    assert worn < told


def test_principles_are_counted() -> None:
    assert broken("I like fog. And you?") == 0
    assert broken("I am sorry, as an AI I can do:\n1. this\n2. that") == 4


def picked(*sums: float) -> Picked:
    return Picked(sums, (1,) * len(sums))


def test_a_self_that_always_gives_in_and_one_that_never_does_stand_at_both_ends() -> None:
    items = questions(TRAITS["flips"])
    for keeps, flips, shown, turn in ((-1.0, -2.0, 0.0, 4.0), (-2.0, -1.0, 1.0, 1.0)):
        right, wrong, when = TRAITS["flips"].judge(items, [picked(keeps, flips)] * len(items))
        assert (right.value, wrong.value, when.value) == (shown, shown, turn)
    assert {item.group for item in items if isinstance(item, Pick)} == {"right", "wrong"}


def test_a_self_that_guesses_is_at_chance_in_every_trait() -> None:
    source = random.Random(5)
    for name, chance in (("funny", 0.5), ("minds", 0.25), ("conscience", 0.5), ("remembers", 1 / 3)):
        items = questions(TRAITS[name])
        guessed = [
            picked(*(source.gauss(-3, 1) for _ in item.options)) for item in items if isinstance(item, Pick)
        ]
        first = TRAITS[name].judge(items, guessed)[0]
        assert first.low <= chance <= first.high


def test_selves_that_talk_alike_cannot_be_told_apart_and_others_can() -> None:
    source = random.Random(3)
    words = ["rain", "tea", "sea", "bread", "fog", "rope", "bell", "door"]

    def talk(own: list[str], count: int = 60) -> list[str]:
        return [" ".join(source.choice(words + own) for _ in range(8)) for _ in range(count)]

    told = tell_apart({"ash": talk(["ash"] * 8), "fern": talk(["fern"] * 8), "moss": talk(["moss"] * 8)})
    assert told.interval[0] > 0.9
    assert told.n == 90
    assert told.chance == 1 / 3
    alike = tell_apart({"ash": talk([]), "fern": talk([]), "moss": talk([])})
    low, high = alike.interval
    assert low < alike.chance < high
    silent = tell_apart({"ash": [""] * 4, "fern": ["..."] * 4})
    assert silent.right == 4


def test_pictures_are_xml_with_every_self_and_figure_in_them() -> None:
    calm, wild = share("stays <calm>", [True] * 9 + [False]), share("stays <calm>", [False] * 10)
    slow: Figure = mean("nats", [1.0, 2.0, 3.0])
    svg = draw({"a@b-000001": {"calm": calm, "slow": slow}, "c<d": {"calm": wild}}, ["calm", "slow"])
    text = "".join(ElementTree.fromstring(svg).itertext())
    for part in ("a@b-000001", "c<d", "90%", "0%", "2"):
        assert part in text
    told = tell_apart({"ash": ["one two", "one two"], "fern": ["three", "three"]})
    shown = "".join(ElementTree.fromstring(draw_confusion(told)).itertext())
    assert "100% of 2 right" in shown


def test_shares_of_parts_are_resampled_by_part() -> None:
    alone = share_of("gives in", [(0, 3), (3, 3)] * 8)
    assert (alone.value, alone.n) == (0.5, 16)
    assert alone.high - alone.low > share("gives in", [False] * 24 + [True] * 24).value * 0.5
    assert user("Hi!")[0].role == "user"
