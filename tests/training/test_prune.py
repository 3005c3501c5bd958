"""Ages leave safely: what is needed stays, what goes is remembered, and nothing goes unasked."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selves.files import sweep_partial
from selves.lineage import find_age, list_ages
from selves.settings import House
from training.checkpoint import only_trainer
from training.prune import all_but, pruned, remembered, spread

Run = Callable[..., int]
BORN, YOUNG, MIDDLE, OLD, CHAT = (
    "wren@base-000000",
    "wren@base-000010",
    "wren@base-000020",
    "wren@base-000040",
    "wren@chat-000010",
)


def here(house: House) -> list[str]:
    return [age.card.address for age in list_ages(house.checkpoints, "wren")]


def cast_as(house: House, address: str) -> None:
    house.cast_path.write_text(f'[[persona]]\nname = "Wren"\naddress = "{address}"\n', "utf-8")


@given(st.sets(st.integers(1, 10**6), min_size=1, max_size=30), st.integers(0, 40))
def test_as_many_stay_in_between_as_were_asked_for(steps: set[int], count: int) -> None:
    ordered = sorted(steps)
    picked = spread(ordered, ordered[-1] * 2, count)
    assert picked == sorted(set(picked))
    assert len(picked) == min(count, len(ordered))


def test_those_that_stay_are_spread_by_the_logarithm_of_their_step() -> None:
    steps = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert [steps[n] for n in spread(steps, 512, 1)] in ([16], [32])
    assert [steps[n] for n in spread(steps, 512, 3)] in (
        [2, 16, 128],
        [2, 32, 128],
        [2, 16, 256],
        [2, 32, 256],
    )


def test_the_newborn_and_the_newest_of_each_stage_always_stay(raised: House) -> None:
    everyone = list_ages(raised.checkpoints, "wren")
    assert all_but(everyone, 0) == {YOUNG, MIDDLE}
    assert len(all_but(everyone, 1)) == 1
    assert all_but(everyone, 2) == frozenset()
    assert all_but([], 0) == frozenset()


def test_what_goes_leaves_a_line_of_memory(
    raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    words = find_age(raised_copy.checkpoints, YOUNG).writings()[2].utterance.text.split()
    card = find_age(raised_copy.checkpoints, YOUNG).card
    assert run(raised_copy, "prune", "wren", "--keep", "0", "--yes") == 0
    assert here(raised_copy) == [BORN, OLD, CHAT]
    lineage = raised_copy.checkpoints / "wren"
    assert pruned(lineage) == {YOUNG, MIDDLE}
    line = remembered(lineage)[YOUNG]
    assert (line.bits_per_byte, line.weights_sha256) == (card.bits_per_byte, card.weights_sha256)
    assert line.first_words.split()[-len(words) :] == words
    assert line.bytes > 4 * card.parameters
    assert not list(lineage.glob(".partial-*"))
    capsys.readouterr()
    assert run(raised_copy, "list", "--pruned") == 0
    assert "(pruned 20" in capsys.readouterr().out
    assert run(raised_copy, "list") == 0
    assert YOUNG not in capsys.readouterr().out


def test_a_dry_run_changes_nothing(raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = here(raised_copy)
    assert run(raised_copy, "prune", "wren", "--keep", "0", "--dry-run", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["go"], said["done"]) == ([YOUNG, MIDDLE], False)
    assert said["bytes"] > 0
    assert here(raised_copy) == before
    assert not pruned(raised_copy.checkpoints / "wren")


@pytest.mark.parametrize(("answer", "gone"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_one_who_is_asked_may_say_no(
    raised_copy: House, run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, gone: bool
) -> None:
    import io
    import sys

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert run(raised_copy, "prune", YOUNG) == 0
    assert (YOUNG not in here(raised_copy)) is gone


def test_nobody_to_ask_means_no(raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raised_copy, "prune", YOUNG) == 2
    assert "--yes" in capsys.readouterr().err
    assert YOUNG in here(raised_copy)


def test_what_the_cast_names_stays_and_it_is_said(
    raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    cast_as(raised_copy, YOUNG)
    assert run(raised_copy, "prune", YOUNG, MIDDLE, "--yes") == 2
    assert f"{YOUNG}: Wren of the cast is this age" in capsys.readouterr().err
    assert run(raised_copy, "prune", "wren", "--keep", "0", "--yes") == 0
    assert "Wren of the cast is this age" in capsys.readouterr().err
    assert here(raised_copy) == [BORN, YOUNG, OLD, CHAT]
    assert run(raised_copy, "prune", YOUNG, "--yes", "--force") == 0
    assert "although Wren of the cast" in capsys.readouterr().err
    assert here(raised_copy) == [BORN, OLD, CHAT]


def test_an_age_that_another_lineage_was_raised_from_stays(
    raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    heir = raised_copy.checkpoints / "robin" / "base-000040"
    heir.parent.mkdir()
    (raised_copy.checkpoints / "wren" / "base-000040").rename(heir)
    card = json.loads((heir / "age.json").read_text("utf-8"))
    card |= {"address": "robin@base-000040", "recipe": {"lineage": "robin", "parent": YOUNG}}
    (heir / "age.json").write_text(json.dumps(card), "utf-8")
    assert run(raised_copy, "prune", YOUNG, "--yes") == 2
    assert "robin was raised from it" in capsys.readouterr().err
    assert YOUNG in here(raised_copy)


def test_the_age_that_training_goes_on_from_stays(
    raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raised_copy, "prune", OLD, "--yes") == 2
    assert "training goes on from it" in capsys.readouterr().err
    assert OLD in here(raised_copy)


def test_an_imported_age_may_go_though_it_is_the_only_one(raised_copy: House, run: Run) -> None:
    source = raised_copy.home / "bare"
    (raised_copy.checkpoints / "wren" / "base-000040").rename(source)
    (source / "age.json").unlink()
    assert run(raised_copy, "import", str(source), "--as", "guest@import-000000") == 0
    assert run(raised_copy, "prune", "guest@import-000000", "--yes") == 0
    assert list_ages(raised_copy.checkpoints, "guest") == []
    assert run(raised_copy, "import", str(source), "--as", "guest@import-000000") == 0
    assert len(list_ages(raised_copy.checkpoints, "guest")) == 1


def test_nothing_leaves_a_lineage_that_is_being_trained(
    raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with only_trainer(raised_copy.checkpoints / "wren"):
        assert run(raised_copy, "prune", YOUNG, "--yes") == 1
    assert "is being trained by process" in capsys.readouterr().err
    assert YOUNG in here(raised_copy)


@pytest.mark.parametrize(
    ("argv", "code", "complaint"),
    [
        (["wren"], 2, "which ages of wren?"),
        (["robin", "--keep", "1"], 1, "there is no lineage robin"),
        ([YOUNG, "--keep", "1"], 2, "--keep goes with one lineage"),
        (["wren@base-000011"], 1, "there is no age wren@base-000011"),
        ([YOUNG, "wren"], 2, "is not an address"),
    ],
)
def test_an_unclear_wish_is_asked_back(
    raised: House, run: Run, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, complaint: str
) -> None:
    assert run(raised, "prune", *argv, "--yes") == code
    assert complaint in capsys.readouterr().err


def test_an_age_whose_removal_was_killed_half_way_is_off_the_list_and_swept(raised_copy: House) -> None:
    lineage = raised_copy.checkpoints / "wren"
    (lineage / "base-000010").rename(lineage / ".partial-gone-base-000010")
    assert YOUNG not in here(raised_copy)
    sweep_partial(lineage)
    assert not list(lineage.glob(".partial-*"))
