"""What is asked or judged otherwise has another version, and what only looks otherwise has the same."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.datasets import dilemmas
from training.traits import slop, version
from training.traits.items import Item, Pick, Say, Trait, user
from training.traits.probes import TRAITS
from training.traits.run import questions
from training.traits.version import asked_as, version_of

OWN = """
import re

from training.traits.items import Trait, share

LEAST = 2
WAVE = {"sea": re.compile("wave|surf")}

class Reader:
    def read(self, text):
        return text.lower()

def far(text):
    text = Reader().read(text)
    return len(text) > LEAST and any(w.search(text) for w in WAVE.values())

def judge(items, said):
    return [share("far", [far(text) for text in said])]
"""


@pytest.fixture
def version_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A function that returns the version of a trait whose judge stands in this source."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names: list[str] = []

    def of(source: str) -> str:
        names.append(f"judged_{len(names)}")
        (tmp_path / f"{names[-1]}.py").write_text(source, "utf-8")
        importlib.invalidate_caches()  # a folder that was listed a moment ago may look unchanged
        judge = importlib.import_module(names[-1]).judge
        return version_of(Trait("far", "1", "", lambda _: [], judge), [])

    yield of
    for name in names:
        sys.modules.pop(name, None)


def test_code_that_judges_otherwise_has_another_version(version_with: object) -> None:
    assert callable(version_with)
    before = version_with(OWN)
    for old, new in (
        ("LEAST = 2", "LEAST = 3"),
        ("wave|surf", "wave"),
        ("> LEAST and", "> LEAST or"),
        (".lower()", ".upper()"),
        ('share("far"', 'share("farther"'),
    ):
        assert old in OWN
        assert version_with(OWN.replace(old, new)) != before
    same = OWN.replace("def far(text):", 'def far(text):\n    """Say it."""  # as it is')
    assert same != OWN
    assert version_with(same) == before


def test_what_a_judge_was_given_counts_and_not_where_it_lies_in_memory(version_with: object) -> None:
    assert callable(version_with)
    given = (
        OWN
        + """
import functools

def judging(test, items, said, *, name):
    return [share(name, [test(text) for text in said])]

judge = functools.partial(judging, far, name="far")
"""
    )
    before = version_with(given)
    assert version_with(given) == before
    for old, new in (("LEAST = 2", "LEAST = 3"), ('name="far"', 'name="farther"')):
        assert version_with(given.replace(old, new)) != before


def test_what_a_judge_calls_elsewhere_in_the_house_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    items = questions(TRAITS["prose"])
    before = version_of(TRAITS["prose"], items)
    monkeypatch.setattr(slop, "WORN", slop.WORN | {"sea"})
    assert version_of(TRAITS["prose"], items) != before


def test_what_a_judge_reads_of_another_module_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    items = questions(TRAITS["conscience"])
    before = version_of(TRAITS["conscience"], items)
    monkeypatch.setattr(dilemmas, "AGAINST", ())
    assert version_of(TRAITS["conscience"], items) != before


def test_what_stands_in_a_lambda_counts_too(version_with: object) -> None:
    assert callable(version_with)
    judged = "\njudge = [None, lambda items, said: [share('far', [len(text) > 2 for text in said])]][1]\n"
    assert version_with(OWN + judged) != version_with(OWN + judged.replace("> 2", "> 9"))


def test_how_the_likeliest_is_found_counts_for_what_is_picked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked: list[Item] = [Pick(user("Well?"), ("so", "no"))]
    source, before = version.ITEMS.read_text("utf-8"), asked_as(picked)
    monkeypatch.setattr(version, "ITEMS", tmp_path / "items.py")
    version.ITEMS.write_text(source.replace("per_token", "per_letter"), "utf-8")
    assert asked_as(picked) != before


def test_a_way_of_asking_counts_only_for_what_is_asked_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Item] = [Say(user("Well?"))]
    picked: list[Item] = [Pick(user("Well?"), ("so", "no"))]
    source = version.ASKING.read_text("utf-8")
    before = asked_as(said), asked_as(picked)
    monkeypatch.setattr(version, "ASKING", tmp_path / "asking.py")
    for old, new, changed in (
        ("TEMPERATURE, TOP_P = 0.8, 0.95", "TEMPERATURE, TOP_P = 0.9, 0.95", (True, False)),
        ("self.warpers:", "self.warpers[:1]:", (True, False)),
        ("double()", "float()", (False, True)),
        ('"""How many answers', '"""So many answers', (False, False)),
        ("TOGETHER = 16", "TOGETHER = 8", (True, False)),
    ):
        assert old in source
        version.ASKING.write_text(source.replace(old, new), "utf-8")
        assert (asked_as(said) != before[0], asked_as(picked) != before[1]) == changed


def test_what_stands_in_a_table_is_known_without_torch() -> None:
    code = """
import sys
from training.traits import matrix, pictures, tables, tell_apart
from training.traits.run import of_today
from training.traits.results import Found
of_today({"ash@base-000000": {"prose": Found(version="1", weights_sha256="1", figures=())}})
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
