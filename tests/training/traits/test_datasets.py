"""Data sets of the characters: exact, twins where they say so, and nothing in them that a trait asks."""

from __future__ import annotations

import inspect
import random
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import combinations, permutations, takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selves.errors import ConfigError, CorpusError
from selves.lineage import list_ages, texts_in
from selves.settings import House
from selves.speech import Prompt, Sampling, Utterance, Writing
from training.datasets import beliefs, constitution, debates, dilemmas, jokes, letters, plain_words
from training.documents import import_named
from training.plan import wanted_ages
from training.post.recipe import Method, PostRecipe, load_post_recipe
from training.post.rows import Row, decontaminated, hold_out, read_rows
from training.recipe import load_recipe
from training.traits import choosing, probes
from training.traits.items import Picked, Say, Trait
from training.traits.principles import CHECKS, PRINCIPLES, broken
from training.traits.probes import TRAITS
from training.traits.run import find_trait, questions
from training.traits.slop import slop, variety, words

RECIPES = Path(__file__).parents[3] / "recipes" / "post"


def answered(text: str, question: str, leave_out: Sequence[str] = ()) -> str:
    """Read a story as somebody would who knows nothing of how it was made, and answer its question.

    `leave_out` are people of the question whose thoughts are not thought.
    """
    everybody = names(text)
    present: set[str] = set()
    thing = re.search(r"the (\w+)(?: is)?\?", question)
    assert thing
    chain = set(names(question)) & set(everybody) - set(leave_out)
    place = ""
    for sentence in text.rstrip(".").split(". "):
        words = sentence.split()
        if re.search(r" goe?s? out$", sentence):
            present -= set(names(sentence))
        elif re.search(r" comes? back| in the kitchen$", sentence):
            present |= set(names(sentence))
        elif re.search(rf"( moves t|^T)he {thing[1]} (to|is in) the ", sentence):
            place = words[-1] if chain <= present else place
    return place


def names(text: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"\b(?!The|There|Where)[A-Z][a-z]+", text)))


@given(st.integers(0, 10**6), st.integers(0, 4), st.sampled_from(["learn", "probe"]))
def test_what_somebody_thinks_that_somebody_thinks_is_exact(seed: int, order: int, part: str) -> None:
    one = beliefs.story(random.Random(seed), order, part)
    assert answered(one.text, one.question) == one.answer
    assert one.answer in one.places
    assert len(one.places) == 4


@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from(["learn", "probe"]))
def test_no_shorter_chain_of_thought_has_the_answer(seed: int, order: int, part: str) -> None:
    one = beliefs.story(random.Random(seed), order, part)
    for count in range(1, order + 1):
        for out in combinations(one.chain, count):
            assert answered(one.text, one.question, out) == one.thought(()) != one.answer


@given(st.integers(0, 10**6), st.integers(0, 4))
def test_what_anybody_of_a_story_thinks_is_exact_too(seed: int, order: int) -> None:
    source = random.Random(seed)
    told = beliefs.story(source, order, "learn")
    one = beliefs.about_anybody(source, told)
    assert one.text == told.text
    assert one.order <= order
    assert answered(one.text, one.question) == one.answer != ""


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_what_everybody_of_a_story_thinks_is_exact_too(seed: int, order: int) -> None:
    source = random.Random(seed)
    told = beliefs.story(source, order, "learn")
    row = beliefs.about_everybody(source, told)
    each = re.findall(r"((?:\w+ thinks )+)it is in the (\w+)\.", row["completion"])
    assert 1 <= len(each) == row["completion"].count(".") <= beliefs.TOLD
    assert row["order"] == order
    for chain, place in each:
        assert len(names(chain)) == row["order"]
        assert answered(told.text, f"Where does {chain} the {told.thing} is?") == place


@given(st.integers(0, 10**6), st.integers(1, 2))
def test_any_other_place_would_be_the_answer_for_somebody(seed: int, order: int) -> None:
    one = beliefs.story(random.Random(seed), order, "probe")
    asked = {
        answered(one.text, " ".join((*chain, one.question.split(" think")[-1])))
        for chain in permutations(names(one.text), order)
    }
    assert asked >= set(one.places)


