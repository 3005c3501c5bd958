"""What is made of answers, streams and rows of visits, without running anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import serve
from benchmarks.served import memory, table
from benchmarks.served.running import tail
from benchmarks.served.stream import Chunks, read_answer
from benchmarks.served.systems import SYSTEMS, Peers
from benchmarks.served.work import (
    PROMPTS_A_REPEAT,
    WORKLOADS,
    Answer,
    Plan,
    agreement,
    asks_of,
    make_prompts,
    measure,
    percentile,
)
from selves.errors import EngineError


def by_letters(text: str) -> list[int]:
    return list(text.encode())


def letters(ids: list[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")


def test_prompts_have_exactly_the_length_and_none_begins_as_another_does() -> None:
    plan = Plan(prompt_tokens=40, repeats=2)
    prompts = make_prompts(plan, by_letters)
    assert len(prompts) == 3 * PROMPTS_A_REPEAT
    assert all(len(prompt.ids) == 40 == len(prompt.text) for prompt in prompts)
    assert len({tuple(prompt.ids[:16]) for prompt in prompts}) == len(prompts)
    assert prompts == make_prompts(plan, by_letters), "every system and every visit gets the same"


def test_no_prompt_is_asked_twice_in_a_visit_and_ages_are_asked_once_each() -> None:
    plan = Plan(prompt_tokens=40, repeats=2)
    prompts = make_prompts(plan, by_letters)
    asked = [ask for r in range(3) for w in WORKLOADS for ask in asks_of(w, r, prompts, 8)]
    assert sorted(ask.number for ask in asked) == list(range(len(prompts)))
    assert [len(asks_of(w, 1, prompts, 8)) for w in WORKLOADS] == [1, 8, 8]
    assert [ask.age for ask in asks_of("ages", 1, prompts, 8)] == list(range(8))
    assert {ask.age for ask in asks_of("eight", 1, prompts, 8)} == {0}


def test_a_rate_counts_the_tokens_of_all_until_the_last_has_ended() -> None:
    run = measure([Answer(0.1, 1.0, 64, None), Answer(0.3, 2.0, 64, None)])
    assert run == {"seconds": 2.0, "tokens": 128, "tokens_per_s": 64.0, "first_s": [0.1, 0.3]}


def test_agreement_is_what_comes_before_the_first_difference() -> None:
    assert agreement(Answer(0, 1, 4, [1, 2, 9, 4]), [1, 2, 3, 4], letters) == 0.5
    assert agreement(Answer(0, 1, 4, [1, 2, 3, 4]), [1, 2, 3, 4], letters) == 1.0
    assert agreement(Answer(0, 1, 4, [2, 2, 3, 4]), [1, 2, 3, 4], letters) == 0.0


def test_without_token_ids_text_is_compared_and_half_characters_do_not_count() -> None:
    reference = list("naïve".encode())
    assert agreement(Answer(0, 1, 6, None, "naïve"), reference, letters) == 1.0
    assert agreement(Answer(0, 1, 6, None, "naïf"), reference, letters) == pytest.approx(4 / 6)
    cut = reference[:3]  # ends in the first half of ï, which one stream holds back and another shows
    assert agreement(Answer(0, 1, 3, None, "na"), cut, letters) == 1.0
    assert agreement(Answer(0, 1, 3, None, "na\ufffd"), cut, letters) == 1.0


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 0.95) == 95.0
    assert percentile([5.0], 0.95) == 5.0


def said(*events: tuple[float, dict[str, Any]]) -> Chunks:
    return [(seconds, b"data: " + json.dumps(event).encode() + b"\n\n") for seconds, event in events]


USAGE = {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 2}}


def test_the_first_token_is_there_when_its_event_is_whole_however_it_was_cut() -> None:
    whole = said(
        (1.0, {"choices": [{"text": "", "token_ids": [7]}]}),
        (2.0, {"choices": [{"text": "Hi", "token_ids": [8]}]}),
        (2.5, USAGE),
    )
    assert read_answer([*whole, (3.0, b"data: [DONE]\n\n")], 12, 2) == Answer(1.0, 3.0, 2, [7, 8], "Hi")
    (_, first), *rest = whole
    cut = [(0.5, first[:9]), (1.5, first[9:]), *rest]
    assert read_answer(cut, 12, 2).first_s == 1.5


def test_a_role_or_an_empty_piece_is_no_first_token() -> None:
    chunks = said((1.0, {"choices": [{"text": ""}]}), (2.0, {"choices": [{"text": "a"}]}), (3.0, USAGE))
    answer = read_answer(chunks, 12, 2)
    assert (answer.first_s, answer.ids) == (2.0, None)


@pytest.mark.parametrize(
    ("chunks", "complaint"),
    [
        (said((1.0, {"error": {"message": "out of memory"}})), "broke off.*out of memory"),
        (said((1.0, USAGE)), "empty"),
        (said((1.0, {"choices": [{"text": "a"}]})), "read None tokens and gave None"),
        (said((1.0, {"choices": [{"text": "a"}]}), (2.0, USAGE)), "read 12 tokens and gave 2, not 13 and 2"),
        ([(1.0, b"data: {half\n\n")], "no JSON"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_a_failure(chunks: Chunks, complaint: str) -> None:
    with pytest.raises(EngineError, match=complaint):
        read_answer(chunks, 13, 2)


def visit(system: str, rate: float, number: int = 0, **other: Any) -> dict[str, Any]:
    """A row with three runs of one workload, at 1, 2 and 3 times the rate."""
    runs = [{"tokens_per_s": rate * n, "first_s": [0.1 * n] * 8} for n in (1, 2, 3)]
    used = {"peak_rss": 400, "rss": 300, "pss": 200, "anonymous": 100}
    more = {"peak_rss": 900, "rss": 800, "pss": 500, "anonymous": 150}
    result = {
        "version": f"{system} 1",
        "start_s": 4.0 + number,
        "weights_bytes": 2**20,
        "workloads": {"ages": {"runs": runs, "agreement": 1.0 - number / 2}},
        "memory": {"one": used, "ages": more},
    }
    facts = {
        "parameters": 10**6,
        "weights_bytes": 2**20,
        "cache_bytes": 2**20,
        "prompt_tokens": 48,
        "new_tokens": 64,
    }
    row = {"model": "tiny", "system": system, "round": number, "weights": "w", "code": "c", "refused": {}}
    return {**row, "facts": facts, "result": result, **other}


HERE = {"cpu": "a CPU", "cores": 2, "threads": 1}


def test_the_summary_has_medians_over_all_runs_of_all_visits_and_ours_to_each() -> None:
    rows = [visit("embedded", 100.0), visit("generate", 20.0), visit("embedded", 200.0, 1)]
    summary = table.summarize(rows, HERE, {"vllm": "name one with --vllm"})
    systems = summary["models"]["tiny"]["systems"]
    ours = systems["embedded"]["workloads"]["ages"]
    assert (ours["runs"], ours["lowest"], ours["tokens_per_s"], ours["highest"]) == (6, 100.0, 250.0, 600.0)
    assert (ours["first_s"], ours["first_s_p95"], ours["agreement"]) == (0.2, 0.3, 0.75)
    assert systems["embedded"]["start_s"] == 4.5
    assert systems["generate"]["workloads"]["ages"]["ours_to_it"] == 250.0 / 40.0
    assert systems["embedded"]["memory"]["beyond"] == {"rss": 500, "pss": 300, "anonymous": 50}
    page = table.table(summary)
    assert "| generate | 40.0 (20.0-60.0) | 6.25 | 0.200 s | 0.300 s | 100.0% |" in page
    assert "7 ages weigh 7.0 MiB; 1.2 times that and the cache of 8 streams (1.0 MiB) is 9.4 MiB." in page
    assert "Left out: vllm: name one with --vllm" in page
    assert "Left out" not in table.table(table.summarize([visit("vllm", 1.0)], HERE, {"vllm": "not now"}))


def test_visits_with_other_weights_or_to_older_code_of_ours_do_not_count() -> None:
    rows = [visit("embedded", 1.0, code="old"), visit("generate", 1.0, weights="old")]
    rows += [visit("embedded", 100.0), visit("generate", 50.0)]
    systems = table.summarize(rows, HERE, {})["models"]["tiny"]["systems"]
    assert systems["embedded"]["workloads"]["ages"]["tokens_per_s"] == 200.0
    assert systems["generate"]["workloads"]["ages"]["tokens_per_s"] == 100.0


def test_a_system_that_failed_is_said_to_have_failed_until_it_works() -> None:
    failure = {k: v for k, v in visit("vllm", 1.0).items() if k != "result"} | {"error": "it last said: no"}
    summary = table.summarize([visit("embedded", 1.0), failure], HERE, {})
    assert "Failed: vllm: it last said: no" in table.table(summary)
    nothing_else = table.table(table.summarize([failure], HERE, {}))
    assert "Failed: vllm: it last said: no" in nothing_else
    assert "|" not in nothing_else, "no table without rows"
    again = table.summarize([visit("embedded", 1.0), failure, visit("vllm", 1.0)], HERE, {})
    assert "Failed" not in table.table(again)


def test_what_a_system_cannot_do_is_said_under_its_table() -> None:
    refused = {"ages": "one process serves one age"}
    summary = table.summarize([visit("embedded", 1.0), visit("vllm", 1.0, refused=refused)], HERE, {})
    assert "Not vllm: one process serves one age." in table.table(summary)


def test_a_system_that_can_do_nothing_with_a_model_is_named_too() -> None:
    nothing = {k: v for k, v in visit("llama-cpp", 1.0).items() if k != "result"}
    nothing["refused"] = dict.fromkeys(WORKLOADS, "there is no GGUF of this model")
    page = table.table(table.summarize([visit("embedded", 1.0), nothing], HERE, {}))
    assert "Not llama-cpp: there is no GGUF of this model." in page
    assert "| llama-cpp" not in page


def test_memory_that_is_not_known_leaves_cells_empty() -> None:
    row = visit("embedded", 1.0)
    row["result"]["memory"] = {"one": None, "ages": None}
    page = table.table(table.summarize([row], HERE, {}))
    assert "| embedded | 4.0 s | 1.0 MiB |  |  |  |  |  |" in page


def test_a_peer_that_was_not_named_is_left_out_and_says_how_to_name_it() -> None:
    assert SYSTEMS["vllm"].lacks(Peers()) == "name one with --vllm"
    assert SYSTEMS["llama-cpp"].lacks(Peers()) == "name one with --llama-python"
    assert SYSTEMS["llama-cpp"].lacks(Peers(llama_python="python")) == ""
    assert SYSTEMS["embedded"].lacks(Peers()) == SYSTEMS["generate"].lacks(Peers()) == ""


def test_a_process_is_counted_with_all_that_came_from_it() -> None:
    assert memory.descendants(1, [(2, 1), (3, 2), (4, 9), (5, 3)]) == {2, 3, 5}
    status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n"
    assert memory.field(status, "VmHWM") == 2 * 2**20
    assert memory.field(status, "Pss") == 0


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells")
def test_the_memory_of_a_real_process_holds_what_it_allocated() -> None:
    script = "held = bytearray(b'x') * 64_000_000; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        own = memory.of_tree(process.pid, with_root=True)
        ours = memory.of_tree(os.getpid(), with_root=False)
        process.communicate(b"\n")
    assert own is not None
    assert ours is not None
    assert own["anonymous"] > 64_000_000
    assert own["rss"] >= own["pss"] >= own["anonymous"]
    assert own["peak_rss"] > 64_000_000
    assert ours["anonymous"] > 64_000_000, "a child is found from its parent"
    assert memory.of_tree(process.pid, with_root=True) == dict.fromkeys(own, 0), "one that is gone has none"


def test_the_last_lines_of_a_log_are_told() -> None:
    assert tail("a\n\nb\n  c\nd\n\n") == "b / c / d"


def test_a_row_that_a_kill_cut_off_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "serve.jsonl"
    assert serve.read_rows(path) == []
    path.write_text('{"key": "a"}\n{"key": "b', "utf-8")
    assert serve.read_rows(path) == [{"key": "a"}]
    assert path.read_text("utf-8") == '{"key": "a"}\n'
