"""Small tasks with known answers, asked of every age: made from a seed, scored right, kept, and drawn."""

from __future__ import annotations

import json
import math
import random
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selves.cli import run_command
from selves.errors import AgeError, UsageError
from selves.lineage import find_age
from selves.settings import House
from selves.speech import ChatMessage
from training import base, shards
from training.evals import cli
from training.evals.items import Choice, Completion, Said, Text, bootstrap, wilson
from training.evals.plot import Axis, Curve, Point, draw, short
from training.evals.reader import Reader
from training.evals.results import keep_result, read_results
from training.evals.run import SUITES, evaluate_age, find_suite, make_items, measure
from training.evals.suites import Says, TakesTurns, answers_and_ends
from training.evals.text import from_corpus
from training.recipe import Evals, Recipe

Run = Callable[..., int]
MAKING = [suite.name for suite in SUITES.values() if suite.make is not None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(house: House, *argv: object) -> int:
        monkeypatch.setenv("SELVES_HOME", str(house.home))
        monkeypatch.setattr(sys, "path", list(sys.path))
        return run_command(cli.main, list(map(str, argv)))

    return call


@pytest.fixture(scope="module")
def text(raised: House, make_recipe: Callable[..., Recipe]) -> Text:
    return from_corpus(shards.prepare(make_recipe(), raised, print), 1000)


@pytest.fixture(scope="module")
def letters() -> Text:
    """A made-up text with names in it and words that begin alike."""
    source = random.Random(11)
    names = ("Lisbon", "Vienna", "Oslo", "Prague", "Dublin", "Athens")
    words = ("winter", "window", "winner", "morning", "moment", "month", "market", "marble")
    lines = [
        f"<Ash> In the {source.choice(words)} we went by train to the {n} hill at {names[n % 6]} and home."
        for n in range(400)
    ]
    held = [f"We saw the {source.choice(words)} from afar and thought of the {word} too." for word in words]
    return Text("tokens-made-up", ("\n".join(lines),), ("\n".join(held * 6),))


@pytest.fixture(scope="module")
def reader(raised: House) -> Reader:
    return Reader(raised.checkpoints / "wren" / "base-000040")


def test_the_text_is_read_back_as_it_was_written(text: Text) -> None:
    assert any(document.startswith("<") and "How are you today" in document for document in text.train)
    assert text.heldout
    assert not set(text.heldout) & set(text.train)
    assert not any("<|" in document for document in (*text.train, *text.heldout))


@pytest.mark.parametrize("name", MAKING)
@pytest.mark.parametrize("form", ["transcript", "chat"])
def test_the_same_seed_makes_the_same_items_and_another_seed_others(
    name: str, form: str, letters: Text
) -> None:
    suite = SUITES[name]
    first = make_items(suite, 20, form, letters)  # type: ignore[arg-type]
    assert first
    assert len(first) <= 20
    assert [item.prompt for item in first] == [i.prompt for i in make_items(suite, 20, form, letters)]  # type: ignore[arg-type]
    others = make_items(suite, 20, form, letters, seed=2)  # type: ignore[arg-type]
    assert [item.prompt for item in first] != [item.prompt for item in others]


@pytest.mark.parametrize("name", MAKING)
def test_every_choice_has_one_right_option_among_different_ones(name: str, letters: Text) -> None:
    for item in make_items(SUITES[name], 40, "transcript", letters):
        if isinstance(item, Choice):
            assert len(set(item.options)) == len(item.options) > 1
            assert item.chance == 1 / len(item.options)


def test_a_recipe_knows_the_houses_suites_and_refuses_others() -> None:
    assert Evals().suites == tuple(SUITES)
    assert Evals(suites=("words", "my_module:colours")).suites[1] == "my_module:colours"
    with pytest.raises(ValueError, match="there is no suite 'word'"):
        Evals(suites=("word",))


def test_half_of_the_subjects_are_plural(text: Text) -> None:
    items = make_items(SUITES["agreement"], 40, "transcript", text)
    assert sum(item.right for item in items if isinstance(item, Choice)) == 20


def test_sums_are_right(text: Text) -> None:
    for item in make_items(SUITES["arithmetic"], 50, "transcript", text):
        assert isinstance(item, Completion)
        assert isinstance(item.prompt, str)
        *examples, asked = item.prompt.splitlines()
        for example in examples:
            left, _, answer = example.partition(" = ")
            assert eval(left.replace("x", "*")) == int(answer)
        result = eval(asked.removesuffix(" =").replace("x", "*"))
        assert item.check(Said(f" {result}\n3 +", ended=False))
        assert not item.check(Said(f" {result}1\n", ended=False))
        assert not item.check(Said(f" {result + 1}", ended=False))


def test_the_copied_word_is_the_next_of_its_row(text: Text) -> None:
    for item in make_items(SUITES["copying"], 20, "transcript", text):
        assert isinstance(item, Choice)
        whole, begun = item.prompt.splitlines()[-2:]
        assert (begun + item.options[item.right] + " ") in whole + " "


def test_the_facts_are_in_the_text(letters: Text) -> None:
    items = make_items(SUITES["facts"], 20, "transcript", letters)
    assert len(items) == 20
    for item in items:
        assert isinstance(item, Choice)
        assert item.prompt + item.options[item.right] in letters.train[0].replace("<Ash> ", "")


def test_words_that_begin_alike_are_told_apart_in_held_out_lines(letters: Text) -> None:
    items = make_items(SUITES["words"], 20, "transcript", letters)
    assert len(items) == 20
    for item in items:
        assert isinstance(item, Choice)
        assert item.prompt + item.options[item.right] in letters.heldout[0]
        assert len({option[:3] for option in item.options}) == 1


def test_a_spelled_word_is_checked_whole() -> None:
    check = Says("r-a-i-n")
    assert check(Said(" r-a-i-n\nsnow: s", ended=False))
    assert not check(Said(" r-a-i-n-s", ended=True))
    assert not check(Said(" r-a-i", ended=True))


def test_a_turn_is_taken_when_the_other_comes_next() -> None:
    check = TakesTurns("Ash")
    assert check(Said(" I am fine.\n<Ash> Good", ended=False))
    for text in (" I am fine.\n<Ember> And", "\n<Ash> Good", " I am fine, and", " <Ash> Good\n<Ash>"):
        assert not check(Said(text, ended=False))
    assert answers_and_ends(Said("Fine.", ended=True))
    assert not answers_and_ends(Said("Fine.", ended=False))
    assert not answers_and_ends(Said(" ", ended=True))


@given(st.integers(1, 500), st.data())
def test_the_interval_of_a_share_holds_it_and_narrows(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    low, high = wilson(right, count)
    assert 0 <= low <= right / count + 1e-12
    assert right / count - 1e-12 <= high <= 1
    wide = wilson(right * 4, count * 4)
    assert wide[1] - wide[0] < high - low


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert wilson(50, 100) == pytest.approx((0.4038315, 0.5961685), abs=1e-6)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775328), abs=1e-6)