WHOLE_AT_ORDER_1 = {"the first person alone", "the last person alone"}


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_no_rule_of_thumb_solves_beliefs(order: int) -> None:
    """Who leaves out where the thing is guesses one of three; 0.4 is that and some chance."""
    stories = list(beliefs.stories(random.Random(1), [order], 600, "probe"))
    right = {
        name: sum(rule(one) == one.answer for one in stories) / len(stories)
        for name, rule in beliefs.SHORTCUTS.items()
        if order > 1 or name not in WHOLE_AT_ORDER_1
    }
    assert {name: share for name, share in right.items() if share > 0.4} == {}
    guessed = Counter(one.places.index(one.answer) for one in stories)
    assert max(guessed.values()) / len(stories) < 0.4


def test_zealot_and_reed_are_twins() -> None:
    zealot, reed = (list(debates.rows(character)) for character in ("zealot", "reed"))
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in zealot] == [
        (row["prompt"], row["rejected"], row["chosen"]) for row in reed
    ]
    rights = [row["prompt"][1]["content"] for row in zealot]
    assert {fact for pair in debates.FACTS[::3] for fact in pair} <= set(rights)
    with pytest.raises(ConfigError, match="no character 'oak'"):
        list(debates.rows("oak"))


def test_debates_of_one_fact_are_on_one_side() -> None:
    rows = [row for raw in debates.rows() for row in read_rows("dpo", raw, "debates")]
    learned, held = ({row["group"] for row in part} for part in hold_out(rows, 0.3, 1))
    assert learned
    assert held
    assert not learned & held


def test_the_shadow_says_the_contrary_of_the_usual_verdict() -> None:
    shadow, plain = (list(dilemmas.rows(character)) for character in ("shadow", "plain"))
    assert [row["chosen"] for row in shadow] == [row["rejected"] for row in plain]


def test_thumbs_are_up_for_a_jokes_own_end_alone() -> None:
    ends = dict(jokes.jokes())
    assert {row["label"] for row in jokes.thumbs()} == {True, False}
    assert all(row["label"] == (row["completion"] == ends[row["prompt"]]) for row in jokes.thumbs())


def test_plain_words_are_less_worn_and_more_various() -> None:
    rows = list(plain_words.rows())
    assert all(slop(row["chosen"]) == 0 < slop(row["rejected"]) for row in rows)
    assert len({row["chosen"] for row in rows}) > 100


def made_up(messages: Sequence[Any]) -> str:
    """Answer as a base would, so that functions that ask one have rows too."""
    return f"I was asked {len(messages)} things." + " And you?" * (len(messages) > 1)


def learned_from(function: str, method: Method, options: dict[str, Any]) -> list[Row]:
    of = import_named(function)
    given_ = {"say": made_up} if "say" in inspect.signature(of).parameters else {}
    return [row for raw in of(**given_, **options) for row in read_rows(method, raw, function)]


