"""Traits by selves: who is compared with whom, what of it is no chance, and how it is drawn and printed."""

from __future__ import annotations

import random
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selves.lineage import AgeCard, list_ages
from training.evals.items import Z95
from training.figure import Figure, mean, share
from training.traits.matrix import compared, distance, elders, holm, short
from training.traits.pictures import draw, draw_confusion
from training.traits.tables import lay_out
from training.traits.tell_apart import tell_apart

SHARES = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(
    lambda both: share("so", [True] * both[0] + [False] * (both[1] + 1))
)


def so(right: int, wrong: int) -> Figure:
    return share("so", [True] * right + [False] * wrong)


@given(SHARES, SHARES)
def test_a_distance_has_the_sign_of_the_difference_and_is_never_without_end(a: Figure, b: Figure) -> None:
    far = distance(a, b)
    assert (far > 0) == (a.value > b.value)
    assert far == pytest.approx(-distance(b, a))
    assert abs(far) < 20


def test_a_distance_is_newcombes() -> None:
    # 56 of 70 against 48 of 80: 0.2 (0.0524 to 0.3339), Newcombe 1998, table II, method 10
    one, other = so(56, 14), so(48, 32)
    error = (one.value - other.value) / distance(one, other)
    assert one.value - other.value - Z95 * error == pytest.approx(0.0524, abs=5e-5)


def test_values_that_are_all_alike_are_not_infinitely_far_from_others() -> None:
    still, moving = mean("worn", [0.0] * 20), mean("worn", [0.0, 1.0] * 10)
    assert still.low == still.high
    assert abs(distance(still, moving)) < 10
    assert distance(still, mean("worn", [3.0] * 20)) == 0.0


def test_of_many_that_differ_by_chance_hardly_any_stands_out() -> None:
    source = random.Random(1)
    names = [f"self{n}@base-000000" for n in range(40)]
    selves = {
        name: {f"trait{m}": share("so", [source.random() < 0.5 for _ in range(40)]) for m in range(8)}
        for name in names
    }
    first, *others = selves
    matrix = compared(selves, dict.fromkeys(others, first))
    marks = [cell.mark for row in matrix.cells.values() for cell in row.values()]
    assert matrix.compared == 39 * 8
    assert not any(cell.stands for row in matrix.cells.values() for cell in row.values())
    assert 0 < sum(map(bool, marks)) < 0.25 * matrix.compared  # all beside one, who may itself be far out
    assert "about 16 would be" in " ".join(matrix.foot)


def test_holm_stops_at_the_first_that_may_be_chance() -> None:
    chances = {("a", "x"): 0.001, ("b", "x"): 0.02, ("c", "x"): 0.04, ("d", "x"): 0.9}
    assert holm(chances) == {("a", "x")}
    assert holm({("a", "x"): 0.01, ("b", "x"): 0.02, ("c", "x"): 0.04}) == set(
        {("a", "x"), ("b", "x"), ("c", "x")}
    )


def test_each_is_compared_with_whom_it_was_raised_from(checkpoints: Path) -> None:
    card = list_ages(checkpoints)[0].card

    def child(address: str, parent: str | None) -> AgeCard:
        return card.model_copy(update={"address": address, "parent": parent})

    made = [
        child("ember@chat-000001", None),
        child("jest@dpo-000001", "ember@chat-000001"),
        child("jest@dpo-000002", "jest@dpo-000001"),
        child("wit@sft-000001", "jest@dpo-000002"),
        child("late@sft-000001", "wit@sft-000001"),
        child("twin@sft-000001", "ember@chat-000001"),
        child("stray@sft-000001", "gone@sft-000001"),
    ]
    cards = {one.address: one for one in made}
    ember, jest, late, stray, twin = (made[at].address for at in (0, 2, 4, 6, 5))
    assert elders([ember, jest, late, stray], cards) == {jest: ember, late: jest}
    assert elders([late, ember], cards) == {late: ember}
    assert elders([twin, late], cards) == {late: twin}  # whom both were raised from is not among them
    assert elders(["jest@dpo-000001", jest], cards) == {jest: "jest@dpo-000001"}


def test_pictures_are_xml_with_every_self_and_figure_in_them() -> None:
    calm, wild = share("stays <calm>", [True] * 29 + [False]), share("stays <calm>", [False] * 30)
    slow: Figure = mean("nats", [1.0, 2.0, 3.0])
    matrix = compared(
        {"a@b-000001": {"calm": calm, "slow": slow}, "c<d": {"calm": wild}, "e": {"slow": slow}},
        {"c<d": "a@b-000001", "e": "c<d"},
    )
    text = "".join(ElementTree.fromstring(draw(matrix)).itertext())
    for part in ("a@b-000001", "97%", "0% ⇓", "0 to 11%", "beside c<d", "beyond the 95 % interval", "1 to 3"):
        assert part in text
    assert ElementTree.fromstring(draw(compared({"a": {"slow": slow}}, {}))) is not None
    told = tell_apart({"ash": ["one two"] * 2, "fern": ["three"] * 2})
    shown = "".join(ElementTree.fromstring(draw_confusion(told)).itertext())
    assert "100% of 2 right" in shown


@given(st.integers(30, 200), st.integers(1, 12), st.integers(1, 6))
def test_a_table_is_no_wider_than_its_terminal_and_leaves_nothing_out(
    width: int, columns: int, count: int
) -> None:
    rows = [["", *(f"figure {n} of some trait" for n in range(columns))]]
    rows += [[f"self{at}", *(f"{at}.{n}%" for n in range(columns))] for at in range(count)]
    lines = lay_out(rows, width)
    assert max(map(len, lines)) <= width
    cells = "\n".join(lines).split()
    for at in range(count):
        assert [f"{at}.{n}%" for n in range(columns)] == [cell for cell in cells if cell.startswith(f"{at}.")]
    assert sum(line.startswith("self0") for line in lines) == 1 or width < 12 + 12 * columns
    assert short(so(1, 1)) == "50%"
