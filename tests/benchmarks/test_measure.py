"""The one measure for all systems, and what is made of many runs."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import plot, report, scaling
from benchmarks.shared import IGNORED, bits_per_byte, windows
from benchmarks.train import climb


def uniform(vocabulary: int) -> Any:
    def score(_ids: Tensor, targets: Tensor) -> float:
        return int((targets != IGNORED).sum()) * math.log(vocabulary)

    return score


def test_a_model_that_knows_nothing_pays_the_same_for_every_token_but_the_bos() -> None:
    documents = [[0, 5, 6, 7], list(range(100)), [0]]
    assert bits_per_byte(documents, 51, 8, uniform(256)) == pytest.approx(8 * (3 + 99) / 51)


def test_every_token_is_predicted_once_from_what_is_before_it_in_its_window() -> None:
    seen: list[tuple[int, int]] = []

    def score(ids: Tensor, targets: Tensor) -> float:
        counted = targets != IGNORED
        seen.extend(zip(ids[counted].tolist(), targets[counted].tolist(), strict=True))
        return 0.0

    bits_per_byte([list(range(50)), list(range(100, 103))], 1, 16, score)
    assert sorted(seen) == [(n, n + 1) for n in range(49)] + [(100, 101), (101, 102)]


def test_an_epoch_has_every_window_once_and_the_next_has_them_in_another_order() -> None:
    tokens = np.arange(65, dtype=np.uint16)
    batches = list(islice(windows(tokens, rows=4, context=8, seed=1), 4))
    first = [int(row[0]) for ids, _ in batches[:2] for row in ids]
    second = [int(row[0]) for ids, _ in batches[2:] for row in ids]
    assert sorted(first) == sorted(second) == list(range(0, 64, 8))
    assert first != second
    assert all((targets == ids + 1).all() for ids, targets in batches)


def test_a_sweep_climbs_to_the_best_settings_and_stops_when_its_budget_is_spent() -> None:
    ladders: dict[str, tuple[Any, ...]] = {"rate": (1, 2, 4, 8, 16), "size": ("s", "m", "l")}
    tried: list[dict[str, Any]] = []

    def evaluate(settings: dict[str, Any]) -> float:
        tried.append(settings)
        return abs(settings["rate"] - 8) + abs("sml".index(settings["size"]) - 2)

    start = {"rate": 2, "size": "s"}
    assert climb(start, ladders, evaluate, lambda: True) == {"rate": 8, "size": "l"}
    tried.clear()
    assert climb(start, ladders, evaluate, lambda: len(tried) < 3) == {"rate": 8, "size": "s"}
    assert len(tried) == 3


def row(system: str, seed: int, bits: float, minutes: float = 2.0, **settings: Any) -> dict[str, Any]:
    curve = [[10.0, 100, 3.0], [40.0, 400, 2.0], [120.0, 800, bits]] if system == "ours" else []
    return {
        "kind": "run",
        "system": system,
        "text": "t",
        "threads": 2,
        "minutes": minutes,
        "seed": seed,
        "settings": settings,
        "result": {
            "bits_per_byte": bits,
            "tokens_per_s": 1e4,
            "tokens": 10**6,
            "steps": 800,
            "seconds": 120.0,
            "starting_s": 5.0,
            "parameters": 10**6,
            "bytes_per_token": 3.0,
            "how": "float32, eager",
            "flops_per_token": 10**7,
            "curve": curve,
        },
    }


MACHINE = {
    "kind": "machine",
    "threads": 2,
    "result": {"cpu": "c", "threads": 2, "torch": "2", "peak_gflops": {"float32": 400.0, "bfloat16": 800.0}},
}


def test_the_summary_has_medians_over_seeds_of_the_newest_settings_and_the_share_of_peak() -> None:
    rows = [MACHINE, row("ours", 1, 9.0, old=True)]
    rows += [row("ours", seed, bits) for seed, bits in ((1, 1.7), (2, 1.9), (3, 1.8))]
    rows += [row("nanochat", 1, 2.7)]
    summary = report.summarize(rows, "t", 2)
    ours = summary["runs"]["2"]["ours"]
    assert (ours["bits_per_byte"], ours["lowest"], ours["highest"], ours["seeds"]) == (
        1.8,
        1.7,
        1.9,
        [1, 2, 3],
    )
    assert ours["mfu"] == 0.25
    assert summary["runs"]["2"]["nanochat"]["bits_per_byte_to_ours"] == 1.5
    assert "| 2 | ours | 1.800 (1.700-1.900, 3 seeds) |" in report.table(summary)


def test_it_says_when_ours_had_what_nanochat_has_at_the_end() -> None:
    rows = [MACHINE, row("ours", 1, 1.5), row("nanochat", 1, 2.5)]
    rows += [row("ours", 1, 1.4, 5.0), row("nanochat", 1, 1.45, 5.0)]
    two, five = report.summarize(rows, "t", 2)["when_ours_had_nanochats"]
    assert two["on_the_way_s"] == pytest.approx(20.0), "half of the way from 10 to 40 s in log time"
    assert (two["by_a_run_of_minutes"], five["by_a_run_of_minutes"]) == (2.0, 5.0)


def test_runs_on_another_text_or_with_other_threads_are_left_out() -> None:
    other = row("ours", 1, 1.0) | {"text": "another"}
    busier = row("ours", 1, 1.0) | {"threads": 4}
    summary = report.summarize([MACHINE, other, busier, row("ours", 1, 1.8)], "t", 2)
    assert summary["runs"]["2"]["ours"]["bits_per_byte"] == 1.8


def test_a_power_law_is_found_again_and_points_that_are_beaten_do_not_count() -> None:
    true = scaling.PowerLaw(20.0, 0.07, 1.0)
    on_it = [(compute, true.at(compute)) for compute in (1e11, 1e12, 1e13)]
    beaten = [(2e12, true.at(1e12) + 0.1)]
    best = scaling.frontier(beaten + on_it)
    assert best == on_it
    law = scaling.fit(best)
    assert law.factor == pytest.approx(20.0)
    assert law.exponent == pytest.approx(0.07)
    assert law.r_squared == pytest.approx(1.0)
    svg = plot.log_log({"all": best}, law.at, title="a < b", x_label="x", y_label="y")
    assert svg.count("<circle") == 4
    assert "a &lt; b" in svg


def test_scores_do_not_keep_gradients() -> None:
    weight = torch.ones(1, requires_grad=True)

    def score(ids: Tensor, _targets: Tensor) -> float:
        assert not (ids * weight).requires_grad
        return 0.0

    assert bits_per_byte([[0, 1]], 1, 4, score) == 0.0