def test_a_bootstrap_holds_the_whole_and_is_repeatable() -> None:
    source = random.Random(3)
    parts = [(source.uniform(1, 3) * size, size) for size in (source.uniform(50, 500) for _ in range(60))]
    whole = sum(a for a, _ in parts) / sum(b for _, b in parts)
    low, high = bootstrap(parts, random.Random(1))
    assert low < whole < high
    assert (low, high) == bootstrap(parts, random.Random(1))
    assert bootstrap([(4.0, 2.0)], random.Random(1)) == (2.0, 2.0)


def test_log_probabilities_do_not_depend_on_what_else_is_read(reader: Reader) -> None:
    rows = [reader.encode(text) for text in ("Hi!", "I like tea and books.", "In the year 1700")]
    together = reader.logprobs(rows)
    for row, found in zip(rows, together, strict=True):
        torch.testing.assert_close(reader.logprobs([row])[0], found, rtol=1e-5, atol=1e-5)
        logits = reader.model(torch.tensor([row])).logits[0, :-1].log_softmax(-1)
        expected = torch.stack([logits[n, token] for n, token in enumerate(row[1:])]).detach().double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_likelier_option_is_chosen_however_the_joint_is_cut(reader: Reader) -> None:
    item = Choice("Hi! How are you", (" today", " zqx", " tomorrow"), 0)
    whole = [
        float(reader.logprobs([reader.encode(item.prompt + option)])[0].sum()) for option in item.options
    ]
    chosen = reader.choose([item])[0]
    assert chosen.by_sum == whole.index(max(whole))
    assert not chosen.cut


