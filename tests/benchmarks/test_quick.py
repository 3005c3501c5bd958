"""The benchmark as it is called, on tiny text: real runs of ours and of the HF Trainer."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import text
from benchmarks.systems import prepare_text
from selves.errors import CorpusError

ROOT = Path(__file__).parents[2]


def call(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.{program}", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    source = random.Random(3)
    words = ("tea", "books", "rain", "maps", "sea", "bread", "walks")
    said = [f"Number {n} likes {' and '.join(source.sample(words, 4))}." for n in range(600)]
    (folder / "said.jsonl").write_text("".join(json.dumps({"text": s * 3}) + "\n" for s in said), "utf-8")
    return folder


@pytest.mark.slow
def test_a_quick_run_trains_and_measures_and_is_not_repeated(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    first = call("train", texts, "--out", out, "--quick", "--threads", "1", "--json")
    assert first.returncode == 0, first.stderr
    measured = json.loads(first.stdout)["quick"]
    assert measured.keys() == {"ours", "hf_trainer"}
    assert all(0.3 < bits < 8 for bits in measured.values()), "better than bytes at random"
    rows = (out / "runs.jsonl").read_text("utf-8")
    assert rows.count('"kind": "quick"') == 2
    (out / "runs.jsonl").write_text(rows + '{"key": "cut o', "utf-8")  # as a kill may leave it
    again = call("train", texts, "--out", out, "--quick", "--threads", "1", "--json")
    assert json.loads(again.stdout)["quick"] == measured
    assert (out / "runs.jsonl").read_text("utf-8") == rows


def test_help_shows_examples() -> None:
    for program in ("train", "scaling", "text"):
        shown = call(program, "--help")
        assert shown.returncode == 0
        assert f"python -m benchmarks.{program} " in shown.stdout


def test_a_folder_that_is_no_nanochat_is_refused(texts: Path, tmp_path: Path) -> None:
    refused = call("train", texts, "--out", tmp_path / "out", "--nanochat", tmp_path)
    assert refused.returncode == 2
    assert "is no checkout of nanochat" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_the_same_text_has_the_same_fingerprint_and_other_text_another(texts: Path, tmp_path: Path) -> None:
    first = prepare_text(texts, tmp_path / "a", print)
    assert prepare_text(texts, tmp_path / "b", print).fingerprint == first.fingerprint
    with (texts / "said.jsonl").open("a") as file:
        file.write('{"text": "And one more."}\n')
    assert prepare_text(texts, tmp_path / "a", print).fingerprint != first.fingerprint


def test_text_of_which_nothing_is_held_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Only this.")
    with pytest.raises(CorpusError, match="too little text"):
        prepare_text(tmp_path, tmp_path / "work", print)


def test_what_cannot_be_fetched_is_named_and_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # neither npm nor apt-get
    kept = text.Part("here", "ours", 0.1, lambda _house: iter([{"text": "Hello."}]))
    gone = tuple(part for part in text.PARTS if part.name in ("prose", "fortunes"))
    monkeypatch.setattr(text, "PARTS", (*gone, kept))
    told: list[str] = []
    card = text.assemble(tmp_path / "text", text.House(home=tmp_path, cast_path=tmp_path), told.append)
    assert card["missing"] == {"prose": "there is no npm here", "fortunes": "there is no apt-get here"}
    assert "13.2 MB are missing" in told[0]
    assert (tmp_path / "text" / "here.jsonl").read_text() == '{"text": "Hello."}\n'
