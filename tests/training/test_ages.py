"""What there is to be seen of ages from the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from selves.settings import House

Run = Callable[..., int]


def test_the_list_shows_each_age_in_order_of_life(
    raised: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raised, "list") == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"5 ages, \d+\.\d MB; [\d,.]+ GB are free\n", err)
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "wren@base-000000",
        "wren@base-000010",
        "wren@base-000020",
        "wren@base-000040",
        "wren@chat-000010",
    ]
    assert all("When I grow up, I" in line for line in lines[1:])


def test_the_list_for_programs_says_the_same_and_does_not_load_torch(raised: House) -> None:
    code = (
        "import sys; from selves.__main__ import main; code = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "ages", "list", "wren", "--json"],
        env=os.environ | {"SELVES_HOME": str(raised.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["step"] for row in rows] == [0, 10, 20, 40, 10]
    for row in rows:
        assert row["bytes"] > 4 * row["parameters"]
        assert row["first_words"].startswith("When I grow up, I")


def test_an_empty_house_says_how_to_begin(house: House, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(house, "list") == 0
    assert "selves train run recipes/demo.toml" in capsys.readouterr().out
    assert run(house, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_one_age_is_shown_with_what_it_wrote(
    raised: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raised, "show", "wren@base-000040", "--verify") == 0
    said = capsys.readouterr().out
    for part in ("parent", "wren@base-000020", "bits per byte", "sha256", "letter:"):
        assert part in said
    assert "every file is what was written" in said
    assert run(raised, "show", "wren@chat-000010", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["parent"] == "wren@base-000040"
    assert [writing["kind"] for writing in shown["writings"]] == ["diary", "letter", "continuation"]


def test_a_damaged_age_is_found_out(raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (raised_copy.checkpoints / "wren" / "base-000040" / "config.json").write_text("{}")
    assert run(raised_copy, "show", "wren@base-000040", "--verify") == 1
    assert "config.json is not what was written" in capsys.readouterr().err


def test_an_age_that_is_not_there_is_answered_with_those_that_are(
    raised: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raised, "show", "wren@base-000041") == 1
    assert "wren@base-000040" in capsys.readouterr().err
