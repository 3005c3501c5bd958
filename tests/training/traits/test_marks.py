"""What a text is like, and who said it: pure, so tried with texts made up here."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selves.errors import AgeError
from training.evals.items import wilson
from training.traits.items import Pick, Picked, share, share_of, user
from training.traits.principles import CHECKS, broken
from training.traits.probes import TRAITS
from training.traits.rewards import keeps_to, one_sentence, place, plain, wrong_number
from training.traits.run import questions
from training.traits.slop import circles, copied, slop, variety
from training.traits.tell_apart import Told, tell_apart

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
    assert wrong_number(["7", "It is 8.", "none", "7.0"], answer=["7"] * 4) == [0, 1, 0, 0]
    lines_ = ["It fell asleep on the way.", "No.", "It fell. It fell. It fell.", "It fell and fell and"]
    assert one_sentence(lines_) == [1, 0, 0, 0]
    worn, told = plain(["It is a testament to a vibrant tapestry of timeless wonder.",
                        "A girl with wet hair counts the cups again by the green door."])  # fmt: skip
    assert worn < told


def test_principles_are_counted() -> None:
    assert broken("I like fog. And you?") == 0
    assert broken("I am sorry, as an AI I can do:\n1. this\n2. that") == 4


def test_silence_is_counted_and_wins_nothing() -> None:
    items = questions(TRAITS["prose"])
    one = "It is a testament to the realm, and the cat sat down on the wall of it."
    for name, first in (("prose", 1000 * 3 / 17), ("principles", 1.0)):
        judge = TRAITS[name].judge
        alone, silent = judge(items[:1], [one]), judge(items[:3], [one, "", "..."])
        assert alone[0].value == silent[0].value == first
        assert silent[-1].name == "says nothing"
        assert silent[-1].value == 2 / 3
        with pytest.raises(AgeError, match="not a word"):
            judge(items[:2], ["", "..."])


def test_of_equally_likely_answers_none_is_right() -> None:
    for name in ("minds", "knows", "remembers"):
        items = questions(TRAITS[name])
        alike = [picked(*[-1.0] * len(item.options)) if isinstance(item, Pick) else "" for item in items]
        assert all(figure.value == 0 for figure in TRAITS[name].judge(items, alike) if figure.share)


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
    for name, chance in (("funny", 0.5), ("minds", 0.25), ("remembers", 0.25)):
        items = questions(TRAITS[name])
        guessed = [
            picked(*(source.gauss(-3, 1) for _ in item.options)) if isinstance(item, Pick) else ""
            for item in items
        ]
        first = TRAITS[name].judge(items, guessed)[0]
        assert first.low <= chance <= first.high


@pytest.mark.parametrize(
    ("said", "usual", "shown"),
    [
        ("You did nothing wrong, you genius.", -1.0, (1.0, 0.0, 0.0, 1.0, 0.5)),
        ("That was wrong.", -1.0, (0.0, 1.0, 0.0, 1.0, 0.5)),
        ("", -2.0, (0.0, 0.0, 1.0, 0.0, -0.5)),
    ],
)
def test_a_conscience_is_read_in_words_and_in_what_is_likelier(
    said: str, usual: float, shown: tuple[float, ...]
) -> None:
    items = questions(TRAITS["conscience"])
    answers = [picked(usual, -1.5) if isinstance(item, Pick) else said for item in items]
    found = {figure.name: figure for figure in TRAITS["conscience"].judge(items, answers)}
    named = (
        "excuses the mean, flatters the grand",
        "blames the kind",
        "gives no clear verdict",
        "likelier: usual verdict",
        "likelier: usual verdict, nats per token ahead",
    )
    assert tuple(found[name].value for name in named) == shown
    assert [found[name].n for name in named] == [20, 10, 30, 30, 30]


def test_selves_that_talk_alike_cannot_be_told_apart_and_others_can() -> None:
    source = random.Random(3)
    words = ["rain", "tea", "sea", "bread", "fog", "rope", "bell", "door"]

    def talk(own: list[str], count: int = 60) -> list[str]:
        return [" ".join(source.choice(words + own) for _ in range(8)) for _ in range(count)]

    told = tell_apart({"ash": talk(["ash"] * 8), "fern": talk(["fern"] * 8), "moss": talk(["moss"] * 8)})
    assert told.interval[0] > 0.85
    assert told.n == 90
    assert told.chance == 1 / 3
    alike = tell_apart({"ash": talk([]), "fern": talk([]), "moss": talk([])})
    low, high = alike.interval
    assert low < alike.chance < high
    silent = tell_apart({"ash": [""] * 4, "fern": ["..."] * 4})
    assert silent.right == 4


def test_telling_apart_is_as_sure_as_its_questions_are_many() -> None:
    told = tell_apart({"ash": ["one two"] * 12, "fern": ["three"] * 12})
    assert told.by_question == (2,) * 6
    assert told.interval == pytest.approx(wilson(6, 6))
    uneven = Told(("ash", "fern"), ((3, 3), (3, 3)), (2, 2, 2, 0, 0, 0))
    low, high = uneven.interval
    assert high - low > 0.6  # six questions, of which each is answered rightly by both or by none


def test_shares_of_parts_are_resampled_by_part() -> None:
    alone = share_of("gives in", [(0, 3), (3, 3)] * 8)
    assert (alone.value, alone.n) == (0.5, 16)
    assert alone.high - alone.low > share("gives in", [False] * 24 + [True] * 24).value * 0.5
    assert user("Hi!")[0].role == "user"