def test_a_prompt_that_does_not_fit_loses_its_beginning_and_it_is_said(reader: Reader) -> None:
    long = "I like tea. " * 60
    chosen = reader.choose([Choice(long, (" Yes", " No"), 0), Choice("Short", (" Yes", " No"), 0)])
    assert [found.cut for found in chosen] == [True, False]
    said, cut = reader.complete([Completion(long, bool, 8), Completion("Short", bool, 8)])
    assert cut == [True, False]
    assert all(answer.text for answer in said)


def test_completions_are_greedy_and_do_not_depend_on_their_neighbours(reader: Reader) -> None:
    items = [Completion(text, bool, 12) for text in ("Hi!", "In the year", "Do you like the sea and the")]
    said, _ = reader.complete(items)
    for item, answer in zip(items, said, strict=True):
        assert isinstance(item.prompt, str)
        ids = reader.encode(item.prompt)
        for _ in range(12):
            token = int(reader.model(torch.tensor([ids])).logits[0, -1].argmax())
            if token == reader.tokenizer.eos_token_id:
                break
            ids.append(token)
        expected = reader.tokenizer.decode(ids[len(reader.encode(item.prompt)) :])
        assert answer.text == expected


def test_a_form_with_convolutions_is_measured_the_same(
    house: House, make_recipe: Callable[..., Recipe]
) -> None:
    recipe = make_recipe(model={"form": "lfm2"}, base={"steps": 4, "ages": 2})
    card = base.train(recipe, house, threads=1)[-1]
    age = find_age(house.checkpoints, card.address)
    reader = Reader(age.folder)
    held = from_corpus(shards.prepare(recipe, house, print), recipe.base.heldout_tokens)
    result = measure(reader, age, SUITES["bits_per_byte"], text=held)
    assert result is not None
    assert result.score == pytest.approx(card.bits_per_byte, rel=1e-4)
    items = [Completion(text, bool, 12) for text in ("Hi!", "In the year", "Do you like the sea and the")]
    together, _ = reader.complete(items)
    assert together == [reader.complete([item])[0][0] for item in items]


def test_a_chat_age_is_asked_by_its_template(raised: House) -> None:
    chat = Reader(raised.checkpoints / "wren" / "chat-000010")
    ids = chat.template((ChatMessage(role="user", content="Hi!"),))
    assert chat.tokenizer.decode(ids).endswith("<|assistant|>")
    item = Completion((ChatMessage(role="user", content="Hi!"),), answers_and_ends, 32)
    said, _ = chat.complete([item])
    assert "<|" not in said[0].text


def test_bits_per_byte_are_what_training_measured(raised: House, reader: Reader, text: Text) -> None:
    age = find_age(raised.checkpoints, "wren@base-000040")
    result = measure(reader, age, SUITES["bits_per_byte"], text=text)
    assert result is not None
    assert age.card.bits_per_byte is not None
    assert result.score == pytest.approx(age.card.bits_per_byte, rel=1e-4)
    assert result.low < result.score < result.high
    assert result.chance is None


def test_what_was_measured_is_kept_and_not_measured_again(raised_copy: House, letters: Text) -> None:
    folder = raised_copy.checkpoints / "wren" / "base-000040"
    told: list[str] = []
    first = evaluate_age(folder, ("agreement", "words"), 10, text=letters, tell=told.append)
    assert set(first) == {"agreement", "words"}
    assert read_results(folder.parent) == {"wren@base-000040": first}
    assert first["agreement"].text == ""
    assert first["words"].text == letters.name
    again = evaluate_age(folder, ("agreement", "words"), 10, text=letters, tell=told.append)
    assert again == first
    assert [line.endswith("(from earlier)") for line in told] == [False, False, True, True]
    more = evaluate_age(folder, ("agreement",), 12, text=letters)
    assert more["agreement"].n == 12
    fresh = evaluate_age(folder, ("words",), 10, text=letters, again=True)
    assert fresh["words"].measured_at > first["words"].measured_at
    assert fresh["words"].score == first["words"].score