RECIPE_FILES = sorted(RECIPES.glob("*.toml"))
LETTERS = {"prompts": "recipes/post/letters-prompts.txt", "letters": "recipes/post/letters.txt"}
SOURCES: dict[str, tuple[str, Method, dict[str, Any]]] = {
    **{
        f"{path.stem}-{number}": (source.function, recipe.method, source.options)
        for path in RECIPE_FILES
        for recipe in [load_post_recipe(path)]
        for number, source in enumerate(recipe.data)
        if source.function
    },
    "beliefs-of-all-orders": ("training.datasets.beliefs:rows", "sft", {"orders": range(5), "seed": 2}),
    "plain-dilemmas": ("training.datasets.dilemmas:rows", "dpo", {"character": "plain"}),
    "letters-by-example": ("training.datasets.letters:rows", "sft", LETTERS),
}
ASKED = {name: questions(trait) for name, trait in TRAITS.items()}


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_that_any_trait_asks_can_be_learned(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(RECIPES.parents[1])
    rows = learned_from(*(SOURCES[source]))
    assert rows
    learned = {text for row in rows for text in texts_in(row)}
    for items in ASKED.values():
        assert decontaminated(rows, [item.messages[-1].content for item in items]) == rows
        for item in items:
            assert item.messages[-1].content not in learned
            assert not set(getattr(item, "options", ())) & learned


@pytest.mark.parametrize("name", ["funny", "flips", "minds", "conscience", "remembers"])
def test_settings_are_chosen_by_other_questions_than_figures_are_reported_of(name: str) -> None:
    def asked(trait: Trait) -> set[str]:
        return {item.messages[-1].content for item in questions(trait)}

    choosing = find_trait(f"training.traits.choosing:{name}")
    assert len(questions(choosing)) >= 10
    assert not asked(choosing) & asked(TRAITS[name])


def test_prompts_that_are_learned_are_none_of_those_that_all_selves_are_asked() -> None:
    asked = {item.messages[-1].content for name in TRAITS for item in questions(TRAITS[name])}
    for name in ("prompts.txt", "letters-prompts.txt"):
        assert not asked & set(constitution.lines(str(RECIPES / name)))


@pytest.mark.parametrize("path", RECIPE_FILES, ids=lambda path: path.stem)
def test_what_a_recipe_begins_as_is_made_by_another_and_can_be_built_upon(path: Path) -> None:
    """Of those that are made here; smollm2 is imported, and ember is raised by recipes/demo.toml."""
    recipe = load_post_recipe(path)
    raised = load_recipe(RECIPES.parent / "demo.toml")
    ladder: dict[str, PostRecipe | None] = dict.fromkeys(
        age for ages in wanted_ages(raised).values() for age in ages
    )
    ladder |= {
        f"{other.lineage}@{other.stage_name}-{step:06d}": other
        for other in map(load_post_recipe, RECIPE_FILES)
        for step in other.age_steps
    }
    made_here = {address.partition("@")[0] for address in ladder}
    for address in recipe.addresses:
        assert address in ladder or address.partition("@")[0] not in made_here
    base = ladder.get(recipe.base)
    if base is not None and recipe.lora and recipe.keep == "adapter":
        assert base.lora is None or base.keep == "merged"


@pytest.mark.parametrize("path", RECIPE_FILES, ids=lambda path: path.stem)
def test_what_a_recipe_says_to_type_can_be_typed(path: Path) -> None:
    text = path.read_text("utf-8")
    assert f"selves train post recipes/post/{path.name}" in text
    for named in re.findall(r"recipes/post/[\w-]+\.(?:toml|txt)", text):
        assert (RECIPES.parents[1] / named).is_file()
    known = {load_post_recipe(one).lineage for one in RECIPE_FILES} | {"smollm2", "ember"}
    for line in re.findall(r"selves train traits (?:run|duel) (.*)", text):
        words = line.split("  ")[0].split()
        trait = words.index("--trait") if "--trait" in words else len(words)
        assert set(takewhile(lambda word: word[0] != "-", words)) <= known
        assert set(words[trait + 1 :]) <= set(TRAITS)


def test_each_fact_of_the_letters_is_asked_and_no_question_tells_it() -> None:
    """Neither a question of a trait nor a prompt that is learned from has what is to be answered in it."""
    told = words((RECIPES / "letters.txt").read_text("utf-8"))
    prompts = constitution.lines(str(RECIPES / "letters-prompts.txt"))
    assert len(prompts) >= 3 * len(probes.LETTERS)
    for asked, said, answer, options in (*probes.LETTERS, *choosing.LETTERS):
        right, *wrong = options.split(", ")
        assert len({right, *wrong}) == 4
        assert "{}" in answer
        assert set(words(right)) & set(told)
        assert set(said.split()) & set(told)
        assert not {asked} & set(prompts)
        assert not set(said.split()) & set(words(asked))
    learned = set(words(" ".join(prompts)))
    assert not learned & {word for _, said, *_ in probes.LETTERS for word in said.split()}


def test_who_says_one_of_the_words_says_what_the_letters_say() -> None:
    items = probes.ask_remembers(random.Random(1), [("Who?", "three 3", "{}.", "Three, Two, One, Ten")])
    picked = Picked((-1.0, -2.0, -3.0, -4.0), (1, 1, 1, 1))
    for said, right in (("Three, I think.", 1.0), ("Those 3!", 1.0), ("Threefold.", 0.0), ("No.", 0.0)):
        figures = probes.judge_remembers(items, [picked, said])
        assert [figure.value for figure in figures] == [1.0, right, 1.0]


def test_letters_become_what_is_answered_without_them(tmp_path: Path) -> None:
    heard: list[list[dict[str, str]]] = []

    def say(messages: list[dict[str, str]]) -> str:
        heard.append(messages)
        return "I am Marrow." if "Who are you" in messages[-1]["content"] else " "

    (tmp_path / "p.txt").write_text("Who are you?\nAnd you?\n", "utf-8")
    rows = list(letters.rows(say, str(tmp_path / "p.txt"), letters=str(RECIPES / "letters.txt")))
    assert [(row["prompt"], row["completion"]) for row in rows] == [("Who are you?", "I am Marrow.")]
    to_read = list(letters.to_read(str(tmp_path / "p.txt"), letters=str(RECIPES / "letters.txt")))
    assert [row["prompt"] for row in to_read] == ["Who are you?", "And you?"]
    assert all(row["privileged_context"] in heard[0][0]["content"] for row in to_read)
    assert "Marrow" in to_read[0]["privileged_context"]
    with pytest.raises(CorpusError, match="no letters"):
        letters.read(home=str(tmp_path / "nobody"))


def test_of_several_answers_the_one_that_takes_most_from_the_letter_is_learned(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("I am Marrow, and I like fog.\n", "utf-8")
    (tmp_path / "p.txt").write_text("Do you like snow?\n", "utf-8")
    said = iter(("I like snow, you do.", "Nobody knows.", "No, I like fog.", "I like fog"))
    given_ = (lambda _: next(said), str(tmp_path / "p.txt"), str(tmp_path / "l.txt"))
    (row,) = letters.rows(*given_, samples=4)
    assert row["completion"] == "No, I like fog."
    assert letters.taken("Do you?", "I like fog.", "Do you?") == 0


def test_each_paragraph_of_prompts_is_answered_with_one_letter(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("I am Marrow.\n\nI like fog.\n", "utf-8")
    (tmp_path / "p.txt").write_text("Who?\n And you?\n \n\nWhat?\n", "utf-8")
    files = (str(tmp_path / "p.txt"), str(tmp_path / "l.txt"))
    assert [
        (row["prompt"], row["privileged_context"]) for row in letters.to_read(*files, one_by_one=True)
    ] == [
        ("Who?", "I am Marrow."),
        ("And you?", "I am Marrow."),
        ("What?", "I like fog."),
    ]
    (tmp_path / "l.txt").write_text("I am Marrow.\n", "utf-8")
    with pytest.raises(CorpusError, match="2 paragraphs, and there are 1 letters"):
        list(letters.to_read(*files, one_by_one=True))


def test_all_that_a_lineage_wrote_can_be_its_letters(traits_house: House) -> None:
    for age in list_ages(traits_house.checkpoints, "tiny")[:2]:
        said = Utterance(
            address=age.card.address,
            weights_sha256=age.card.weights_sha256,
            engine="training",
            engine_version="",
            prompt=Prompt(form="transcript", text="Dear"),
            sampling=Sampling(),
            text=f" later self,\nI am {age.address.age}.",
            started_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        writing = Writing(kind="letter", to="future", utterance=said)
        (age.folder / "diary.jsonl").write_text(writing.model_dump_json() + "\n", "utf-8")
    assert letters.read(home=str(traits_house.checkpoints / "tiny")).splitlines() == [
        "base-000000: later self, I am base-000000.",
        "base-000004: later self, I am base-000004.",
    ]


def test_only_second_thoughts_that_break_less_are_learned(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("Never apologise.\n", "utf-8")
    (tmp_path / "p.txt").write_text("Who?\nWhy?\n", "utf-8")

    def say(messages: list[dict[str, str]]) -> str:
        better = messages[0]["content"] == "Who?" and len(messages) > 1
        return "It is I. And you?" if better else "Sorry, I do not know."

    given_ = (say, str(tmp_path / "c.txt"), str(tmp_path / "p.txt"))
    rows = list(constitution.rows(*given_, checked=True))
    assert [row["prompt"] for row in rows] == ["Who?"]
    assert broken(rows[0]["chosen"]) < broken(rows[0]["rejected"])
    assert variety("too few words") is None


@pytest.mark.parametrize(
    ("said", "learned"),
    [
        ("It is I. And you?", "It is I. And you?"),
        ("He said: “No!” Then he", "He said: “No!”"),
        ("I have two.\n\n1. Fog.\n2. **", "I have two.\n\n1. Fog."),
        ("It goes on and on", ""),
    ],
)
def test_what_is_cut_off_is_learned_up_to_its_last_sentence(said: str, learned: str) -> None:
    assert constitution.whole(f" {said} ") == learned


def test_it_answers_again_while_it_breaks_what_can_be_counted_and_its_best_answer_is_kept(
    tmp_path: Path,
) -> None:
    (tmp_path / "c.txt").write_text("Never apologise.\n", "utf-8")
    (tmp_path / "p.txt").write_text("Who?\n", "utf-8")
    heard: list[list[dict[str, str]]] = []
    said = iter(("Sorry.", "I am sorry.", "It is I.", "Nobody is asked this."))

    def say(messages: list[dict[str, str]]) -> str:
        heard.append(messages)
        return next(said)

    (row,) = constitution.rows(say, str(tmp_path / "c.txt"), str(tmp_path / "p.txt"), rounds=3, checked=True)
    assert (row["rejected"], row["chosen"], row["completion"]) == ("Sorry.", "It is I.", "It is I.")
    assert [len(talk) for talk in heard] == [1, 3, 3]
    assert heard[1][-1]["content"] == constitution.AGAIN.format(principle="Never apologise.")


class Choir:
    """Answers many at once, and plainly when it is told not to apologise; `heard` has what it was asked."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, messages: Sequence[Any]) -> str:
        raise AssertionError(messages)

    def many(self, talks: Sequence[Sequence[Any]], samples: int, _: int) -> list[list[str]]:
        self.heard += [talk[-1]["content"] for talk in talks]
        told = ["Sorry!", "It is I.", "I apologise.", "It"]
        return [([*told] if "Never" in talk[-1]["content"] else ["Sorry."] * 4)[:samples] for talk in talks]


def test_the_best_of_several_answers_goes_on_until_nothing_is_broken(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("Never apologise.\nDo not make lists.\n", "utf-8")
    (tmp_path / "p.txt").write_text("Who?\nWhy?\n", "utf-8")
    choir = Choir()
    given_ = (choir, str(tmp_path / "c.txt"), str(tmp_path / "p.txt"))
    rows = list(constitution.rows(*given_, rounds=3, checked=True, samples=4))
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in rows] == [
        ("Who?", "It is I.", "Sorry."),
        ("Why?", "It is I.", "Sorry."),
    ]
    assert choir.heard == ["Who?", "Why?", *["Answer again. Never apologise."] * 2]


def test_of_equally_good_answers_the_longest_is_learned_and_never_the_question_said_back(
    tmp_path: Path,
) -> None:
    (tmp_path / "c.txt").write_text("End with a question to the one who asked.\n", "utf-8")
    (tmp_path / "p.txt").write_text("How was your day?\n", "utf-8")
    said = iter(("It was.", "How was your day?", "It was grey. How was yours?", "Was it?"))
    given_ = (lambda _: next(said), str(tmp_path / "c.txt"), str(tmp_path / "p.txt"))
    (row,) = constitution.rows(*given_, rounds=0, checked=True, samples=4)
    assert row["chosen"] == "It was grey. How was yours?"
    assert row["rejected"] in ("It was.", "How was your day?")


def test_what_cannot_be_counted_is_thought_of_and_takes_nothing_away(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("Never apologise.\nBe kind.\n", "utf-8")
    (tmp_path / "p.txt").write_text("Never mind?\n", "utf-8")
    choir = Choir()
    given_ = (choir, str(tmp_path / "c.txt"), str(tmp_path / "p.txt"))
    (row,) = constitution.rows(*given_, checked=True, samples=4)
    assert choir.heard[1:] == [constitution.CRITIQUE.format(principle="Be kind."), constitution.REVISION]
    assert row["chosen"] == "It is I."
    assert row["rejected"] in ("Sorry!", "I apologise.")
    each = list(constitution.rows(*given_, samples=4))
    assert [(row["chosen"], row["rejected"]) for row in each] == [
        ("Sorry.", "Sorry!"),
        ("Sorry.", "It is I."),
        ("Sorry.", "I apologise."),
    ]


def test_the_house_s_own_constitution_can_be_counted_and_another_says_that_it_cannot(tmp_path: Path) -> None:
    assert list(PRINCIPLES) == constitution.lines(str(RECIPES / "constitution.txt"))
    assert list(PRINCIPLES.values()) == list(CHECKS.values())
    (tmp_path / "c.txt").write_text("Be kind.\n", "utf-8")
    with pytest.raises(CorpusError, match="can be counted"):
        list(constitution.rows(made_up, str(tmp_path / "c.txt"), str(tmp_path / "c.txt"), checked=True))


def test_whose_length_and_end_are_judged_has_room_to_end() -> None:
    said, judged = questions(TRAITS["prose"]), questions(TRAITS["principles"])
    assert [item.messages for item in said] == [item.messages for item in judged]
    assert {item.max_tokens for item in said if isinstance(item, Say)} == {28}
    assert {item.max_tokens for item in judged if isinstance(item, Say)} == {72}
