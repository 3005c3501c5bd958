"""The cast file: what a user may write, and what they are told when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from selves.cast import Cast, load_cast
from selves.config import find_line, parse
from selves.errors import ConfigError, UsageError

DEMO = (Path(__file__).parents[2] / "selves.toml").read_text()


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        parse(text, Cast, "selves.toml")
    return error.value.problem


def test_the_demo_cast_loads() -> None:
    cast = parse(DEMO, Cast, "selves.toml")
    assert [persona.name for persona in cast.persona] == ["Spark", "Tinder", "Ember", "Elder"]
    assert cast.find_persona("ember").address == "ember@chat-000150"
    assert cast.find_scene("letter-home").kind == "letter"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("talkativeness = 0.8", "talkativnes = 0.8", "did you mean 'talkativeness'?"),
        ("temperature = 1.0", "temperature = 9", "less than or equal to 5"),
        ('"ember@base-000100"', '"ember@latest"', "'ember@latest' is not an address"),
        ('"SELVES_TOKEN_SPARK"', '"MTIz.abc.def"', "never the token itself"),
        ('cast = ["Ember", "Spark"]', 'cast = ["Ember", "Sprak"]', "'Sprak', who is no persona"),
        ('name = "Tinder"', 'name = "Spark"', "two personas are called 'spark'"),
        ('engine = "embedded"', 'engine = "embeded"', "'embedded' or 'vllm'"),
        ("port = 8640", "port = ", "not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_line(before: str, after: str, said: str) -> None:
    text = DEMO.replace(before, after, 1)
    assert text != DEMO
    message = problems(text)
    assert said in message
    line = next(number for number, row in enumerate(text.splitlines(), 1) if after in row)
    if said != "not valid TOML" and "persona" not in said:  # what concerns the whole file has no one line
        assert f"selves.toml:{line}:" in message


def test_all_mistakes_are_told_at_once_in_order_of_lines() -> None:
    text = DEMO.replace("port = 8640", 'port = "x"').replace("talkativeness = 0.8", "talkativnes = 0.8")
    lines = [int(row.split(":")[1]) for row in problems(text).splitlines()]
    assert len(lines) == 2
    assert lines == sorted(lines)


def test_lines_are_found_in_tables_arrays_and_nested_tables() -> None:
    text = "a = 1\n[b]\nc = 2\n[[d]]\ne = 3\n[[d]]\nf = 4\n[d.g]\nh = 5\n[[d.i]]\nj = 6\n[[d.i]]\nk = 7\n"
    assert find_line(text, ("a",)) == 1
    assert find_line(text, ("b", "c")) == 3
    assert find_line(text, ("d", 0, "e")) == 5
    assert find_line(text, ("d", 1, "f")) == 7
    assert find_line(text, ("d", 1, "g", "h")) == 9
    assert find_line(text, ("d", 1, "i", 1, "k")) == 13
    assert find_line(text, ("d", 1, "missing")) == 6


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_cast(tmp_path / "selves.toml")


def test_an_unknown_persona_or_scene_names_those_there_are() -> None:
    cast = parse(DEMO, Cast, "selves.toml")
    with pytest.raises(UsageError, match="Spark, Tinder, Ember, Elder"):
        cast.find_persona("Ash")
    with pytest.raises(UsageError, match="first-meeting, letter-home"):
        cast.find_scene("farewell")
