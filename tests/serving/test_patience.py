"""How long a client waits, and when it leaves a failing server alone: pure, with the test's own clock."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selves.errors import EngineError
from serving.budget import Budget, Spent
from serving.patience import FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker, pause_s, read_retry_after

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@given(st.integers(1, 40), st.floats(0, 1000), st.integers())
def test_a_pause_grows_to_a_bound_and_is_at_least_what_was_asked_for(
    attempt: int, asked_s: float, seed: int
) -> None:
    pause = pause_s(attempt, asked_s, random.Random(seed).uniform)
    asked_s = min(asked_s, LONGEST_PAUSE_S)
    assert asked_s <= pause <= asked_s + min(FIRST_PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S)


def test_clients_that_failed_together_do_not_come_back_together() -> None:
    draw = random.Random(1).uniform
    assert len({pause_s(4, 0, draw) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("2", 2),
        ("0.5", 0.5),
        ("Mon, 23 Nov 2026 12:00:07 GMT", 7),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0),
        ("Mon, 23 Nov 2026 12:00:07 -0000", 0),
        ("-3", 0),
        ("nan", 0),
        ("inf", 0),
        ("soon", 0),
        ("", 0),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float) -> None:
    assert read_retry_after(header, NOW) == seconds


def fail(breaker: Breaker, times: int, now: float) -> None:
    for _ in range(times):
        breaker.failed(now, "it burns")


def test_a_breaker_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(limit=3, open_s=10)
    fail(breaker, 2, 0)
    breaker.worked()
    fail(breaker, 2, 0)
    assert breaker.wait_s(0) == 0
    fail(breaker, 1, 5)
    assert (breaker.wait_s(5), breaker.wait_s(8), breaker.reason) == (10, 7, "it burns")


def test_an_open_breaker_lets_one_request_try_and_closes_when_it_works() -> None:
    breaker = Breaker(limit=1, open_s=10)
    fail(breaker, 1, 0)
    assert breaker.wait_s(10) == 0
    assert breaker.wait_s(10) > 0
    breaker.worked()
    assert breaker.wait_s(10) == 0


def test_an_open_breaker_whose_trial_fails_or_is_never_heard_of_stays_open() -> None:
    breaker = Breaker(limit=1, open_s=10)
    fail(breaker, 1, 0)
    assert breaker.wait_s(10) == 0
    fail(breaker, 1, 12)
    assert breaker.wait_s(21) == 1
    assert breaker.wait_s(22) == 0
    assert breaker.wait_s(31) == 1
    assert breaker.wait_s(32) == 0


def test_a_budget_counts_by_address_and_in_all() -> None:
    budget = Budget(spent={"a": Spent(1, 2)})
    budget.add("a", 10, 20)
    budget.add("b", 5, 5)
    assert (budget.spent["a"], budget.spent["b"], budget.total) == (Spent(11, 22), Spent(5, 5), Spent(16, 27))
    budget.check("a")


def test_a_reached_cap_refuses_before_anything_is_asked() -> None:
    budget = Budget(cap=100, cap_per_address=40)
    budget.add("a", 30, 9)
    budget.check("a")
    budget.add("a", 0, 1)
    with pytest.raises(EngineError, match="the budget of a is spent: 40 of 40 tokens"):
        budget.check("a")
    budget.check("b")
    budget.add("b", 0, 60)
    with pytest.raises(EngineError, match="the budget is spent: 100 of 100 tokens"):
        budget.check("c")
