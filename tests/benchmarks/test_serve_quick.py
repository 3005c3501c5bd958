"""The serving benchmark as it is called: our real server and transformers' `generate`, on a tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.serve", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_a_quick_run_measures_both_systems_which_say_the_same_and_is_not_repeated(tmp_path: Path) -> None:
    out = tmp_path / "results"
    quick = ("--out", out, "--quick", "--threads", "1", "--json")
    first = call(*quick)
    assert first.returncode == 0, first.stderr
    systems = json.loads(first.stdout)["models"]["quick"]["systems"]
    assert systems.keys() == {"embedded", "generate"}
    for values in systems.values():
        assert values["workloads"].keys() == {"one", "eight", "ages"}
        for measured in values["workloads"].values():
            assert measured["tokens_per_s"] > 0
            assert 0 < measured["first_s"] <= measured["first_s_p95"] < values["start_s"]
            assert measured["agreement"] == 1.0, "greedy, in float32, on the same weights"
    rows = (out / "serve.jsonl").read_text("utf-8")
    again = call(*quick, "--rounds", "0")
    assert json.loads(again.stdout)["models"]["quick"]["systems"] == systems
    assert (out / "serve.jsonl").read_text("utf-8") == rows
    assert call(*quick, "--systems", "generate").returncode == 0
    assert (out / "serve.jsonl").read_text("utf-8") == rows, "what was measured is not measured again"


def test_help_shows_examples() -> None:
    shown = call("--help")
    assert shown.returncode == 0
    assert "python -m benchmarks.serve --out results" in shown.stdout


def test_a_program_that_does_not_exist_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    refused = call("--out", tmp_path / "out", "--vllm", tmp_path / "vllm")
    assert refused.returncode == 2
    assert f"there is no program {tmp_path / 'vllm'}" in refused.stderr
    assert not (tmp_path / "out").exists()