def test_suites_about_a_text_are_left_out_where_there_is_none(raised_copy: House) -> None:
    folder = raised_copy.checkpoints / "wren" / "base-000000"
    told: list[str] = []
    found = evaluate_age(folder, ("facts", "bits_per_byte", "agreement"), 4, tell=told.append)
    assert set(found) == {"agreement"}
    assert sum("left out" in line for line in told) == 2


def test_a_suite_of_ones_own_is_one_function(
    raised_copy: House, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_colours.py").write_text(
        "from training.evals.items import Choice, Given\n\n\n"
        "def colours(given: Given) -> list[Choice]:\n"
        "    return [Choice('The colour of snow is', (' white', ' black'), right=0)]\n",
        "utf-8",
    )
    monkeypatch.chdir(tmp_path)
    assert run(raised_copy, "run", "wren@base-000040", "--suite", "my_colours:colours") == 0
    results = read_results(raised_copy.checkpoints / "wren")["wren@base-000040"]
    assert results["my_colours:colours"].n == 1
    assert results["my_colours:colours"].chance == 0.5


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("colour", "there is no suite 'colour'"),
        ("no_such_module:suite", "cannot be imported"),
        ("training.evals.run:SEED", "is int, not a function"),
    ],
)
def test_a_suite_that_is_none_is_named(name: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        find_suite(name)


def test_a_lineage_is_measured_shown_and_drawn(
    raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    suites = ("--suite", "agreement", "--suite", "bits_per_byte", "--suite", "dialogue")
    assert run(raised_copy, "run", "wren", *suites, "--items", 4) == 0
    assert "[5/5] wren@chat-000010" in capsys.readouterr().err
    assert run(raised_copy, "show", "wren") == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[1:]] == [
        "wren@base-000000",
        "wren@base-000010",
        "wren@base-000020",
        "wren@base-000040",
        "wren@chat-000010",
        "chance",
    ]
    assert run(raised_copy, "show", "wren", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    bits = [data[f"wren@base-0000{step}"]["bits_per_byte"]["score"] for step in ("00", "10", "20", "40")]
    assert bits == sorted(bits, reverse=True)
    assert run(raised_copy, "plot", "wren", "-o", tmp_path / "wren.svg") == 0
    drawn = ET.fromstring((tmp_path / "wren.svg").read_text("utf-8"))
    titles = [element.text or "" for element in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert sum("agreement" in title for title in titles) == 5
    assert sum("bits_per_byte" in title for title in titles) == 5
    assert run(raised_copy, "plot", "wren", "--stage", "chat", "-o", tmp_path / "chat.svg") == 0
    assert (tmp_path / "chat.svg").read_text("utf-8").count("<title>") < len(titles)
    assert run(raised_copy, "plot", "wren", "--stage", "young", "-o", tmp_path / "young.svg") == 2


def test_one_broken_age_does_not_hide_the_others(
    raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (raised_copy.checkpoints / "wren" / "base-000010" / "model.safetensors").write_bytes(b"broken")
    assert run(raised_copy, "run", "wren", "--suite", "agreement", "--items", 2) == 1
    said = capsys.readouterr().err
    assert "1 of 5 ages could not be measured" in said
    assert len(read_results(raised_copy.checkpoints / "wren")) == 4


def test_a_nanochat_age_cannot_be_measured_yet(raised_copy: House) -> None:
    folder = raised_copy.checkpoints / "wren" / "base-000040"
    config = json.loads((folder / "config.json").read_text("utf-8")) | {"model_type": "selves_nanochat"}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(AgeError, match="cannot be evaluated yet"):
        Reader(folder)


@pytest.mark.parametrize(
    ("argv", "code", "complaint"),
    [
        (["run", "robin"], 2, "there is no lineage 'robin'"),
        (["run", "wren@base-000041"], 1, "there is no age"),
        (["run", "wren", "--suite", "colour"], 2, "there is no suite"),
        (["show", "wren"], 1, "nothing of wren was measured yet"),
        (["plot", "wren", "-o", "x.svg"], 1, "nothing of wren was measured yet"),
    ],
)
def test_what_cannot_be_asked_is_said(
    raised: House, run: Run, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, complaint: str
) -> None:
    assert run(raised, *argv) == code
    assert complaint in capsys.readouterr().err


def test_an_empty_house_says_how_to_get_a_first_lineage(
    house: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(house, "run", "wren") == 2
    said = capsys.readouterr().err
    assert "selves train run recipes/demo.toml" in said
    assert "selves ages import" in said


def test_damaged_results_are_never_overwritten(raised_copy: House) -> None:
    lineage = raised_copy.checkpoints / "wren"
    found = evaluate_age(lineage / "base-000040", ("agreement",), 2)
    (lineage / "evals.json").write_text('{"format": 1, "ages": {', "utf-8")
    with pytest.raises(AgeError, match=r"evals\.json is damaged"):
        keep_result(lineage, "wren@base-000040", found["agreement"])
    assert (lineage / "evals.json").read_text("utf-8") == '{"format": 1, "ages": {'


def test_results_that_are_kept_at_once_are_all_kept(raised_copy: House) -> None:
    lineage = raised_copy.checkpoints / "wren"
    found = evaluate_age(lineage / "base-000040", ("agreement",), 2)["agreement"]
    many = [found.model_copy(update={"suite": f"my_module:suite_{n}"}) for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda result: keep_result(lineage, "wren@base-000040", result), many))
    kept = read_results(lineage)["wren@base-000040"]
    assert kept == {result.suite: result for result in [found, *many]}


def test_results_of_weights_that_are_no_more_are_not_shown(
    raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    lineage = raised_copy.checkpoints / "wren"
    found = evaluate_age(lineage / "base-000040", ("agreement",), 2)["agreement"]
    keep_result(lineage, "wren@base-000040", found.model_copy(update={"weights_sha256": "of an older life"}))
    assert run(raised_copy, "show", "wren") == 1
    assert "nothing of wren was measured yet" in capsys.readouterr().err
    again = evaluate_age(lineage / "base-000040", ("agreement",), 2)["agreement"]
    assert again.weights_sha256 == found.weights_sha256
    assert run(raised_copy, "show", "wren") == 0


def test_lm_eval_is_asked_by_its_own_command_line(
    raised: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["lm-eval", "wren@chat-000010", "--tasks", "arc_easy,piqa"]
    assert run(raised, *argv, "--dry-run", "--", "--limit", 5) == 0
    said = capsys.readouterr().out.strip()
    folder = raised.checkpoints / "wren" / "chat-000010"
    assert said.endswith(
        f"-m lm_eval --model hf --model_args pretrained={folder} --tasks arc_easy,piqa "
        f"--apply_chat_template --limit 5"
    )


def curves() -> Iterator[Curve]:
    points = tuple(
        Point(x, x / 1000, x / 1100, min(1, x / 900), f"wren@base-{x:06d}") for x in (0, 10, 100, 1000)
    )
    yield Curve("words <&>", "base", points, 0.25)
    yield Curve("words <&>", "chat", points[-1:], 0.25)


def test_a_drawing_is_well_formed_and_inside_its_frame() -> None:
    drawn = ET.fromstring(draw("wren & ember", "tokens", list(curves()), list(curves())))
    space = "{http://www.w3.org/2000/svg}"
    width, height = float(drawn.attrib["width"]), float(drawn.attrib["height"])
    dots = list(drawn.iter(f"{space}circle"))
    assert len(dots) == 10
    assert all(0 < float(dot.attrib["cx"]) < width and 0 < float(dot.attrib["cy"]) < height for dot in dots)
    assert "birth" in [element.text for element in drawn.iter(f"{space}text")]


@pytest.mark.parametrize("values", [[0.0], [5.0], [0.0, 7.0], [1e3, 1e9], [3.0, 4.0], [0, 1, 2, 4, 8]])
def test_life_runs_from_left_to_right(values: list[float]) -> None:
    axis = Axis(values)
    places = [axis.at(value) for value in values]
    assert places == sorted(places)
    assert all(math.isfinite(place) for place in places)
    assert 1 <= len(axis.ticks()) <= 12
    assert (short(1500), short(2_000_000), short(12)) == ("1.5k", "2M", "12")
