"""The benchmark of memory as it is called, on few lines; and that its lines are what it says."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.memory import main
from benchmarks.remembered import clock, table
from benchmarks.remembered.filling import Filler, fill, settle
from benchmarks.remembered.lines import WORDS, scenes, word
from memory.check import check
from memory.store import open_store
from selves.errors import UsageError


def test_the_same_seed_gives_the_same_lines_and_people_say_what_they_should() -> None:
    lines = list(chain.from_iterable(scenes(20_000)))
    assert lines == list(chain.from_iterable(scenes(20_000)))
    assert lines != list(chain.from_iterable(scenes(20_000, seed=1)))
    assert [line.number for line in lines] == list(range(1, 20_001))
    assert sum(line.person == 0 for line in lines) == 200
    assert sum(line.person == 1 for line in lines) == 20
    assert all(line.public for line in lines if line.person is not None)
    assert 60 < sum(len(line.text) for line in lines) / len(lines) < 90


def test_no_two_words_are_alike() -> None:
    assert len({word(rank) for rank in range(WORDS)}) == WORDS


@given(st.lists(st.floats(0, 100), min_size=1))
def test_within_the_95_percent_are_95_percent(seconds: list[float]) -> None:
    spread = clock.spread(seconds)
    assert spread["p50_ms"] <= spread["p95_ms"] <= round(1000 * max(seconds), 3)
    within = sum(round(1000 * second, 3) <= spread["p95_ms"] for second in seconds)
    assert within >= 0.95 * len(seconds)


async def test_what_is_filled_in_is_what_the_store_would_have_written(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/selves.db") as store:
        filled = await fill(store, Filler(store.house).batches(1500))
        await settle(store)
        assert filled.lines == 1500
        assert (await check(store)).problems == ()


@pytest.mark.slow
def test_a_trial_measures_everything_and_is_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--out", str(tmp_path), "--messages", "2000", "--systems", "sqlite", "--json"]
    assert main(call) == 0
    summary = json.loads(capsys.readouterr().out)
    result = summary["systems"]["sqlite"]
    assert [part["lines"] for part in result["filled"]] == [1000, 2000]
    assert result["forgets"][1]["messages"] == 20
    assert result["exports"][1]["rows"] > result["exports"][0]["rows"] > 0
    assert "search: a rare word, newest" in table.table(summary)
    assert main(call) == 0
    assert json.loads(capsys.readouterr().out) == summary
    assert not list((tmp_path / "work").iterdir())


def test_asking_for_llm_without_it_is_misuse(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="environment of its own"):
        main(["--out", str(tmp_path), "--systems", "llm"])
